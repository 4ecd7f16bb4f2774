"""Connecting, disconnecting, and several instances over one database, in this process and in others."""

import asyncio
from functools import partial
from operator import methodcaller

import pytest

from shared.backends import create_backend
from shared.backends.base import Backend
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import MODELS, ApiRequestLog, SystemEventLog
from shared.query import Aggregation, Query
from tests.contract.elsewhere import run_elsewhere
from tests.contract.steps import add, add_all, fetch, ids, increment, kept, walk
from tests.contract.stores import Store
from tests.support.records import make


async def test_the_name_is_the_database_type(store: Store) -> None:
    """A backend is called as configuration calls it."""
    assert create_backend(store.settings).name == store.settings.database_type


async def test_everything_is_there_after_a_reconnect(store: Store) -> None:
    """Records of every model outlive the connection, etags included."""
    async with store.open() as backend:
        given = {model: await add_all(backend, model, make.many(model, 3)) for model in MODELS.values()}
        await backend.disconnect()
        await backend.connect()
        assert {model: await walk(backend, Query(model, descending=False)) for model in given} == given


async def test_everything_is_there_for_the_next_instance(store: Store) -> None:
    """Records, updates and deletes outlive the instance that made them."""
    async with store.open() as first:
        gone, changed, kept_as_is = await add_all(first, SystemEventLog, make.many(SystemEventLog, 3))
        await first.delete(SystemEventLog, gone.id)
        changed = await first.update(SystemEventLog, make.changed(changed, message="new"), changed.etag)
    async with store.open() as second:
        assert (await second.find(Query(SystemEventLog, descending=False))).items == [changed, kept_as_is]


async def test_connecting_twice_is_one_connection(store: Store) -> None:
    """A second connect changes nothing, and one disconnect frees it."""
    async with store.open() as backend:
        stored = await add(backend, SystemEventLog, make(SystemEventLog))
        await backend.connect()
        assert await backend.find_by_id(SystemEventLog, stored.id) == stored
        await backend.disconnect()
        await backend.connect()
        assert await backend.find_by_id(SystemEventLog, stored.id) == stored


async def test_connecting_at_once_is_one_connection(store: Store) -> None:
    """Several tasks that connect at the same time share one connection."""
    backend = create_backend(store.settings)
    await asyncio.gather(*(backend.connect() for _ in range(5)))
    await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.disconnect()


async def test_disconnecting_what_was_not_connected(store: Store) -> None:
    """It is no error to disconnect without a connection, once or twice."""
    backend = create_backend(store.settings)
    await backend.disconnect()
    await backend.connect()
    await backend.disconnect()
    await backend.disconnect()


async def test_disconnecting_finishes_what_is_in_hand(store: Store) -> None:
    """Writes that had begun are acknowledged and kept."""
    given = make.many(SystemEventLog, 20)
    async with store.open() as backend:
        begun = [asyncio.create_task(backend.create(SystemEventLog, record)) for record in given]
        await asyncio.sleep(0)
        await backend.disconnect()
        await asyncio.gather(*begun)
    async with store.open() as second:
        assert ids(await walk(second, Query(SystemEventLog, descending=False))) == ids(given)


async def test_instances_see_each_other_s_creates(store: Store) -> None:
    """What one instance acknowledged, another reads, lists, counts and groups."""
    async with store.open() as first, store.open() as second:
        for number in range(1, 4):
            stored = await add(first, SystemEventLog, make(SystemEventLog))
            assert await second.find_by_id(SystemEventLog, stored.id) == stored
            assert (await second.find(Query(SystemEventLog, limit=1))).items == [stored]
            assert await second.count(Query(SystemEventLog)) == number
            assert [group.count for group in await second.aggregate(Aggregation(SystemEventLog))] == [number]
            assert (await second.get_stats()).models["SystemEventLog"].count == number


async def test_instances_write_by_turns(store: Store) -> None:
    """Both instances' records are in both instances' lists."""
    async with store.open() as first, store.open() as second:
        stored = [await add((first, second)[n % 2], SystemEventLog, make(SystemEventLog)) for n in range(10)]
        query = Query(SystemEventLog, descending=False)
        assert (await first.find(query)).items == stored
        assert (await second.find(query)).items == stored


async def test_instances_see_each_other_s_updates(store: Store) -> None:
    """A record that an instance has read before is read anew after another's update."""
    async with store.open() as first, store.open() as second:
        stored = await add(first, SystemEventLog, make(SystemEventLog))
        for number in range(3):
            reader, writer = (first, second) if number % 2 else (second, first)
            assert await reader.find_by_id(SystemEventLog, stored.id) == stored
            stored = await writer.update(SystemEventLog, make.changed(stored, message=str(number)), stored.etag)
            assert await reader.find_by_id(SystemEventLog, stored.id) == stored


async def test_an_etag_is_stale_on_every_instance(store: Store) -> None:
    """An instance refuses the version that another has replaced."""
    async with store.open() as first, store.open() as second:
        stored = await add(first, SystemEventLog, make(SystemEventLog))
        await second.update(SystemEventLog, make.changed(stored, message="second"), stored.etag)
        with pytest.raises(PreconditionFailedError):
            await first.update(SystemEventLog, make.changed(stored, message="first"), stored.etag)


async def test_instances_see_each_other_s_deletes(store: Store) -> None:
    """What one instance deleted is gone for another that has read it before."""
    async with store.open() as first, store.open() as second:
        stored = await add(first, SystemEventLog, make(SystemEventLog))
        assert await second.find_by_id(SystemEventLog, stored.id) == stored
        await first.delete(SystemEventLog, stored.id)
        assert await second.find_by_id(SystemEventLog, stored.id) is None
        with pytest.raises(NotFoundError):
            await second.delete(SystemEventLog, stored.id)


async def test_instances_see_each_other_s_purges(store: Store) -> None:
    """What one instance purged is gone for another that has read it before, and the rest is still right."""
    async with store.open() as first, store.open() as second:
        stored = await add_all(first, SystemEventLog, make.many(SystemEventLog, 6))
        assert await walk(second, Query(SystemEventLog, descending=False)) == stored
        await first.purge(SystemEventLog, ids(stored[::2]))
        assert await walk(second, Query(SystemEventLog, descending=False)) == stored[1::2]
        assert [await second.find_by_id(SystemEventLog, record.id) for record in stored] == [
            None if index % 2 == 0 else record for index, record in enumerate(stored)
        ]


async def test_an_id_is_taken_on_every_instance(store: Store) -> None:
    """A create finds what another instance has created."""
    async with store.open() as first, store.open() as second:
        stored = await add(first, SystemEventLog, make(SystemEventLog, id="same"))
        outcome = await second.create(SystemEventLog, make(SystemEventLog, id="same"))
        assert outcome.existed
        assert kept(outcome) == stored


async def test_an_id_is_free_on_every_instance(store: Store) -> None:
    """An id that one instance deleted can be created on another, and its etag differs."""
    async with store.open() as first, store.open() as second:
        stored = await add(first, SystemEventLog, make(SystemEventLog, id="same"))
        await second.find_by_id(SystemEventLog, "same")
        await first.delete(SystemEventLog, "same")
        anew = await add(second, SystemEventLog, make(SystemEventLog, id="same"))
        assert anew.etag != stored.etag
        assert await first.find_by_id(SystemEventLog, "same") == anew


async def test_another_process_sees_what_was_acknowledged(store: Store) -> None:
    """A process that starts later reads what this one has stored, before it disconnects."""
    async with store.open() as backend:
        stored = await add_all(backend, ApiRequestLog, make.many(ApiRequestLog, 5))
        page = await run_elsewhere(store, methodcaller("find", Query(ApiRequestLog, descending=False)))
        assert page.items == stored


async def test_another_process_s_writes_are_seen(store: Store) -> None:
    """An instance sees what another process created, updated and deleted while it was connected."""
    async with store.open() as backend:
        first, second = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
        await fetch(backend, SystemEventLog, first.id)
        changed = make.changed(first, message="elsewhere")
        await run_elsewhere(store, methodcaller("update", SystemEventLog, changed, first.etag))
        await run_elsewhere(store, methodcaller("delete", SystemEventLog, second.id))
        [created] = await run_elsewhere(store, methodcaller("create_many", SystemEventLog, [make(SystemEventLog)]))
        page = await backend.find(Query(SystemEventLog, descending=False))
        assert [item.record for item in page.items] == [changed.record, kept(created).record]
        assert await backend.find_by_id(SystemEventLog, second.id) is None


async def test_acknowledged_writes_outlive_a_killed_process(store: Store) -> None:
    """A process that is killed right after its answer has lost nothing of it."""
    given = make.many(SystemEventLog, 50)
    outcomes = await run_elsewhere(store, methodcaller("create_many", SystemEventLog, given), killed=True)
    async with store.open() as backend:
        assert await walk(backend, Query(SystemEventLog, descending=False)) == [kept(outcome) for outcome in outcomes]


async def test_processes_lose_none_of_each_other_s_increments(store: Store) -> None:
    """Three processes that read, change and write one record lose no change."""
    async with store.open() as backend:
        await add(backend, SystemEventLog, make(SystemEventLog, id="counter", metadata={"n": 0}))
        step = partial(increment, model=SystemEventLog, record_id="counter", times=20)
        await asyncio.gather(run_elsewhere(store, step), run_elsewhere(store, step), step(backend))
        assert (await fetch(backend, SystemEventLog, "counter")).record["metadata"] == {"n": 60}


async def test_processes_share_out_ids(store: Store) -> None:
    """Of the same records from several processes at once, each is new exactly once."""
    given = make.many(SystemEventLog, 100)

    async def create(backend: Backend) -> list[bool]:
        return [outcome.existed for outcome in await backend.create_many(SystemEventLog, given)]

    async with store.open() as backend:
        theirs, others, ours = await asyncio.gather(
            run_elsewhere(store, methodcaller("create_many", SystemEventLog, given)),
            run_elsewhere(store, methodcaller("create_many", SystemEventLog, given[::-1])),
            create(backend),
        )
        news = zip((o.existed for o in theirs), (o.existed for o in others[::-1]), ours, strict=True)
        assert [list(existed).count(False) for existed in news] == [1] * 100
        assert await backend.count(Query(SystemEventLog)) == 100
