"""The process's connections: shared, bounded, let go of when idle, and lost by none whose work ends early."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest

from shared.backends import create_backend
from shared.backends.base import Outcome
from shared.backends.postgresql import pool
from shared.backends.postgresql.access import Access
from shared.backends.postgresql.backend import PostgresBackend
from shared.config import Settings
from shared.errors import DeadlineError, ServiceError, ThrottledError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query
from shared.timing import set_deadline
from tests.contract.steps import add_all, ids
from tests.postgresql.conftest import backend_of, until_blocked, until_gone
from tests.servers.postgresql import PostgresServer
from tests.support.records import make

CUT_SHORT: dict[str, Callable[[PostgresBackend, list[str]], Awaitable[object]]] = {
    "batch": lambda backend, _: backend.create_many(SystemEventLog, make.many(SystemEventLog, 300)),
    "batch of known ids": lambda backend, known: backend.create_many(
        SystemEventLog, [make(SystemEventLog, id=record_id) for record_id in known] + make.many(SystemEventLog, 10)
    ),
    "bounded removal": lambda backend, _: backend.delete_where(Query(SystemEventLog, limit=20)),
    "purge": lambda backend, known: backend.purge(SystemEventLog, known),
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A connection that nobody holds is not closed by chance."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("call", CUT_SHORT)
@pytest.mark.parametrize("times", [1, 2])
async def test_work_that_is_cut_short(server: PostgresServer, database: str, call: str, times: int) -> None:
    """Cancelled at any moment, and again while that is under way, it leaves every connection to the others."""
    backend = PostgresBackend(Access(server.conninfo(database), "TEST", database), size=2)
    await backend.connect()
    known = ids(await add_all(backend, SystemEventLog, make.many(SystemEventLog, 100)))
    for turn in range(25):
        work = [asyncio.ensure_future(CUT_SHORT[call](backend, known)) for _ in range(3)]
        for _ in range(times):
            await asyncio.sleep(turn / 2_500)
            for task in work[:2]:
                task.cancel()
        done = await asyncio.gather(*work, return_exceptions=True)
        assert not isinstance(done[2], BaseException), done[2]
        assert backend._pool is not None
        assert not backend._pool._in_use
    await asyncio.gather(*(backend.health() for _ in range(10)))
    await backend.disconnect()
    await until_gone(server, database)


async def test_a_statement_that_the_server_ends_in_time(server: PostgresServer, database: str) -> None:
    """Its connection serves the next request: only one whose server does not answer is given up."""
    backend = PostgresBackend(Access(server.conninfo(database), "TEST", database), size=1)
    await backend.connect()

    async def session() -> object:
        answer = await backend._caller.call(lambda connection: connection.execute("SELECT pg_backend_pid()"))
        return await answer.value.fetchone()

    before = await session()
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("LOCK TABLE logogen.events IN SHARE MODE")
        for call in (backend.create(SystemEventLog, make(SystemEventLog)), backend.delete_where(Query(SystemEventLog))):
            set_deadline(0.1)
            with pytest.raises(DeadlineError):
                await call
        other.rollback()
    set_deadline(10)
    assert await session() == before
    await backend.disconnect()


async def test_no_connection_is_left(server: PostgresServer, database: str) -> None:
    """After disconnecting, the server has no session of the process."""
    backend = backend_of(server.conninfo(database))
    await backend.connect()
    await asyncio.gather(*(backend.create(SystemEventLog, make(SystemEventLog)) for _ in range(20)))
    await backend.disconnect()
    await until_gone(server, database)


async def test_a_disconnect_that_is_given_up(server: PostgresServer, database: str) -> None:
    """Even then its connections are closed: those at rest at once, one in use when its work is done."""
    backend = backend_of(server.conninfo(database))
    await backend.connect()
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("LOCK TABLE logogen.events IN SHARE MODE")
        work = asyncio.create_task(backend.create(SystemEventLog, make(SystemEventLog)))
        await until_blocked(server, database)
        leaving = asyncio.create_task(backend.disconnect())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        other.rollback()
    assert not (await work).existed
    await until_gone(server, database)


@pytest.mark.parametrize("ticks", range(4))
async def test_a_request_that_is_given_up_as_it_is_served_before_the_end(
    server: PostgresServer, database: str, ticks: int, no_collector: None
) -> None:
    """The connection that was given to it is closed with the others."""
    connections = pool.Pool(server.conninfo(database), 1, 30)
    await connections.open()
    taken = await connections.take()

    ended = asyncio.Event()

    async def use() -> None:
        try:
            await connections.give_back(await connections.take())
        finally:
            ended.set()

    async def close() -> None:
        await ended.wait()
        await connections.close()

    waiting, closing = asyncio.create_task(use()), asyncio.create_task(close())
    async with asyncio.timeout(20):
        while not connections.figures()["waiting"]:  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0)
    giving = asyncio.create_task(connections.give_back(taken))
    for _ in range(ticks):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await asyncio.gather(giving, closing)
    await until_gone(server, database)


async def test_idle_connections_are_let_go_of(server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them within the idle time, not one each time that it has passed."""
    monkeypatch.setattr(pool, "_IDLE_SECONDS", 2.0)
    backend = PostgresBackend(Access(server.conninfo(database), "TEST", database), size=8)
    await backend.connect()
    await asyncio.gather(*(backend.create(SystemEventLog, make(SystemEventLog)) for _ in range(80)))
    async with asyncio.timeout(6):
        await until_gone(server, database)
    await backend.health()
    await backend.disconnect()


async def test_a_connection_that_the_server_has_closed(
    server: PostgresServer, database: str, backend: PostgresBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It is noticed before a statement is sent on it, so that no answer counts as lost."""
    await backend.health()
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    await until_gone(server, database)
    answer = await backend._caller.call(lambda connection: connection.execute("SELECT 1"))
    assert not answer.lost
    assert not caplog.records


async def test_an_attempt_that_fails_in_no_foreseen_way(server: PostgresServer) -> None:
    """Whoever waits for the connection is told at once, whatever the error is."""
    backend = PostgresBackend(Access("host=a..b", "TEST", "none"))
    set_deadline(20)
    started = time.monotonic()
    with pytest.raises(UnicodeError):
        await backend.connect()
    assert time.monotonic() - started < 10


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
        assert not backend._pool._in_use
    await asyncio.gather(*(backend.health() for _ in range(10)))
    await backend.disconnect()


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
