"""One fixture with a parameter per backend: every test here runs unchanged on each."""

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

import pytest

from shared.backends.base import Backend
from tests.contract.gaps import gap_of
from tests.contract.stores import STORES, Store
from tests.servers import cosmium as cosmium_server
from tests.servers.tools import require
from tests.support.records import make


@pytest.fixture(scope="session")
def cosmos_account() -> Iterator[Any]:
    """One strict double of Cosmos DB for all tests of a session: two physical partitions, a database for each test."""
    pytest.importorskip("azure.cosmos")
    double = import_module("tests.servers.cosmos.running")
    with double.running(double.new_account(physical=2)) as account:
        yield account


@pytest.fixture(scope="session")
def cosmium() -> Iterator[str]:
    """The connection string of an independent server of the Cosmos DB API."""
    require("Cosmium", cosmium_server.binary)
    with cosmium_server.running() as connection_string:
        yield connection_string


@pytest.fixture(scope="session")
def ferretdb() -> Iterator[Any]:
    """A server of MongoDB's protocol for all tests of a session, a database for each test."""
    pytest.importorskip("pymongo")
    server = import_module("tests.servers.ferretdb")
    require("FerretDB", server.binary)
    with server.running() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A PostgreSQL server, a database for each test."""
    pytest.importorskip("psycopg")
    server = import_module("tests.servers.postgresql")
    require("PostgreSQL", server.programs)
    with server.running() as running:
        yield running


@pytest.fixture(scope="session")
def azurite() -> Iterator[Any]:
    """A storage emulator for all tests of a session, tables of its own for each test."""
    pytest.importorskip("azure.data.tables")
    server = import_module("tests.servers.azurite")
    require("Azurite", server.script)
    with server.running() as running:
        yield running


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database."""
    gap = gap_of(request.param, request.node)
    if gap is not None:
        pytest.skip(gap)
    async with STORES[request.param](request) as settings:
        yield Store(settings)


@pytest.fixture
async def backend(store: Store) -> AsyncIterator[Backend]:
    """A connected instance over the empty database."""
    async with store.open() as instance:
        yield instance


@pytest.fixture(autouse=True)
def _same_records_every_time() -> None:
    """Each test's records are the same, whichever tests ran before it."""
    make.restart()
