"""What goes wrong on the server, told in our words: what to change, or that it may pass; never the driver's own."""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

from shared.backends import create_backend
from shared.backends.base import Outcome
from shared.backends.postgresql import pool, writing
from shared.backends.postgresql.access import Access
from shared.backends.postgresql.backend import PostgresBackend
from shared.config import Settings
from shared.errors import ConfigurationError, DeadlineError, ServiceError, ThrottledError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query
from shared.timing import set_deadline
from tests.contract.steps import add, fetch, increment
from tests.postgresql.conftest import backend_of
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


async def test_fewer_connections_than_the_pool_would_make(server: PostgresServer, database: str) -> None:
    """Requests share the connections that the server gives, and all are served."""
    server.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 2")
    server.execute(f"GRANT CREATE ON DATABASE {database} TO few")
    try:
        backend = backend_of(server.conninfo(database, "few"))
        await backend.connect()
        given = make.many(SystemEventLog, 40)
        await asyncio.gather(*(backend.create(SystemEventLog, record) for record in given))
        assert await backend.count(Query(SystemEventLog)) == 40
        await backend.disconnect()
    finally:
        server.execute("DROP OWNED BY few CASCADE", database)
        server.execute("DROP ROLE few")


async def test_more_requests_than_connections(server: PostgresServer, database: str) -> None:
    """The pool opens no more connections than it may, and serves all requests by turns."""
    settings = Settings(database_type="postgresql", database_connection_string=server.conninfo(database), database_pool_size=2)
    backend = create_backend(settings)
    await backend.connect()
    given = make.many(SystemEventLog, 60)
    await asyncio.gather(*(backend.create(SystemEventLog, record) for record in given))
    figures = (await backend.get_stats()).pool
    assert figures is not None
    assert figures["size"] <= figures["max"] == 2
    await backend.disconnect()


async def test_waiting_for_a_connection_past_the_deadline(server: PostgresServer, database: str) -> None:
    """A request that gets no connection in time ends in time, and the connection goes to the next one."""
    backend = PostgresBackend(Access(server.conninfo(database), "TEST", database), size=1)
    await backend.connect()
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("LOCK TABLE logogen.events IN SHARE MODE")
        first = asyncio.create_task(backend.create(SystemEventLog, make(SystemEventLog)))
        await asyncio.sleep(0)
        set_deadline(0.2)
        with pytest.raises(DeadlineError):
            await backend.health()
        other.rollback()
    assert not (await first).existed
    set_deadline(10)
    await backend.health()
    await backend.disconnect()


async def test_requests_that_are_given_up(server: PostgresServer, database: str) -> None:
    """However many are cancelled, at whatever moment, no connection is lost to the pool."""
    backend = PostgresBackend(Access(server.conninfo(database), "TEST", database), size=2)
    await backend.connect()
    for turns in range(60):
        work = [asyncio.create_task(backend.create(SystemEventLog, make(SystemEventLog))) for _ in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in work[::2]:
            task.cancel()
        done = await asyncio.gather(*work, return_exceptions=True)
        assert all(isinstance(outcome, Outcome) for outcome in done[1::2])
        assert backend._pool is not None
        assert backend._pool._in_use == 0
    await asyncio.gather(*(backend.health() for _ in range(10)))
    await backend.disconnect()


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


async def test_a_backend_that_is_not_connected(server: PostgresServer, database: str) -> None:
    """Before connecting and after disconnecting, calls are unavailable; disconnecting twice is fine; it connects again."""
    backend = backend_of(server.conninfo(database))
    await backend.disconnect()
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await backend.health()
        await backend.connect()
        await backend.connect()
        await backend.health()
        await backend.disconnect()
        await backend.disconnect()


async def test_disconnecting_waits_for_work(server: PostgresServer, database: str) -> None:
    """What is in hand is finished first."""
    backend = backend_of(server.conninfo(database))
    await backend.connect()
    given = make.many(SystemEventLog, 1_000)
    work = asyncio.create_task(backend.create_many(SystemEventLog, given))
    await asyncio.sleep(0)
    await backend.disconnect()
    assert all(outcome.error is None for outcome in await work)
    await backend.connect()
    assert await backend.count(Query(SystemEventLog)) == 1_000
    await backend.disconnect()


async def test_errors_that_nobody_foresaw(backend: PostgresBackend, caplog: pytest.LogCaptureFixture) -> None:
    """A statement that the server does not understand is our bug: the log has its code, a client is told nothing of it."""
    with pytest.raises(ServiceError) as caught:
        await backend._caller.call(lambda connection: connection.execute("SELEC 1"))
    assert (caught.value.status, "SELEC" in caught.value.message) == (500, False)
    [record] = [record for record in caplog.records if record.message == "the database refused a call"]
    assert record.sqlstate == "42601"  # type: ignore[attr-defined]
    assert "SELEC" not in caplog.text


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION $x$refused$x$ USING ERRCODE = $x${code}$x$; END';
CREATE TRIGGER refusing BEFORE INSERT ON logogen.events FOR EACH ROW WHEN (NEW.id = 'refused') EXECUTE FUNCTION refuse();
"""


async def test_a_refusal_after_others_were_stored(
    server: PostgresServer, database: str, backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored of a batch is told, and what came after it may be sent again."""
    server.execute(REFUSING.format(code="P0001"), database)
    monkeypatch.setattr(writing, "MAX_COPIED", 2)
    given = [*make.many(SystemEventLog, 3), make(SystemEventLog, id="refused"), *make.many(SystemEventLog, 2)]
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [type(outcome.error) for outcome in outcomes] == [type(None)] * 2 + [UnavailableError] * 4
    assert await backend.count(Query(SystemEventLog)) == 2
    with pytest.raises(ServiceError):
        await backend.create_many(SystemEventLog, given[3:])


@pytest.mark.parametrize("code", ["08006", "08P01", "58000"])
async def test_what_a_pooler_says_of_its_server(
    server: PostgresServer, database: str, backend: PostgresBackend, code: str
) -> None:
    """A server that a pooler can't reach is away, and no bug of ours."""
    server.execute(REFUSING.format(code=code), database)
    with pytest.raises(UnavailableError):
        await backend.create(SystemEventLog, make(SystemEventLog, id="refused"))


async def test_a_login_that_works_and_a_session_that_does_not(server: PostgresServer, database: str) -> None:
    """Whoever waits for the connection is told at once, and not when the deadline has passed."""
    unsettable = PostgresBackend(Access(server.conninfo(database), "TEST", database), statement_seconds=1e12)
    set_deadline(10)
    started = time.monotonic()
    with pytest.raises(ServiceError):
        await unsettable.connect()
    assert time.monotonic() - started < 5


async def test_one_connection_in_use_and_no_more_to_be_had(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for it is told that there are no more long before the deadline."""
    monkeypatch.setattr(pool, "_PATIENCE_SECONDS", 0.1)
    server.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
    server.execute(f"GRANT CREATE ON DATABASE {database} TO lonely")
    try:
        backend = backend_of(server.conninfo(database, "lonely"))
        await backend.connect()
        with psycopg.connect(server.conninfo(database)) as other:
            other.execute("LOCK TABLE logogen.events IN SHARE MODE")
            hanging = asyncio.create_task(backend.create(SystemEventLog, make(SystemEventLog)))
            await asyncio.sleep(0)
            set_deadline(20)
            started = time.monotonic()
            with pytest.raises(ThrottledError):
                await backend.health()
            assert time.monotonic() - started < 10
            other.rollback()
        assert not (await hanging).existed
        await backend.health()
        await backend.disconnect()
    finally:
        server.execute("DROP OWNED BY lonely CASCADE", database)
        server.execute("DROP ROLE lonely")


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver the start stops with the line that installs it."""
    for name in [name for name in sys.modules if name.startswith("shared.backends.postgresql.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r requirements-postgresql\.txt"):
        create_backend(Settings(database_type="postgresql", database_host="localhost"))
