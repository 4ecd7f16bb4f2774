"""The servers that tests share: each starts when a test first asks for it, and stops with the session.

A test takes a database of its own there. What stops a server, or asks it who is there, starts one for itself.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest


def _shared(module: str) -> Any:
    """A fixture of that name. The module is imported late, since it brings the database's driver."""

    @pytest.fixture(scope="session", name=module)
    def server() -> Iterator[Any]:
        with import_module(f"tests.servers.{module}").running() as running:
            yield running

    return server


azurite, postgresql, ferretdb, cosmium = map(_shared, ("azurite", "postgresql", "ferretdb", "cosmium"))


@pytest.fixture(scope="session")
def cosmos_account() -> Iterator[Any]:
    """An account on the strict double of Cosmos DB, with two physical partitions."""
    double = import_module("tests.servers.cosmos.running")
    with double.running(double.new_account(physical=2)) as account:
        yield account
