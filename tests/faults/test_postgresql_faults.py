"""The PostgreSQL backend when its server goes away and when answers are lost: nothing missing, nothing doubled."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import psycopg
import pytest

from shared.backends.base import Backend
from shared.backends.postgresql import queries
from shared.backends.postgresql.access import Access
from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.calls import Caller
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.removal import remove
from shared.backends.postgresql.tables import TABLES
from shared.backends.retrying import Answer
from shared.errors import DeadlineError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timing import set_deadline
from tests.contract.steps import add_all, fetch, ids
from tests.faults.lines import LosingLine, postgresql_line
from tests.faults.tcp import TcpProxy
from tests.servers.postgresql import PostgresServer
from tests.support.records import make

T = TypeVar("T")


@pytest.fixture
async def line(postgresql: PostgresServer) -> AsyncIterator[LosingLine]:
    """A line without faults yet."""
    async with postgresql_line(postgresql) as found:
        yield found


@pytest.mark.parametrize("statement", [b"DELETE", b"COMMIT"])
async def test_a_bounded_removal_whose_answer_is_lost(line: LosingLine, statement: bytes) -> None:
    """It counts each record once, whether it was committed or not, and takes no more than its bound."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 30))
    line.proxy.lose_answers(statement)
    deleted = await line.backend.delete_where(Query(SystemEventLog, descending=False, limit=20))
    assert (line.proxy.lost, deleted.count, deleted.more) == (1, 20, True)
    assert await line.stored() == ids(given[20:])


class Interrupted(Caller):
    """Does work twice: the first time the server undoes it, and a record changes before the second."""

    def __init__(self, line: LosingLine, changed: Stored) -> None:
        assert isinstance(line.backend, PostgresBackend)
        self._line, self._changed, self._caller = line, changed, line.backend._caller

    async def call(self, work: Callable[[Connection], Awaitable[T]], **_: object) -> Answer[T]:
        async def undone(connection: Connection) -> None:
            async with connection.transaction(force_rollback=True):
                await work(connection)

        await self._caller.call(undone)
        await self._line.direct.update(SystemEventLog, self._changed, self._changed.etag)
        return Answer((await self._caller.call(work)).value, lost=True)


async def test_a_record_that_changes_between_two_attempts(line: LosingLine) -> None:
    """A bounded removal leaves it and says that there is more; a purge removes it, whatever its version."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 3))
    table = TABLES[SystemEventLog]
    choice = queries.removal(Query(SystemEventLog, limit=10))
    deleted = await remove(Interrupted(line, given[1]), table, choice, 10)
    assert (deleted.more, await line.stored()) == (True, [given[1].id])
    left = await fetch(line.direct, SystemEventLog, given[1].id)
    purged = await remove(Interrupted(line, left), table, queries.removal_of_ids(table, [left.id]))
    assert (purged.count, await line.stored()) == (1, [])


async def test_starting_while_the_server_is_away(postgresql: PostgresServer) -> None:
    """Connecting is unavailable, and works on the same backend once the server is there."""
    with postgresql.emptied() as database:
        async with TcpProxy("127.0.0.1", postgresql.port) as proxy:
            conninfo = f"host=127.0.0.1 port={proxy.port} dbname={database} user=postgres sslmode=disable"
            backend = PostgresBackend(Access(conninfo, "TEST", database))
            await proxy.refuse()
            with pytest.raises(UnavailableError):
                await backend.connect()
            await proxy.accept()
            await backend.connect()
            await backend.health()
            await backend.disconnect()


async def test_a_statement_that_waits_past_the_deadline(postgresql: PostgresServer, line: LosingLine) -> None:
    """The request ends in time, the server stops working on it, and nothing of it is stored."""
    with postgresql.emptied() as database, psycopg.connect(postgresql.conninfo(database)) as other:
        other.execute("LOCK TABLE logogen.events IN SHARE MODE")
        set_deadline(0.3)
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            await line.backend.create(SystemEventLog, make(SystemEventLog))
        assert time.monotonic() - started < 3
        other.rollback()
        set_deadline(10)
        assert await line.stored() == []


async def _batch(backend: Backend) -> None:
    outcomes = await backend.create_many(SystemEventLog, make.many(SystemEventLog, 50))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error


HANGING: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "create": lambda backend: backend.create(SystemEventLog, make(SystemEventLog)),
    "batch": _batch,
    "page": lambda backend: backend.find(Query(SystemEventLog)),
    "bounded removal": lambda backend: backend.delete_where(Query(SystemEventLog, limit=3)),
}


@pytest.mark.parametrize("call", HANGING)
async def test_a_server_that_hangs(line: LosingLine, call: str) -> None:
    """The request ends in time. Once answers come again, so do ours; the connection that hung is not used again."""
    line.proxy.pause()
    set_deadline(0.2)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        await HANGING[call](line.backend)
    assert time.monotonic() - started < 2.2
    line.proxy.resume()
    set_deadline(10)
    await line.backend.health()
