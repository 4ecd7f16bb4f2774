"""The servers that tests share: each starts when a test first asks for it, and stops with the session.

A test takes a database of its own there. What stops a server, or asks it who is there, starts one for itself.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import pytest


def _running(module: str) -> AbstractContextManager[Any]:
    """Imported here, since it brings the database's driver, which other tests do without."""
    running: AbstractContextManager[Any] = import_module(f"tests.servers.{module}").running()
    return running


@pytest.fixture(scope="session")
def azurite() -> Iterator[Any]:
    """An emulator of Azure Tables."""
    with _running("azurite") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A PostgreSQL server."""
    with _running("postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def ferretdb() -> Iterator[Any]:
    """A server of MongoDB's protocol."""
    with _running("ferretdb") as server:
        yield server


@pytest.fixture(scope="session")
def cosmium() -> Iterator[str]:
    """The connection string of an independent server of the Cosmos DB API."""
    with _running("cosmium") as connection_string:
        yield connection_string


@pytest.fixture(scope="session")
def cosmos_account() -> Iterator[Any]:
    """An account on the strict double of Cosmos DB, with two physical partitions."""
    double = import_module("tests.servers.cosmos.running")
    with double.running(double.new_account(physical=2)) as account:
        yield account
