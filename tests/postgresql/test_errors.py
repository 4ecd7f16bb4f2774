"""What goes wrong on the server, told in our words: what to change, or that it may pass; never the driver's own."""

import asyncio
import logging
import sys
from collections.abc import Iterator

import psycopg
import pytest

from shared.backends import create_backend
from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.pool import Connection
from shared.config import Settings
from shared.errors import (
    ConfigurationError,
    DeadlineError,
    InvalidError,
    ServiceError,
    ThrottledError,
    TooLargeError,
    UnavailableError,
)
from shared.models import SystemEventLog
from shared.query import Query
from tests.contract.steps import add, fetch, increment
from tests.postgresql.conftest import REFUSING, backend_of, connected, until_gone
from tests.servers.postgresql import WITH_PASSWORD, PostgresServer
from tests.support.records import make

PASSWORD = "correct-horse"


@pytest.fixture
def locked(server: PostgresServer) -> Iterator[str]:
    """A superuser that needs a password."""
    server.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    yield WITH_PASSWORD
    server.execute(f"DROP ROLE {WITH_PASSWORD}")


async def refusal(conninfo: str) -> str:
    """What connecting says, when it is the operator who must act."""
    with pytest.raises(ConfigurationError) as caught:
        await backend_of(conninfo).connect()
    return str(caught.value)


async def test_passwords(server: PostgresServer, locked: str, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """The right password works; a wrong one or none names the setting, and no password gets into an error or a log."""
    caplog.set_level(logging.DEBUG)
    conninfo = server.conninfo(database, locked)
    wrong = "battery-staple"
    for bad in (f"{conninfo} password={wrong}", conninfo):
        message = await refusal(bad)
        assert "DATABASE_CONNECTION_STRING names a server that refuses this access" in message
        assert wrong not in message
    backend = backend_of(f"{conninfo} password={PASSWORD}")
    await backend.connect()
    await backend.disconnect()
    assert not [record for record in caplog.records if record.name.startswith("psycopg")]
    assert not any(secret in caplog.text for secret in (PASSWORD, wrong, locked))


async def test_what_is_not_there(server: PostgresServer, database: str) -> None:
    """An unknown user, an unknown database and TLS that the server has not are told apart."""
    assert "refuses this access" in await refusal(server.conninfo(database, "nobody_known"))
    assert "has no such database" in await refusal(server.conninfo("nowhere"))
    assert "TLS" in await refusal(server.conninfo(database).replace("sslmode=disable", "sslmode=require"))


async def test_no_more_connections(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A server that takes no more connections asks to be called less."""
    server.execute("CREATE ROLE single LOGIN CONNECTION LIMIT 1")
    try:
        with psycopg.connect(server.conninfo(database, "single")):
            with pytest.raises(ThrottledError) as caught:
                await backend_of(server.conninfo(database, "single")).connect()
            assert caught.value.retry_after > 0
    finally:
        server.execute("DROP ROLE single")


async def test_a_read_only_server(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A server that takes no writes for now is unavailable for them, and reads go on."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    reading = backend_of(server.conninfo(database))
    await reading.connect()
    with pytest.raises(UnavailableError):
        await reading.create(SystemEventLog, make(SystemEventLog))
    assert await fetch(reading, SystemEventLog, stored.id) == stored
    await reading.disconnect()


async def test_serializable_transactions(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """Where the database is set to serializable, what it refuses for that is done again, and nothing is lost."""
    server.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
    strict = backend_of(server.conninfo(database))
    await strict.connect()
    await add(strict, SystemEventLog, make(SystemEventLog, id="counter", metadata={"n": 0}))
    await asyncio.gather(*(increment(strict, SystemEventLog, "counter", 5) for _ in range(4)))
    assert (await fetch(strict, SystemEventLog, "counter")).record["metadata"] == {"n": 20}
    await strict.disconnect()


async def test_writes_are_on_disk(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A database that is set to acknowledge before writing to disk is told otherwise."""
    server.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    careful = backend_of(server.conninfo(database))
    await careful.connect()
    answer = await careful._caller.call(lambda connection: connection.execute("SHOW synchronous_commit"))
    assert await answer.value.fetchone() == ("on",)
    await careful.disconnect()


async def test_errors_that_nobody_foresaw(backend: PostgresBackend, caplog: pytest.LogCaptureFixture) -> None:
    """A statement that the server does not understand is our bug: the log has its code, a client is told nothing of it."""
    with pytest.raises(ServiceError) as caught:
        await backend._caller.call(lambda connection: connection.execute("SELEC 1"))
    assert (caught.value.status, "SELEC" in caught.value.message) == (500, False)
    [record] = [record for record in caplog.records if record.message == "the database refused a call"]
    assert record.sqlstate == "42601"  # type: ignore[attr-defined]
    assert "SELEC" not in caplog.text


SQLSTATES: dict[str, type[ServiceError]] = {
    "08006": UnavailableError,
    "08P01": UnavailableError,
    "22003": InvalidError,
    "23505": ServiceError,
    "25006": UnavailableError,
    "25P04": DeadlineError,
    "40001": UnavailableError,
    "40P01": UnavailableError,
    "53000": UnavailableError,
    "53100": UnavailableError,
    "53200": UnavailableError,
    "53300": ThrottledError,
    "53400": ThrottledError,
    "54000": TooLargeError,
    "55P03": UnavailableError,
    "57014": DeadlineError,
    "57P01": UnavailableError,
    "57P03": UnavailableError,
    "58000": UnavailableError,
    "P0001": ServiceError,
}


@pytest.mark.parametrize("code", SQLSTATES)
async def test_what_the_server_says(server: PostgresServer, database: str, backend: PostgresBackend, code: str) -> None:
    """Each of its refusals is told as what it means for the caller, and the connection serves the next one."""
    server.execute(REFUSING.format(code=code), database)
    with pytest.raises(ServiceError) as caught:
        await backend.create(SystemEventLog, make(SystemEventLog, id="refused"))
    assert type(caught.value) is SQLSTATES[code]
    assert "refused" not in caught.value.message
    await add(backend, SystemEventLog, make(SystemEventLog))


async def test_a_read_that_waits_for_a_lock(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """Where the database bounds that wait, a reader is not told of storing."""
    server.execute(f"ALTER DATABASE {database} SET lock_timeout = '20ms'")
    async with connected(server.conninfo(database)) as impatient:
        with psycopg.connect(server.conninfo(database)) as other:
            other.execute("LOCK TABLE logogen.events")
            with pytest.raises(UnavailableError, match="can't do this now"):
                await impatient.find(Query(SystemEventLog))


async def test_a_server_that_bounds_transactions(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A statement that it ends for that, and the session with it, is out of time."""
    server.execute(f"ALTER DATABASE {database} SET transaction_timeout = '100ms'")
    async with connected(server.conninfo(database)) as hurried:
        with psycopg.connect(f"{server.conninfo(database)} options='-c transaction_timeout=0'") as other:
            other.execute("LOCK TABLE logogen.events IN SHARE MODE")
            with pytest.raises(DeadlineError):
                await hurried.create(SystemEventLog, make(SystemEventLog))
        await add(hurried, SystemEventLog, make(SystemEventLog))


async def test_a_session_that_the_server_ended(server: PostgresServer, database: str) -> None:
    """One that was idle in a transaction for too long is a connection that broke: its work is done again."""
    server.execute(f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '50ms'")
    attempts = 0

    async def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        async with connection.transaction():
            await connection.execute("SELECT 1")
            if attempts == 1:
                await until_gone(server, database)
            await connection.execute("SELECT 1")

    async with connected(server.conninfo(database)) as backend:
        answer = await backend._caller.call(work)
    assert (attempts, answer.lost) == (2, True)


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver the start stops with the line that installs it."""
    for name in [name for name in sys.modules if name.startswith("shared.backends.postgresql.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r requirements-postgresql\.txt"):
        create_backend(Settings(database_type="postgresql", database_host="localhost"))
