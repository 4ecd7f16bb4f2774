"""What the service promises whichever database is under it: nothing lost among many writers, and walks that hold."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count as count_from
from typing import Any

import pytest

from shared.datatypes import MAX_INTEGER
from shared.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError
from shared.etags import Condition, read_condition
from shared.models import SystemEventLog
from shared.service import DatabaseService
from shared.timestamps import format_timestamp
from tests.contract.steps import each_order, typed
from tests.contract.stores import Store
from tests.service.parts import SALT, Clock, event

MODEL = SystemEventLog
DAYS = 10
instances = pytest.mark.parametrize("count", [1, 2], ids=["one-instance", "two-instances"])


def condition(etag: str) -> Condition:
    """The condition that names one version."""
    read = read_condition("If-Match", etag)
    assert read is not None
    return read


@asynccontextmanager
async def running(store: Store, clock: Clock, **retention_days: int) -> AsyncIterator[DatabaseService]:
    """One more instance of the service over a database."""
    settings = replace(store.settings, privacy_salt=SALT, retention_days=retention_days)
    service = DatabaseService(settings, clock=clock)
    await service.initialize()
    try:
        yield service
    finally:
        await service.close()


async def opened(stack: AsyncExitStack, store: Store, count: int) -> list[DatabaseService]:
    """So many instances over one database, closed with the stack."""
    return [await stack.enter_async_context(running(store, Clock())) for _ in range(count)]


def errors(results: Sequence[Any]) -> list[type]:
    """The kinds of what failed."""
    return [type(result) for result in results if isinstance(result, BaseException)]


@instances
async def test_one_of_fifty_equal_creates_stores(store: Store, count: int) -> None:
    """Of the same record sent fifty times at once one is stored, and the others are told that it is a duplicate."""
    async with AsyncExitStack() as stack:
        services = await opened(stack, store, count)
        written = await asyncio.gather(*(services[n % count].create(MODEL, event(id="same")) for n in range(50)))
        assert [result.duplicate for result in written].count(False) == 1
        assert len({result.etag for result in written}) == 1
        assert [found["id"] for found in (await services[-1].list_records(MODEL, {})).records] == ["same"]


@instances
async def test_one_of_fifty_different_creates_stores(store: Store, count: int) -> None:
    """Of fifty records of one id at once one is stored, and the others are conflicts."""
    async with AsyncExitStack() as stack:
        services = await opened(stack, store, count)
        results = await asyncio.gather(
            *(services[n % count].create(MODEL, event(id="same", message=str(n))) for n in range(50)), return_exceptions=True
        )
        [stored] = [result for result in results if not isinstance(result, BaseException)]
        assert errors(results) == [ConflictError] * 49
        assert (await services[-1].get(MODEL, "same")).record == stored.stored.record


@instances
async def test_fifty_patches_all_arrive(store: Store, count: int) -> None:
    """Patches of one record at once, without a condition, are all made."""
    async with AsyncExitStack() as stack:
        services = await opened(stack, store, count)
        await services[0].create(MODEL, event(id="e"))
        await asyncio.gather(*(services[n % count].update(MODEL, "e", {"metadata": {f"k{n}": n}}) for n in range(50)))
        assert (await services[-1].get(MODEL, "e")).record["metadata"] == {f"k{n}": n for n in range(50)}


@instances
async def test_one_of_fifty_patches_of_a_version_is_made(store: Store, count: int) -> None:
    """Of patches that name one version at once, one is made and the others are told so."""
    async with AsyncExitStack() as stack:
        services = await opened(stack, store, count)
        version = condition((await services[0].create(MODEL, event(id="e"))).etag)
        results = await asyncio.gather(
            *(services[n % count].update(MODEL, "e", {"message": str(n)}, version) for n in range(50)), return_exceptions=True
        )
        [made] = [result for result in results if not isinstance(result, BaseException)]
        assert errors(results) == [PreconditionFailedError] * 49
        assert (await services[-1].get(MODEL, "e")).stored == made.stored


@instances
async def test_fifty_counts_by_version_are_all_made(store: Store, count: int) -> None:
    """Clients that read, count and patch what they read, until they succeed, are all counted."""

    async def count_up(service: DatabaseService) -> None:
        for attempt in count_from(1):
            found = await service.get(MODEL, "e")
            patch = {"metadata": {"n": found.record["metadata"]["n"] + 1}}
            try:
                await service.update(MODEL, "e", patch, condition(found.etag))
            except PreconditionFailedError:
                await asyncio.sleep(random.uniform(0, 0.02 * min(attempt, 10)))  # clients back off, as the service does
            else:
                return

    async with AsyncExitStack() as stack:
        services = await opened(stack, store, count)
        await services[0].create(MODEL, event(id="e", metadata={"n": 0}))
        await asyncio.gather(*(count_up(services[n % count]) for n in range(50)))
        assert (await services[-1].get(MODEL, "e")).record["metadata"] == {"n": 50}


async def test_patches_of_a_record_that_goes(store: Store) -> None:
    """A delete among patches leaves no record, and no patch brings it back."""
    async with AsyncExitStack() as stack:
        [service] = await opened(stack, store, 1)
        await service.create(MODEL, event(id="e"))
        patches = [service.update(MODEL, "e", {"metadata": {f"k{n}": n}}) for n in range(20)]
        results = await asyncio.gather(*patches[:10], service.delete(MODEL, "e"), *patches[10:], return_exceptions=True)
        assert set(errors(results)) <= {NotFoundError}
        with pytest.raises(NotFoundError):
            await service.get(MODEL, "e")


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 1.0, -0.0, 5e-324, 1.7976931348623157e308], ids=repr)
async def test_numbers_at_the_edge(store: Store, number: float) -> None:
    """A number keeps its type and digits from the client to the database, through a patch and back."""
    async with running(store, Clock()) as service:
        sent = {"plain": number, "inside": [{"number": number}]}
        await service.create(MODEL, event(id="e", metadata=sent))
        await service.update(MODEL, "e", {"metadata": {"patched": number}})
        found = (await service.get(MODEL, "e")).record["metadata"]
        assert typed(found) == typed({**sent, "patched": number})


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64])
async def test_integers_that_doubles_cannot_hold(store: Store, number: int) -> None:
    """An integer past 2^53 is refused by name, in a create and in a patch, and nothing is stored."""
    async with running(store, Clock()) as service:
        with pytest.raises(InvalidError, match="metadata"):
            await service.create(MODEL, event(id="e", metadata={"n": number}))
        await service.create(MODEL, event(id="e", metadata={"n": 1}))
        with pytest.raises(InvalidError, match="metadata"):
            await service.update(MODEL, "e", {"metadata": {"n": number}})
        assert (await service.get(MODEL, "e")).record["metadata"] == {"n": 1}


@each_order
async def test_a_walk_while_records_arrive_expire_and_are_deleted(store: Store, *, descending: bool) -> None:
    """What was there throughout comes once and in order; what is gone comes no more; nothing comes twice."""
    clock = Clock(datetime.now(UTC))  # databases that expire records themselves go by the real time
    oldest = clock.now - timedelta(days=DAYS) + timedelta(seconds=1)

    def moment(minutes: float) -> str:
        return format_timestamp(oldest + timedelta(minutes=minutes))

    times = {f"r{n:02}": moment(n // 2) for n in range(60)}
    order = sorted(times, key=lambda name: (times[name], name), reverse=descending)
    deleted: set[str] = set()
    seen: list[str] = []
    cursor: str | None = ""
    async with running(store, clock, SystemEventLog=DAYS) as service:
        await asyncio.gather(*(service.create(MODEL, event(id=name, timestamp=time)) for name, time in times.items()))
        while cursor is not None:
            parameters = {"limit": "7", "order": "desc" if descending else "asc", **({"cursor": cursor} if cursor else {})}
            listing = await service.list_records(MODEL, parameters)
            cursor, names = listing.next_cursor, [record["id"] for record in listing.records]
            assert not deleted & set(names)
            assert all(record["timestamp"] >= format_timestamp(clock.now - timedelta(days=DAYS)) for record in listing.records)
            seen += names
            for name in {names[-1], order[(len(seen) + 3) % 60]} & (times.keys() - deleted):
                if times[name] >= format_timestamp(clock.now - timedelta(days=DAYS)):
                    await service.delete(MODEL, name)
                    deleted.add(name)
            clock.turn(minutes=1)
            arriving = (moment(15.5 + len(seen)), moment(40), listing.records[-1]["timestamp"], moment(29))
            for time in arriving:
                if time > format_timestamp(clock.now - timedelta(days=DAYS)):
                    await service.create(MODEL, event(timestamp=time))
            assert len(seen) < 500
    expired = {name for name, time in times.items() if time < format_timestamp(clock.now - timedelta(days=DAYS))}
    throughout = [name for name in order if name not in deleted | expired]
    assert len(throughout) > 20
    assert [name for name in seen if name in throughout] == throughout
    assert len(set(seen)) == len(seen)


async def test_a_record_expires_to_the_millisecond(store: Store) -> None:
    """On every database a record is there in its last millisecond and in no read after it; its id is free then."""
    clock = Clock(datetime.now(UTC))
    async with running(store, clock, SystemEventLog=1) as service:
        await service.create(MODEL, event(id="e", message="first"))
        clock.turn(days=1)
        assert (await service.get(MODEL, "e")).record["message"] == "first"
        clock.turn(milliseconds=1)
        with pytest.raises(NotFoundError):
            await service.get(MODEL, "e")
        assert (await service.list_records(MODEL, {})).records == []
        assert not (await service.create(MODEL, event(id="e", message="second"))).duplicate
        assert (await service.get(MODEL, "e")).record["message"] == "second"
        assert (await service.run_retention()).removed["SystemEventLog"] == 0


async def test_retention_removes_what_is_past(store: Store) -> None:
    """A run takes every record that is past its days from the database itself, and no other."""
    clock = Clock(datetime.now(UTC))
    async with running(store, clock, SystemEventLog=1) as service:
        names = [(await service.create(MODEL, event(component="old"))).record["id"] for _ in range(20)]
        clock.turn(days=1, milliseconds=1)
        kept = (await service.create(MODEL, event(component="new"))).record["id"]
        report = await service.run_retention()
        assert (report.removed["SystemEventLog"], report.left) == (20, [])
        assert (await service.get(MODEL, kept)).record["component"] == "new"
    async with store.open() as backend:
        assert [await backend.find_by_id(MODEL, name) for name in names] == [None] * 20
