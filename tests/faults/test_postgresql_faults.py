"""The PostgreSQL backend when its server goes away and when answers are lost: nothing missing, nothing doubled."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from shared.backends.postgresql import queries
from shared.backends.postgresql.access import Access
from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.calls import Answer, Caller
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.removal import remove
from shared.backends.postgresql.tables import TABLES
from shared.errors import DeadlineError, NotFoundError, PreconditionFailedError, TransientError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timing import set_deadline
from tests.contract.steps import add, add_all, fetch, ids, kept, walk
from tests.faults.tcp import TcpProxy
from tests.servers import postgresql as postgresql_server
from tests.servers.postgresql import PostgresServer
from tests.servers.tools import require
from tests.support.clients import Client, HttpClient
from tests.support.environment import REPOSITORY
from tests.support.records import make
from tests.support.serve import Serve

COPY_DONE = b"c\x00\x00\x00\x04"
T = TypeVar("T")

READY = b"Z\x00\x00\x00\x05I"


def whole(answer: bytes) -> bool:
    """Whether the server has said all and waits for the next statement, outside a transaction."""
    return answer.endswith(READY)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests here may stop, if they start it again."""
    require("PostgreSQL", postgresql_server.programs)
    with postgresql_server.running() as running:
        yield running


@dataclass
class Line:
    """A backend, the proxy in front of its server, and a backend that goes past the proxy."""

    backend: PostgresBackend
    direct: PostgresBackend
    proxy: TcpProxy

    async def stored(self) -> list[str]:
        """The ids that the server has."""
        return ids(await walk(self.direct, Query(SystemEventLog, descending=False, limit=500)))

    def lose(self, after: bytes) -> None:
        self.proxy.lose_answers(after, whole)


@pytest.fixture
async def line(server: PostgresServer) -> AsyncIterator[Line]:
    """A line without faults yet; the schema is there."""
    with server.emptied() as database:
        async with TcpProxy("127.0.0.1", server.port) as proxy:
            through = f"host=127.0.0.1 port={proxy.port} dbname={database} user=postgres sslmode=disable"
            backend = PostgresBackend(Access(through, "TEST", database))
            direct = PostgresBackend(Access(server.conninfo(database), "TEST", database))
            await direct.connect()
            await backend.connect()
            yield Line(backend, direct, proxy)
            await backend.disconnect()
            await direct.disconnect()


async def test_a_create_whose_answer_is_lost(line: Line) -> None:
    """It is stored once and told to be new, with the etag that it has."""
    given = make(SystemEventLog)
    line.lose(b"INSERT")
    stored = await add(line.backend, SystemEventLog, given)
    assert line.proxy.lost == 1
    assert await fetch(line.direct, SystemEventLog, given.id) == stored


async def test_a_duplicate_whose_answer_is_lost(line: Line) -> None:
    """A record that was there before is told from one that was just stored, even when both are equal."""
    given = make(SystemEventLog)
    there = await add(line.direct, SystemEventLog, given)
    line.lose(b"INSERT")
    outcome = await line.backend.create(SystemEventLog, given)
    assert (line.proxy.lost, outcome.existed, kept(outcome)) == (1, True, there)


async def test_a_batch_whose_answer_is_lost(line: Line) -> None:
    """Every record of it is new and stored once, and those that were there are told from them."""
    there = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 3))
    given = make.many(SystemEventLog, 300)
    line.lose(COPY_DONE)
    outcomes = await line.backend.create_many(SystemEventLog, [*there, *given])
    assert line.proxy.lost == 1
    assert [outcome.existed for outcome in outcomes] == [True] * 3 + [False] * 300
    assert await walk(line.direct, Query(SystemEventLog, descending=False, limit=500)) == [kept(one) for one in outcomes]


async def test_an_update_whose_answer_is_lost(line: Line) -> None:
    """It is done once and acknowledged with the etag that the record then has."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    line.lose(b"UPDATE")
    updated = await line.backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert line.proxy.lost == 1
    assert await fetch(line.direct, SystemEventLog, stored.id) == updated


async def test_another_writer_after_a_lost_answer(line: Line) -> None:
    """An update that was refused before its answer was lost is not taken for one that was made."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    await line.direct.update(SystemEventLog, make.changed(stored, message="theirs"), stored.etag)
    line.lose(b"UPDATE")
    with pytest.raises(PreconditionFailedError):
        await line.backend.update(SystemEventLog, make.changed(stored, message="ours"), stored.etag)


async def test_a_delete_whose_answer_is_lost(line: Line) -> None:
    """A delete that was done is acknowledged; one of a record that is not there is still refused."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    line.lose(b"DELETE")
    await line.backend.delete(SystemEventLog, stored.id)
    assert (line.proxy.lost, await line.stored()) == (1, [])
    with pytest.raises(NotFoundError):
        await line.backend.delete(SystemEventLog, stored.id)


@pytest.mark.parametrize("statement", [b"DELETE", b"COMMIT"])
async def test_a_bounded_removal_whose_answer_is_lost(line: Line, statement: bytes) -> None:
    """It counts each record once, whether it was committed or not, and takes no more than its bound."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 30))
    line.proxy.lose_answers(statement)
    deleted = await line.backend.delete_where(Query(SystemEventLog, descending=False, limit=20))
    assert (line.proxy.lost, deleted.count, deleted.more) == (1, 20, True)
    assert await line.stored() == ids(given[20:])


async def test_a_purge_whose_answer_is_lost(line: Line) -> None:
    """It counts the records that there were."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 5))
    line.lose(b"COMMIT")
    assert await line.backend.purge(SystemEventLog, [*ids(given[:3]), "never-there"]) == 3
    assert (line.proxy.lost, await line.stored()) == (1, ids(given[3:]))


class Interrupted(Caller):
    """Does work twice: the first time the server undoes it, and a record changes before the second."""

    def __init__(self, line: Line, changed: Stored) -> None:
        self._line, self._changed = line, changed

    async def call(self, work: Callable[[Connection], Awaitable[T]], **_: object) -> Answer[T]:
        async def undone(connection: Connection) -> None:
            async with connection.transaction(force_rollback=True):
                await work(connection)

        await self._line.backend._caller.call(undone)
        await self._line.direct.update(SystemEventLog, self._changed, self._changed.etag)
        return Answer((await self._line.backend._caller.call(work)).value, lost=True)


async def test_a_record_that_changes_between_two_attempts(line: Line) -> None:
    """A bounded removal leaves it and says that there is more; a purge removes it, whatever its version."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 3))
    table = TABLES[SystemEventLog]
    choice = queries.removal(Query(SystemEventLog, limit=10))
    deleted = await remove(Interrupted(line, given[1]), table, choice, 10)
    assert (deleted.more, await line.stored()) == (True, [given[1].id])
    left = await fetch(line.direct, SystemEventLog, given[1].id)
    purged = await remove(Interrupted(line, left), table, queries.removal_of_ids(table, [left.id]))
    assert (purged.count, await line.stored()) == (1, [])


async def test_a_read_whose_answer_is_lost(line: Line) -> None:
    """A list is whole."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 30))
    line.lose(b"SELECT")
    assert await walk(line.backend, Query(SystemEventLog, limit=50)) == given[::-1]
    assert line.proxy.lost == 1


async def test_idle_connections_that_were_cut(line: Line) -> None:
    """Whoever takes one next notices nothing."""
    given = make.many(SystemEventLog, 10)
    await asyncio.gather(*(line.backend.create(SystemEventLog, record) for record in given))
    assert line.proxy.open_connections > 1
    line.proxy.cut()
    found = await asyncio.gather(*(line.backend.find_by_id(SystemEventLog, name) for name in ids(given)))
    assert [item.id for item in found if item is not None] == ids(given)


async def test_connections_that_are_cut_under_load(line: Line) -> None:
    """Whatever was acknowledged is stored once, and was told to be new."""
    acknowledged: list[str] = []
    cuts = 0

    async def create() -> None:
        nonlocal cuts
        while cuts < 10:
            record = make(SystemEventLog)
            try:
                outcome = await line.backend.create(SystemEventLog, record)
            except TransientError:
                continue
            assert not outcome.existed
            acknowledged.append(record.id)
            if len(acknowledged) % 20 == 0:
                line.proxy.cut()
                cuts += 1

    await asyncio.gather(*(create() for _ in range(8)))
    stored = await line.stored()
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)


async def test_a_server_that_is_away(line: Line) -> None:
    """Every call is unavailable at once and can be sent again; when the server is back, the same backend goes on."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    await line.proxy.refuse()
    started = time.monotonic()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: line.backend.create(SystemEventLog, make(SystemEventLog)),
        lambda: line.backend.find_by_id(SystemEventLog, stored.id),
        lambda: line.backend.find(Query(SystemEventLog)),
        lambda: line.backend.update(SystemEventLog, stored, stored.etag),
        line.backend.health,
    ]
    for call in calls:
        with pytest.raises(UnavailableError) as caught:
            await call()
        assert caught.value.retry_after > 0
        assert "127.0.0.1" not in str(caught.value)
    [outcome] = await line.backend.create_many(SystemEventLog, [make(SystemEventLog)])
    assert isinstance(outcome.error, UnavailableError)
    assert time.monotonic() - started < 20
    await line.proxy.accept()
    assert await line.backend.find_by_id(SystemEventLog, stored.id) == stored
    assert await line.stored() == [stored.id]


async def test_starting_while_the_server_is_away(server: PostgresServer) -> None:
    """Connecting is unavailable, and works on the same backend once the server is there."""
    with server.emptied() as database:
        async with TcpProxy("127.0.0.1", server.port) as proxy:
            conninfo = f"host=127.0.0.1 port={proxy.port} dbname={database} user=postgres sslmode=disable"
            backend = PostgresBackend(Access(conninfo, "TEST", database))
            await proxy.refuse()
            with pytest.raises(UnavailableError):
                await backend.connect()
            await proxy.accept()
            await backend.connect()
            await backend.health()
            await backend.disconnect()


async def test_a_statement_that_waits_past_the_deadline(server: PostgresServer, line: Line) -> None:
    """The request ends in time, the server stops working on it, and nothing of it is stored."""
    with server.emptied() as database, psycopg.connect(server.conninfo(database)) as other:
        other.execute("LOCK TABLE logogen.events IN SHARE MODE")
        set_deadline(0.3)
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            await line.backend.create(SystemEventLog, make(SystemEventLog))
        assert time.monotonic() - started < 3
        other.rollback()
        set_deadline(10)
        assert await line.stored() == []


async def _batch(backend: PostgresBackend) -> None:
    outcomes = await backend.create_many(SystemEventLog, make.many(SystemEventLog, 50))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error


HANGING: dict[str, Callable[[PostgresBackend], Awaitable[object]]] = {
    "create": lambda backend: backend.create(SystemEventLog, make(SystemEventLog)),
    "batch": _batch,
    "page": lambda backend: backend.find(Query(SystemEventLog)),
    "bounded removal": lambda backend: backend.delete_where(Query(SystemEventLog, limit=3)),
}


@pytest.mark.parametrize("call", HANGING)
async def test_a_server_that_hangs(line: Line, call: str) -> None:
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


async def test_the_service_while_its_server_restarts(server: PostgresServer, tmp_path: Path) -> None:
    """Clients get 503 with Retry-After while it is stopped, and their records once it is back; nothing is lost by it."""
    with server.emptied() as database:
        variables = {
            "DATABASE_TYPE": "postgresql",
            "DATABASE_CONNECTION_STRING": server.conninfo(database),
            "PRIVACY_SALT": "a-salt-for-tests-only",
        }
        log = tmp_path / "serve.log"
        with Serve(REPOSITORY, state=tmp_path / "state", log=log, environment=variables) as serve:
            async with HttpClient(serve.url) as client:
                assert await _post(client, "before") == 201
                server.stop(crash=True)
                try:
                    answer = await client.post("/api/events", json=_event("while"))
                    assert answer.status == 503
                    assert int(answer.headers["retry-after"]) > 0
                    assert (await client.get("/api/health")).status == 503
                finally:
                    server.start()
                assert await _post(client, "while") == 201
                assert await _post(client, "before") == 200
        assert not {"127.0.0.1", "FATAL", "psycopg"} & set(log.read_text().replace(":", " ").split())


def _event(record_id: str) -> dict[str, str]:
    return {"id": record_id, "eventType": "startup", "message": "ready"}


async def _post(client: Client, record_id: str) -> int:
    return (await client.post("/api/events", json=_event(record_id))).status
