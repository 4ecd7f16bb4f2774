"""Each test has a database of its own, without the schema at first."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from shared.backends.postgresql.access import read_access
from shared.backends.postgresql.backend import PostgresBackend
from shared.config import Settings
from tests.servers.postgresql import PostgresServer


@pytest.fixture(scope="session")
def server(postgresql: PostgresServer) -> PostgresServer:
    return postgresql


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """The name of an empty database."""
    with server.database() as name:
        yield name


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION $x$refused, and not for too many connections$x$ USING ERRCODE = $x${code}$x$; END';
CREATE TRIGGER refusing BEFORE INSERT ON logogen.events FOR EACH ROW WHEN (NEW.id = 'refused') EXECUTE FUNCTION refuse();
"""
"""The server fails an insert of this id in the way that the code says; the text, which clients may have written, misleads."""


def backend_of(conninfo: str) -> PostgresBackend:
    """A backend that is not connected."""
    return PostgresBackend(read_access(Settings(database_type="postgresql", database_connection_string=conninfo)))


@asynccontextmanager
async def connected(conninfo: str) -> AsyncIterator[PostgresBackend]:
    """A backend that is connected, and disconnected whatever happens."""
    made = backend_of(conninfo)
    await made.connect()
    try:
        yield made
    finally:
        await made.disconnect()


async def until_blocked(server: PostgresServer, database: str, by: str = "") -> None:
    """Return when a session of the database waits for another's lock, of a kind."""
    await _until(server, "SELECT count(*) = 1", database, "wait_event_type = 'Lock' AND wait_event ~ %s", by)


async def until_gone(server: PostgresServer, database: str) -> None:
    """Return when the database has no session."""
    await _until(server, "SELECT count(*) = 0", database, "true")


async def _until(server: PostgresServer, asked: str, database: str, condition: str, *values: str) -> None:
    statement = f"{asked} FROM pg_stat_activity WHERE datname = %s AND {condition}"
    async with asyncio.timeout(20):
        async with await psycopg.AsyncConnection.connect(server.conninfo(), autocommit=True) as connection:
            while await (await connection.execute(statement, (database, *values))).fetchone() != (True,):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def backend(server: PostgresServer, database: str) -> AsyncIterator[PostgresBackend]:
    """A connected backend as the superuser."""
    async with connected(server.conninfo(database)) as made:
        yield made
