"""Removing many records: by a query, in bounded steps, and for good."""

import asyncio

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from shared.backends.base import Backend, Deleted
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import ApiRequestLog, Record, SystemEventLog
from shared.query import Aggregation, Query, Stored
from tests.contract.reference import select
from tests.contract.steps import add, add_all, clear, each_model, each_order, ids, quick, walk
from tests.contract.stores import Store
from tests.contract.strategies import models, queries_of, records_of
from tests.support.records import make


async def remaining(backend: Backend, model: type[Record]) -> list[str]:
    """The ids that are left, oldest first."""
    return ids(await walk(backend, Query(model, descending=False, limit=100)))


async def test_nothing_to_delete(backend: Backend) -> None:
    """An empty model has nothing to delete and no more of it."""
    assert await backend.delete_where(Query(SystemEventLog)) == Deleted(0, more=False)


async def test_delete_where_takes_what_matches(backend: Backend) -> None:
    """Records that pass the filters are deleted, the others stay."""
    given = [make(SystemEventLog, level=level) for level in ("info", "warn", "error", "info", "warn")]
    await add_all(backend, SystemEventLog, given)
    assert await backend.delete_where(Query(SystemEventLog, {"level": ("info", "error")})) == Deleted(3, more=False)
    assert await remaining(backend, SystemEventLog) == ids([given[1], given[4]])


async def test_delete_where_keeps_to_its_window(backend: Backend) -> None:
    """The record at `since` goes, the one at `until` stays."""
    given = make.many(SystemEventLog, 5)
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, since=given[1].timestamp, until=given[3].timestamp)
    assert await backend.delete_where(query) == Deleted(2, more=False)
    assert await remaining(backend, SystemEventLog) == ids([given[0], given[3], given[4]])


@each_order
async def test_delete_where_is_bounded_and_in_order(backend: Backend, *, descending: bool) -> None:
    """No more than `limit` records go at a time, the first of the query's order first."""
    given = make.many(SystemEventLog, 7)
    await add_all(backend, SystemEventLog, given)
    assert await backend.delete_where(Query(SystemEventLog, descending=descending, limit=3)) == Deleted(3, more=True)
    assert await remaining(backend, SystemEventLog) == ids(given[:4] if descending else given[3:])


async def test_delete_where_goes_on_where_it_stopped(backend: Backend) -> None:
    """The same call again deletes the next ones until there are no more."""
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 7))
    query = Query(SystemEventLog, descending=False, limit=3)
    steps = [await backend.delete_where(query) for _ in range(4)]
    assert steps == [Deleted(3, more=True), Deleted(3, more=True), Deleted(1, more=False), Deleted(0, more=False)]


async def test_delete_where_says_when_it_took_the_last(backend: Backend) -> None:
    """A bound that is met exactly leaves no more, whatever else does not match."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, level=level) for level in ("info", "warn") * 4])
    assert await backend.delete_where(Query(SystemEventLog, {"level": ("warn",)}, limit=4)) == Deleted(4, more=False)


async def test_delete_where_over_many_days(backend: Backend) -> None:
    """A bound counts records, not days."""
    given = [make(SystemEventLog, timestamp=f"2024-{month:02}-28T00:00:00.000Z") for month in range(1, 13)]
    await add_all(backend, SystemEventLog, given)
    assert await backend.delete_where(Query(SystemEventLog, descending=False, limit=8)) == Deleted(8, more=True)
    assert await remaining(backend, SystemEventLog) == ids(given[8:])


async def test_delete_where_of_a_thousand(backend: Backend) -> None:
    """A full step removes a thousand records and frees their ids."""
    given = make.many(SystemEventLog, 1_200)
    await add_all(backend, SystemEventLog, given)
    assert await backend.delete_where(Query(SystemEventLog, descending=False, limit=1_000)) == Deleted(1_000, more=True)
    await add_all(backend, SystemEventLog, given[:1_000])
    assert await backend.count(Query(SystemEventLog)) == 1_200


async def test_delete_where_stays_within_its_model(backend: Backend) -> None:
    """Records of other models stay."""
    await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    other = await add(backend, ApiRequestLog, make(ApiRequestLog, id="same"))
    await backend.delete_where(Query(SystemEventLog))
    assert await backend.find_by_id(ApiRequestLog, "same") == other


async def test_what_delete_where_took_is_gone_everywhere(backend: Backend) -> None:
    """Deleted records are no longer read, counted or grouped."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete_where(Query(SystemEventLog))
    assert await backend.find_by_id(SystemEventLog, stored.id) is None
    assert await backend.count(Query(SystemEventLog)) == 0
    assert await backend.aggregate(Aggregation(SystemEventLog)) == []


@each_order
async def test_delete_where_while_records_arrive(backend: Backend, *, descending: bool) -> None:
    """Steps that run beside writers take only what matches, count each record once, and miss nothing in the end."""
    matching = [make(SystemEventLog, level="info") for _ in range(120)]
    others = [make(SystemEventLog, level="warn") for _ in range(120)]
    query = Query(SystemEventLog, {"level": ("info",)}, descending=descending, limit=15)

    async def arrive() -> None:
        for start in range(0, 120, 10):
            await add_all(backend, SystemEventLog, matching[start : start + 10])
            await add_all(backend, SystemEventLog, others[start : start + 10])

    counts: list[int] = []
    async with asyncio.TaskGroup() as tasks:
        arriving = tasks.create_task(arrive())
        while not arriving.done():
            counts.append((await backend.delete_where(query)).count)
    while (deleted := await backend.delete_where(query)).count:
        counts.append(deleted.count)
    assert sum(counts) == len(matching)
    assert max(counts) <= query.limit
    assert await remaining(backend, SystemEventLog) == ids(others)


async def test_two_runs_of_delete_where_at_once(store: Store) -> None:
    """Instances that delete by the same query at the same time count each record once between them."""
    given = make.many(SystemEventLog, 200)
    query = Query(SystemEventLog, until=given[150].timestamp, descending=False, limit=20)

    async def run(backend: Backend) -> int:
        total = 0
        while (deleted := await backend.delete_where(query)).more or deleted.count:
            total += deleted.count
        return total

    async with store.open() as first, store.open() as second:
        await add_all(first, SystemEventLog, given)
        assert sum(await asyncio.gather(run(first), run(second))) == 150
        assert await remaining(second, SystemEventLog) == ids(given[150:])


@quick
@given_any(data=st.data(), model=models)
async def test_any_delete_where_takes_what_it_means(backend: Backend, model: type[Record], data: st.DataObject) -> None:
    """For any records and any query, the first of what matches goes and the rest stays as it was."""
    await clear(backend, model)
    stored = await add_all(backend, model, data.draw(records_of(model)))
    query = data.draw(queries_of(model))
    taken = select(stored, query)
    deleted = Deleted(min(len(taken), query.limit), more=len(taken) > query.limit)
    assert await backend.delete_where(query) == deleted
    left = [record for record in stored if record not in taken[: query.limit]]
    everything = Query(model, limit=100)
    assert (await backend.find(everything)).items == select(left, everything)
    assert await backend.count(everything) == len(left)


@each_model
async def test_purged_records_are_gone(backend: Backend, model: type[Record]) -> None:
    """A purge says how many records there were; the others stay."""
    given = make.many(model, 5)
    await add_all(backend, model, given)
    assert await backend.purge(model, ids(given[:3])) == 3
    assert await backend.find_by_id(model, given[0].id) is None
    assert await remaining(backend, model) == ids(given[3:])


async def test_purging_nothing(backend: Backend) -> None:
    """A purge of no ids removes nothing."""
    await add(backend, SystemEventLog, make(SystemEventLog))
    assert await backend.purge(SystemEventLog, []) == 0
    assert await backend.count(Query(SystemEventLog)) == 1


async def test_purging_unknown_ids(backend: Backend) -> None:
    """Ids without a record are no error and don't count."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    assert await backend.purge(SystemEventLog, ["unknown", stored.id, make(SystemEventLog).id]) == 1


async def test_purging_an_id_twice(backend: Backend) -> None:
    """An id that is named twice counts once, and a second purge finds nothing."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    assert await backend.purge(SystemEventLog, [stored.id, stored.id]) == 1
    assert await backend.purge(SystemEventLog, [stored.id]) == 0


async def test_purging_what_was_deleted(backend: Backend) -> None:
    """A deleted record was there no more, but what its delete left behind may be purged."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete(SystemEventLog, stored.id)
    assert await backend.purge(SystemEventLog, [stored.id]) == 0
    assert await backend.find_by_id(SystemEventLog, stored.id) is None


async def test_a_purge_stays_within_its_model(backend: Backend) -> None:
    """A record of the same id in another model stays."""
    await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    other = await add(backend, ApiRequestLog, make(ApiRequestLog, id="same"))
    await backend.purge(SystemEventLog, ["same"])
    assert await backend.find_by_id(ApiRequestLog, "same") == other


@pytest.mark.parametrize("timestamp", ["2023-12-01T00:00:00.000Z", "2024-01-01T12:00:00.000Z", "2024-03-01T00:00:00.000Z"])
async def test_an_id_is_free_after_a_purge(backend: Backend, timestamp: str) -> None:
    """A purged id can be created anew, on an earlier, the same or a later day."""
    await add(backend, SystemEventLog, make(SystemEventLog, id="again", timestamp="2024-01-01T12:00:00.000Z"))
    await backend.purge(SystemEventLog, ["again"])
    anew = await add(backend, SystemEventLog, make(SystemEventLog, id="again", timestamp=timestamp))
    assert (await backend.find(Query(SystemEventLog))).items == [anew]


async def test_a_purge_of_updated_records(backend: Backend) -> None:
    """A record that was written several times is purged once and whole."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    for number in range(3):
        stored = await backend.update(SystemEventLog, make.changed(stored, message=str(number)), stored.etag)
    assert await backend.purge(SystemEventLog, [stored.id]) == 1
    assert await backend.find_by_id(SystemEventLog, stored.id) is None


async def test_a_purge_of_many(backend: Backend) -> None:
    """Some hundreds of ids go at once, over several days."""
    given = [make(SystemEventLog, timestamp=f"2024-01-{1 + n % 28:02}T00:00:00.{n:03}Z") for n in range(600)]
    await add_all(backend, SystemEventLog, given)
    assert await backend.purge(SystemEventLog, ids(given[:500])) == 500
    assert sorted(await remaining(backend, SystemEventLog)) == sorted(ids(given[500:]))


async def test_delete_where_spares_what_stopped_matching(backend: Backend) -> None:
    """A record whose acknowledged update took it out of the filter is not deleted by it, however close the two come."""
    stored = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 60, level="info"))
    spared: list[str] = []

    async def change(record: Stored) -> None:
        try:
            updated = await backend.update(SystemEventLog, make.changed(record, level="warn"), record.etag)
        except (NotFoundError, PreconditionFailedError):
            return
        spared.append(updated.id)

    query = Query(SystemEventLog, {"level": ("info",)}, descending=False, limit=60)
    deleting = asyncio.create_task(backend.delete_where(query))
    await asyncio.gather(*map(change, stored[::-1]))
    deleted = await deleting
    left = await remaining(backend, SystemEventLog)
    assert set(spared) <= set(left)
    assert deleted.count == len(stored) - len(left)
