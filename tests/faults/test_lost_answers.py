"""Lost answers and servers that go away, on each database with a protocol of its own: nothing missing, nothing doubled."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.errors import NotFoundError, PreconditionFailedError, TransientError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from tests.contract.steps import add, add_all, fetch, ids, kept, walk
from tests.faults.lines import LINES, LosingLine
from tests.support.records import make

CUTS = 4


@pytest.fixture(params=LINES)
async def line(request: pytest.FixtureRequest) -> AsyncIterator[LosingLine]:
    """A line without faults yet."""
    async with LINES[request.param](request.getfixturevalue(request.param)) as found:
        yield found


async def test_a_create(line: LosingLine) -> None:
    """It is stored once and told to be new, with the etag that it has."""
    given = make(SystemEventLog)
    line.lose_answer("create")
    stored = await add(line.backend, SystemEventLog, given)
    assert line.proxy.lost == 1
    assert await fetch(line.direct, SystemEventLog, given.id) == stored


async def test_a_duplicate(line: LosingLine) -> None:
    """A record that was there before is told from one that was just stored, even when both are equal."""
    given = make(SystemEventLog)
    there = await add(line.direct, SystemEventLog, given)
    line.lose_answer("create")
    outcome = await line.backend.create(SystemEventLog, given)
    assert (line.proxy.lost, outcome.existed, kept(outcome)) == (1, True, there)


async def test_a_batch(line: LosingLine) -> None:
    """Every record of it is new and stored once, and those that were there are told from them."""
    there = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 3))
    given = make.many(SystemEventLog, 300)
    line.lose_answer("create_many")
    outcomes = await line.backend.create_many(SystemEventLog, [*there, *given])
    assert line.proxy.lost == 1
    assert [outcome.existed for outcome in outcomes] == [True] * 3 + [False] * 300
    assert await walk(line.direct, Query(SystemEventLog, descending=False, limit=500)) == [kept(one) for one in outcomes]


async def test_an_update(line: LosingLine) -> None:
    """It is done once and acknowledged with the etag that the record then has."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    line.lose_answer("update")
    updated = await line.backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert line.proxy.lost == 1
    assert await fetch(line.direct, SystemEventLog, stored.id) == updated


async def test_another_writer(line: LosingLine) -> None:
    """An update that was refused before its answer was lost is not taken for one that was made."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    await line.direct.update(SystemEventLog, make.changed(stored, message="theirs"), stored.etag)
    line.lose_answer("update")
    with pytest.raises(PreconditionFailedError):
        await line.backend.update(SystemEventLog, make.changed(stored, message="ours"), stored.etag)
    assert line.proxy.lost == 1


async def test_a_delete(line: LosingLine) -> None:
    """A delete that was done is acknowledged; one of a record that is not there is still refused."""
    stored = await add(line.direct, SystemEventLog, make(SystemEventLog))
    line.lose_answer("delete")
    await line.backend.delete(SystemEventLog, stored.id)
    assert (line.proxy.lost, await line.stored()) == (1, [])
    with pytest.raises(NotFoundError):
        await line.backend.delete(SystemEventLog, stored.id)


async def test_a_bounded_removal(line: LosingLine) -> None:
    """It counts each record once and takes no more than its bound."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 30))
    line.lose_answer("delete_where")
    deleted = await line.backend.delete_where(Query(SystemEventLog, descending=False, limit=20))
    assert (line.proxy.lost, deleted.count, deleted.more) == (1, 20, True)
    assert await line.stored() == ids(given[20:])


async def test_a_purge(line: LosingLine) -> None:
    """It counts the records that there were."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 5))
    line.lose_answer("purge")
    assert await line.backend.purge(SystemEventLog, [*ids(given[:3]), "never-there"]) == 3
    assert (line.proxy.lost, await line.stored()) == (1, ids(given[3:]))


async def test_a_read(line: LosingLine) -> None:
    """A list is whole."""
    given = await add_all(line.direct, SystemEventLog, make.many(SystemEventLog, 30))
    line.lose_answer("find")
    assert await walk(line.backend, Query(SystemEventLog, limit=50)) == given[::-1]
    assert line.proxy.lost == 1


async def test_idle_connections_that_were_cut(line: LosingLine) -> None:
    """Whoever takes one next notices nothing."""
    given = make.many(SystemEventLog, 10)
    await asyncio.gather(*(line.backend.create(SystemEventLog, record) for record in given))
    assert line.proxy.open_connections > 1
    line.proxy.cut()
    found = await asyncio.gather(*(line.backend.find_by_id(SystemEventLog, name) for name in ids(given)))
    assert [item.id for item in found if item is not None] == ids(given)


async def test_connections_that_are_cut_under_load(line: LosingLine) -> None:
    """Whatever was acknowledged is stored once, and was told to be new."""
    is_over = asyncio.Event()

    async def create() -> list[str]:
        done: list[str] = []
        while not is_over.is_set():
            record = make(SystemEventLog)
            try:
                outcome = await line.backend.create(SystemEventLog, record)
            except TransientError:
                continue
            assert not outcome.existed
            done.append(record.id)
        return done

    work = asyncio.gather(*(create() for _ in range(8)))
    async with asyncio.timeout(60):
        for _ in range(CUTS):
            before = line.proxy.passed_on
            while line.proxy.passed_on < before + 20_000:  # noqa: ASYNC110 - the proxy runs in this loop
                await asyncio.sleep(0.01)
            assert line.proxy.open_connections > 0
            line.proxy.cut()
    is_over.set()
    acknowledged = [name for part in await work for name in part]
    stored = await line.stored()
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)
    assert acknowledged


async def test_a_server_that_is_away(line: LosingLine) -> None:
    """Every call is unavailable soon and can be sent again; when the server is back, the same backend goes on."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    await line.proxy.refuse()
    started = time.monotonic()
    for call in _calls(line, stored):
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


def _calls(line: LosingLine, stored: Stored) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: line.backend.create(SystemEventLog, make(SystemEventLog)),
        lambda: line.backend.find_by_id(SystemEventLog, stored.id),
        lambda: line.backend.find(Query(SystemEventLog)),
        lambda: line.backend.update(SystemEventLog, stored, stored.etag),
        line.backend.health,
    ]
