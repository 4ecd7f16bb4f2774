"""Writes and removals of many records: each has its own outcome, and those that meet on the same records go in turn."""

import asyncio
from typing import Any

import psycopg
import pytest

from shared.backends.postgresql import writing
from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.pool import Connection
from shared.errors import InvalidError, ServiceError, TooLargeError
from shared.models import SystemEventLog
from shared.query import Query
from tests.contract.steps import add, add_all, ids, kept, walk
from tests.postgresql.conftest import REFUSING, until_blocked
from tests.servers.postgresql import PostgresServer
from tests.support.records import make


def nested(depth: int) -> dict[str, Any]:
    """An object in an object, so many times."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize(("code", "error"), [("P0001", ServiceError), ("54000", TooLargeError), ("22003", InvalidError)])
async def test_a_record_that_the_database_refuses(
    server: PostgresServer,
    database: str,
    backend: PostgresBackend,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[ServiceError],
) -> None:
    """The others of its batch are stored, before and after it; it alone has the error."""
    server.execute(REFUSING.format(code=code), database)
    monkeypatch.setattr(writing, "MAX_COPIED", 3)
    given = make.many(SystemEventLog, 8)
    given[4] = make(SystemEventLog, id="refused")
    outcomes = await backend.create_many(SystemEventLog, [*given, given[4]])
    assert [type(outcome.error) for outcome in outcomes] == [error if one.id == "refused" else type(None) for one in given] + [
        error
    ]
    stored = await walk(backend, Query(SystemEventLog, descending=False))
    assert stored == [kept(outcome) for outcome in outcomes if outcome.error is None]
    assert len(stored) == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"text": "\ud800"}},
        {"metadata": nested(2_000)},
        {"metadata": nested(210)},
        {"component": "\ud800"},
        {"component": "a\0b"},
    ],
    ids=["lone surrogate", "too deep to write", "too deep to read", "lone surrogate in a column", "NUL in a column"],
)
async def test_a_record_that_is_none(backend: PostgresBackend, fields: dict[str, Any]) -> None:
    """What is no JSON, or no text, is that record's error, and nobody else's."""
    given = make.many(SystemEventLog, 3)
    given[1] = make.changed(given[1], **fields)
    outcomes = await backend.put_raw(SystemEventLog, given)
    assert [type(outcome.error) for outcome in outcomes] == [type(None), InvalidError, type(None)]
    with pytest.raises(InvalidError):
        await backend.create(SystemEventLog, given[1])
    stored = kept(outcomes[0])
    with pytest.raises(InvalidError):
        await backend.update(SystemEventLog, make.changed(stored, **fields), stored.etag)
    assert await walk(backend, Query(SystemEventLog, descending=False)) == [stored, kept(outcomes[2])]


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
async def test_a_question_that_is_none(backend: PostgresBackend, text: str) -> None:
    """A value that no record can have is refused as such, by reads as by writes."""
    for call in (
        backend.find_by_id(SystemEventLog, text),
        backend.find(Query(SystemEventLog, {"component": (text,)})),
        backend.delete(SystemEventLog, text),
        backend.purge(SystemEventLog, [text]),
    ):
        with pytest.raises(InvalidError):
            await call


COPY_REFUSED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN IF current_query() LIKE $x$COPY%$x$ THEN RAISE unique_violation; END IF; RETURN NEW; END';
CREATE TRIGGER refusing BEFORE INSERT ON logogen.events FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def test_ids_that_others_bring_all_the_time(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A batch that can't be copied however often, since there is always an id that exists, goes in one by one."""
    there = await add(backend, SystemEventLog, make(SystemEventLog))
    server.execute(COPY_REFUSED, database)
    given = make.many(SystemEventLog, 5)
    outcomes = await backend.create_many(SystemEventLog, [there, *given])
    assert [outcome.existed for outcome in outcomes] == [True] + [False] * 5
    assert await walk(backend, Query(SystemEventLog, descending=False)) == [kept(outcome) for outcome in outcomes]


LOGGED = """
CREATE TABLE logged (number serial, id text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN INSERT INTO logged (id) VALUES (NEW.id); RETURN NEW; END';
CREATE TRIGGER logging BEFORE INSERT ON logogen.events FOR EACH ROW EXECUTE FUNCTION log();
"""


async def test_the_order_of_a_batch(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """Rows go in by their ids, however they were sent, so that two batches with the same ids can't wait for each other."""
    server.execute(LOGGED, database)
    names = ["c", "a", "Z", "B", "b"]
    outcomes = await backend.create_many(SystemEventLog, [make(SystemEventLog, id=name) for name in names])
    assert [kept(outcome).id for outcome in outcomes] == names
    with psycopg.connect(server.conninfo(database)) as connection:
        rows = connection.execute("SELECT id FROM logged ORDER BY number").fetchall()
    assert [row[0] for row in rows] == ["B", "Z", "a", "b", "c"]


@pytest.mark.parametrize("descending", [False, True])
async def test_the_order_of_removals(
    server: PostgresServer,
    database: str,
    backend: PostgresBackend,
    descending: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Each locks its rows by their ids, whatever order chose them, so that no two can wait for each other."""
    times = ["2024-01-02T00:00:00.000Z", "2024-01-01T00:00:00.000Z"]
    for name, time in zip("ba", times if descending else times[::-1], strict=True):
        await add(backend, SystemEventLog, make(SystemEventLog, id=name, timestamp=time))
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("SELECT FROM logogen.events WHERE id = 'a' FOR UPDATE")
        removal = asyncio.create_task(backend.delete_where(Query(SystemEventLog, descending=descending, limit=2)))
        await until_blocked(server, database)
        other.execute("SELECT FROM logogen.events WHERE id = 'b' FOR UPDATE NOWAIT")
        other.rollback()
    assert (await removal).count == 2


async def test_a_record_that_changes_before_it_is_removed(
    server: PostgresServer, database: str, backend: PostgresBackend
) -> None:
    """One that no longer matches when its turn comes stays."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, component="old") for name in "ab"])
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("UPDATE logogen.events SET component = 'new' WHERE id = 'a'")
        removal = asyncio.create_task(backend.delete_where(Query(SystemEventLog, {"component": ("old",)}, limit=2)))
        await until_blocked(server, database)
        other.commit()
    assert (await removal).count == 1
    assert ids(await walk(backend, Query(SystemEventLog))) == ["a"]


async def test_a_record_that_goes_before_it_is_removed(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """The next one goes in its place, and what is left is told of."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name) for name in "abc"])
    with psycopg.connect(server.conninfo(database)) as other:
        other.execute("DELETE FROM logogen.events WHERE id = 'a'")
        removal = asyncio.create_task(backend.delete_where(Query(SystemEventLog, descending=False, limit=1)))
        await until_blocked(server, database)
        other.commit()
    deleted = await removal
    assert (deleted.count, deleted.more) == (1, True)
    assert ids(await walk(backend, Query(SystemEventLog))) == ["c"]


async def test_a_deadlock(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """Whom the server stops to end one does its work again, and loses nothing."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, component="old") for name in "ab"])
    attempts = 0
    touch = "UPDATE logogen.events SET component = component || '!' WHERE id = '{}'"

    async with await psycopg.AsyncConnection.connect(server.conninfo(database)) as other:
        await other.execute("SET deadlock_timeout = '60s'")  # ours looks after 1 s, and so is the one that is stopped
        await other.execute(touch.format("b"))

        async def theirs() -> None:
            await other.execute(touch.format("a"))
            await other.commit()

        async def work(connection: Connection) -> list[asyncio.Task[None]]:
            nonlocal attempts
            attempts += 1
            async with connection.transaction():
                await connection.execute(touch.format("a"))
                crossing = [asyncio.create_task(theirs())] if attempts == 1 else []
                others.extend(crossing)
                await connection.execute(touch.format("b"))
            return crossing

        others: list[asyncio.Task[None]] = []
        await backend._caller.call(work)
        await asyncio.gather(*others)
    assert attempts == 2
    with psycopg.connect(server.conninfo(database)) as connection:
        assert connection.execute("SELECT component FROM logogen.events").fetchall() == [("old!!",)] * 2
