"""One server for all tests here; each test has a database of its own, without the schema at first."""

from collections.abc import AsyncIterator, Iterator

import pytest

from shared.backends.postgresql.access import read_access
from shared.backends.postgresql.backend import PostgresBackend
from shared.config import Settings
from tests.servers import postgresql as postgresql_server
from tests.servers.postgresql import PostgresServer
from tests.servers.tools import require


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    require("PostgreSQL", postgresql_server.programs)
    with postgresql_server.running() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """The name of an empty database."""
    with server.database() as name:
        yield name


def backend_of(conninfo: str) -> PostgresBackend:
    """A backend that is not connected."""
    return PostgresBackend(read_access(Settings(database_type="postgresql", database_connection_string=conninfo)))


@pytest.fixture
async def backend(server: PostgresServer, database: str) -> AsyncIterator[PostgresBackend]:
    """A connected backend as the superuser."""
    connected = backend_of(server.conninfo(database))
    await connected.connect()
    yield connected
    await connected.disconnect()
