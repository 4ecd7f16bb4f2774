"""Many tasks at once on one instance and on two."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from shared.backends.base import Backend
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Query, Stored
from tests.contract.steps import add, add_all, fetch, ids, increment, kept, walk
from tests.contract.stores import Store
from tests.support.records import make

instances = pytest.mark.parametrize("count", [1, 2], ids=["one-instance", "two-instances"])


async def opened(stack: AsyncExitStack, store: Store, count: int) -> list[Backend]:
    """So many instances over one database, closed with the stack."""
    return [await stack.enter_async_context(store.open()) for _ in range(count)]


async def attempts(*calls: Coroutine[Any, Any, Any]) -> tuple[list[Any], list[BaseException]]:
    """What succeeded and what failed of calls that run at once."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return (
        [result for result in results if not isinstance(result, BaseException)],
        [result for result in results if isinstance(result, BaseException)],
    )


@instances
async def test_one_of_fifty_creates_is_new(store: Store, count: int) -> None:
    """Of creates of one id at once exactly one is new, and all the others are given that one."""
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        outcomes = await asyncio.gather(
            *(backends[n % count].create(SystemEventLog, make(SystemEventLog, id="same", message=str(n))) for n in range(50))
        )
        [winner] = [kept(outcome) for outcome in outcomes if not outcome.existed]
        assert [kept(outcome) for outcome in outcomes] == [winner] * 50
        assert (await backends[0].find(Query(SystemEventLog))).items == [winner]


@instances
async def test_one_of_fifty_updates_wins(store: Store, count: int) -> None:
    """Of updates of one version at once exactly one is made."""
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        stored = await add(backends[0], SystemEventLog, make(SystemEventLog))
        calls = (
            backends[n % count].update(SystemEventLog, make.changed(stored, message=str(n)), stored.etag) for n in range(50)
        )
        won, lost = await attempts(*calls)
        assert [type(error) for error in lost] == [PreconditionFailedError] * 49
        assert won == [await fetch(backends[-1], SystemEventLog, stored.id)]


@instances
async def test_fifty_increments_lose_nothing(store: Store, count: int) -> None:
    """Tasks that read, change and write until they succeed are all counted."""
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        await add(backends[0], SystemEventLog, make(SystemEventLog, id="counter", metadata={"n": 0}))
        await asyncio.gather(*(increment(backends[n % count], SystemEventLog, "counter", 1) for n in range(50)))
        assert (await fetch(backends[-1], SystemEventLog, "counter")).record["metadata"] == {"n": 50}


@instances
async def test_one_of_ten_deletes_deletes(store: Store, count: int) -> None:
    """Of deletes of one record at once exactly one finds it."""
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        stored = await add(backends[0], SystemEventLog, make(SystemEventLog))
        done, failed = await attempts(*(backends[n % count].delete(SystemEventLog, stored.id) for n in range(10)))
        assert len(done) == 1
        assert [type(error) for error in failed] == [NotFoundError] * 9


@instances
async def test_an_update_or_a_delete_wins(store: Store, count: int) -> None:
    """Of an update and a delete of one version exactly one is made."""
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        for _ in range(10):
            stored = await add(backends[0], SystemEventLog, make(SystemEventLog))
            updating = backends[0].update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
            deleting = backends[-1].delete(SystemEventLog, stored.id, stored.etag)
            done, failed = await attempts(updating, deleting)
            found = await backends[-1].find_by_id(SystemEventLog, stored.id)
            assert (len(done), len(failed)) == (1, 1)
            assert found == done[0]


@instances
async def test_batches_that_overlap(store: Store, count: int) -> None:
    """Of the same records in batches at once, in whatever order, each is new exactly once."""
    given = make.many(SystemEventLog, 200)
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        orders = [given, given[::-1], given[100:] + given[:100], given[1::2] + given[::2]]
        batches = await asyncio.gather(
            *(backends[n % count].create_many(SystemEventLog, order) for n, order in enumerate(orders))
        )
        new = [kept(outcome).id for outcomes in batches for outcome in outcomes if not outcome.existed]
        assert sorted(new) == sorted(ids(given))
        assert await backends[0].count(Query(SystemEventLog)) == 200


@instances
async def test_creates_at_once_are_all_kept(store: Store, count: int) -> None:
    """Records that arrive at the same time are each stored and acknowledged."""
    given = make.many(SystemEventLog, 100)
    async with AsyncExitStack() as stack:
        backends = await opened(stack, store, count)
        await asyncio.gather(*(add(backends[n % count], SystemEventLog, record) for n, record in enumerate(given)))
        assert ids(await walk(backends[0], Query(SystemEventLog, descending=False, limit=100))) == ids(given)


async def test_every_acknowledged_write_is_readable(backend: Backend) -> None:
    """A task reads its own write at once, whatever the others do."""

    async def write_and_read(stored: Stored) -> bool:
        added = await add(backend, SystemEventLog, stored)
        listed = await backend.find(Query(SystemEventLog, since=stored.timestamp, descending=False, limit=1))
        return await backend.find_by_id(SystemEventLog, stored.id) == added == listed.items[0]

    assert all(await asyncio.gather(*map(write_and_read, make.many(SystemEventLog, 50))))


async def test_a_list_while_records_are_written(backend: Backend) -> None:
    """A walk during writes holds every record acknowledged before it began, in order, none twice."""
    given = make.many(SystemEventLog, 200)
    acknowledged: list[str] = []

    async def write() -> None:
        for start in range(0, 200, 10):
            acknowledged.extend(ids(await add_all(backend, SystemEventLog, given[start : start + 10])))

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        while not writing.done():
            before = set(acknowledged)
            walked = await walk(backend, Query(SystemEventLog, descending=False, limit=30))
            assert before <= set(ids(walked))
            assert [item.key for item in walked] == sorted({item.key for item in walked})
    assert await backend.count(Query(SystemEventLog)) == 200


async def test_reads_do_not_fail_while_records_are_written(store: Store) -> None:
    """Lists that are read at once from the database itself, and no cache, succeed whatever is written meanwhile."""
    uncached = Store(replace(store.settings, database_enable_cache=False))
    async with uncached.open() as backend:
        await add_all(backend, SystemEventLog, make.many(SystemEventLog, 100))

        async def write() -> None:
            for _ in range(60):
                await add(backend, SystemEventLog, make(SystemEventLog))

        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(write())
            while not writing.done():
                pages = await asyncio.gather(*(backend.find(Query(SystemEventLog, limit=100)) for _ in range(4)))
                assert [len(page.items) for page in pages] == [100] * 4


async def test_a_cancelled_write_harms_no_other(backend: Backend) -> None:
    """A caller that gives up is stored whole or not at all, and the others are stored."""
    given = make.many(SystemEventLog, 20)
    tasks = [asyncio.create_task(backend.create(SystemEventLog, record)) for record in given]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    found = ids(await walk(backend, Query(SystemEventLog, limit=100)))
    assert set(ids(given[1::2])) <= set(found) <= set(ids(given))
    await add(backend, SystemEventLog, make(SystemEventLog))


async def test_the_event_loop_goes_on(backend: Backend) -> None:
    """Other tasks run while a large batch is written, read and grouped."""
    given = [make(ImageGenerationTransaction, originalPrompt="x" * 3_000) for _ in range(1_000)]
    turns = 0

    async def work() -> None:
        await add_all(backend, ImageGenerationTransaction, given)
        await backend.find(Query(ImageGenerationTransaction, limit=1_000))
        await backend.count(Query(ImageGenerationTransaction))

    working = asyncio.create_task(work())
    while not working.done():
        turns += 1
        await asyncio.sleep(0)
    await working
    assert turns > 50
