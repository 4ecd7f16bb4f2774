"""The Cosmos DB backend behind a bad line: nothing acknowledged is missing, nothing is doubled."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.backend import CosmosBackend
from shared.errors import DeadlineError, PreconditionFailedError, ThrottledError, TransientError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timing import set_deadline
from tests.contract.steps import add, add_all, fetch, ids, kept, walk
from tests.faults.line import Line
from tests.faults.proxy import FAULTS, WRITES_ELSEWHERE, Proxy, always, at_random, calm, is_on_items, is_write, once
from tests.servers.cosmos.running import KEY, new_account
from tests.servers.cosmos.server import CosmosDouble
from tests.support.records import make

READ_TIMEOUT = 0.3
rates = pytest.mark.parametrize("rate", [0.05, 0.3])
each_fault = pytest.mark.parametrize("fault", FAULTS)


class CosmosLine(Line[CosmosBackend, Proxy]):
    """A line to a Cosmos DB account."""

    def check_sends(self) -> None:
        """Every write reached the proxy as often as our own code sent it: the driver gives each send an id of its own."""
        assert set(self.proxy.writes.values()) == {1}


@pytest.fixture
async def line() -> AsyncIterator[CosmosLine]:
    """A line without faults yet; its containers are there."""
    async with (
        CosmosDouble(new_account(physical=2)).serve() as double,
        Proxy(double.url, slow_seconds=READ_TIMEOUT * 1.5).serve() as proxy,
    ):
        through = CosmosBackend(Access(proxy.url, "TEST", KEY), "faults", 4, read_timeout=READ_TIMEOUT)
        direct = CosmosBackend(Access(double.url, "TEST", KEY), "faults", 4)
        await through.connect()
        await direct.connect()
        await through.count(Query(SystemEventLog))
        try:
            yield CosmosLine(through, direct, proxy)
        finally:
            proxy.plan = calm
            await through.disconnect()
            await direct.disconnect()


@rates
async def test_creates_one_by_one(line: CosmosLine, rate: float) -> None:
    """Every acknowledged create is stored once, and is told to be new."""
    given = make.many(SystemEventLog, 100)
    line.proxy.plan = at_random(rate, seed=1)
    outcomes = await asyncio.gather(*(line.backend.create(SystemEventLog, record) for record in given), return_exceptions=True)
    done = [record for record, outcome in zip(given, outcomes, strict=True) if not isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, TransientError) or not outcome.existed for outcome in outcomes)  # type: ignore[union-attr]
    stored = await line.stored()
    assert len(set(stored)) == len(stored)
    assert set(ids(done)) <= set(stored)
    assert len(done) > 90
    line.check_sends()


@rates
async def test_creates_in_batches(line: CosmosLine, rate: float) -> None:
    """What a batch acknowledged is stored once, and sending the rest again completes it."""
    given = make.many(SystemEventLog, 1_000)
    line.proxy.plan = at_random(rate, seed=2)
    outcomes = await line.backend.create_many(SystemEventLog, given)
    done = [record for record, outcome in zip(given, outcomes, strict=True) if outcome.error is None]
    assert not any(outcome.existed for outcome in outcomes)
    assert set(ids(done)) <= set(await line.stored())
    line.proxy.plan = calm
    await line.backend.create_many(SystemEventLog, given)
    assert await line.stored() == ids(given)
    line.check_sends()


@rates
async def test_conflicts_in_batches(line: CosmosLine, rate: float) -> None:
    """Records that were there are told from new ones, whatever answers are lost."""
    there = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 50))
    new = make.many(SystemEventLog, 50)
    again = [make.changed(stored, message="again") for stored in there]
    line.proxy.plan = at_random(rate, seed=3)
    outcomes = await line.backend.create_many(SystemEventLog, [item for pair in zip(again, new, strict=True) for item in pair])
    assert all(outcome.error is not None or outcome.existed == (place % 2 == 0) for place, outcome in enumerate(outcomes))
    assert [kept(outcome) for outcome in outcomes[::2] if outcome.error is None] == [
        stored for stored, outcome in zip(there, outcomes[::2], strict=True) if outcome.error is None
    ]


@rates
async def test_increments(line: CosmosLine, rate: float) -> None:
    """Each acknowledged update counts once, and one without acknowledgement at most once."""
    await add(line.backend, SystemEventLog, make(SystemEventLog, id="counter", metadata={"n": 0}))
    line.proxy.plan = at_random(rate, seed=4)
    acknowledged = unknown = 0
    for _ in range(60):
        try:
            found = await fetch(line.backend, SystemEventLog, "counter")
            n = found.record["metadata"]["n"]
            await line.backend.update(SystemEventLog, make.changed(found, metadata={"n": n + 1}), found.etag)
            acknowledged += 1
        except TransientError:
            unknown += 1
    value = (await fetch(line.direct, SystemEventLog, "counter")).record["metadata"]["n"]
    assert acknowledged <= value <= acknowledged + unknown
    line.check_sends()


@rates
async def test_deletes(line: CosmosLine, rate: float) -> None:
    """Every acknowledged delete is done, and its record was there."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 60))
    line.proxy.plan = at_random(rate, seed=5)
    gone = []
    for stored in given[::2]:
        try:
            await line.backend.delete(SystemEventLog, stored.id)
            gone.append(stored.id)
        except TransientError:
            continue
    left = set(await line.stored())
    assert not left & set(gone)
    assert set(ids(given[1::2])) <= left
    line.check_sends()


async def test_bounded_removal(line: CosmosLine) -> None:
    """A removal that lost answers counts each record once."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 300))
    line.proxy.plan = at_random(0.2, seed=6)
    deleted = await line.backend.delete_where(Query(SystemEventLog, descending=False, limit=200))
    assert (deleted.count, deleted.more) == (200, True)
    assert await line.stored() == ids(given[200:])


@rates
async def test_walks(line: CosmosLine, rate: float) -> None:
    """A walk through a list gives every record once, in order."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 300))
    line.proxy.plan = at_random(rate, seed=7)
    assert await walk(line.backend, Query(SystemEventLog, limit=40)) == given[::-1]
    assert await line.backend.count(Query(SystemEventLog)) == 300


@each_fault
async def test_one_fault_at_a_create(line: CosmosLine, fault: str) -> None:
    """A create is new and stored once, whatever happens to its first answer."""
    given = make(SystemEventLog)
    line.proxy.plan = once(fault, is_write)
    stored = await add(line.backend, SystemEventLog, given)
    assert await fetch(line.direct, SystemEventLog, given.id) == stored
    line.check_sends()


@each_fault
async def test_one_fault_at_a_batch(line: CosmosLine, fault: str) -> None:
    """Every record of a batch is new and stored once."""
    given = make.many(SystemEventLog, 20, sessionId="s-1")
    line.proxy.plan = once(fault, is_write)
    stored = await add_all(line.backend, SystemEventLog, given)
    assert await walk(line.direct, Query(SystemEventLog, descending=False, limit=50)) == stored
    line.check_sends()


@each_fault
async def test_one_fault_at_an_update(line: CosmosLine, fault: str) -> None:
    """An update is done once and acknowledged with the etag that the record then has."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    line.proxy.plan = once(fault, is_write)
    updated = await line.backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert await fetch(line.direct, SystemEventLog, stored.id) == updated
    line.check_sends()


@each_fault
async def test_one_fault_at_a_delete(line: CosmosLine, fault: str) -> None:
    """A delete that was done is acknowledged."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    line.proxy.plan = once(fault, is_write)
    await line.backend.delete(SystemEventLog, stored.id)
    assert await line.stored() == []
    line.check_sends()


@each_fault
async def test_one_fault_at_a_list(line: CosmosLine, fault: str) -> None:
    """A list is whole whatever happens to one of its calls."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 30))
    line.proxy.plan = once(fault, is_on_items)
    assert await walk(line.backend, Query(SystemEventLog, limit=50)) == given[::-1]


async def test_another_writer_after_a_lost_answer(line: CosmosLine) -> None:
    """An update that was refused before its answer was lost is not taken for one that was made."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    await line.direct.update(SystemEventLog, make.changed(stored, message="theirs"), stored.etag)
    line.proxy.plan = once("dropped-after", is_write)
    with pytest.raises(PreconditionFailedError):
        await line.backend.update(SystemEventLog, make.changed(stored, message="ours"), stored.etag)


async def test_throttled_for_longer_than_the_deadline(line: CosmosLine) -> None:
    """What can't be stored in time is answered as retryable with the time to wait, before the deadline."""
    line.proxy.plan = always("429", is_write)
    set_deadline(0.5)
    started = time.monotonic()
    outcomes = await line.backend.create_many(SystemEventLog, make.many(SystemEventLog, 30))
    assert time.monotonic() - started < 1
    errors = [outcome.error for outcome in outcomes]
    assert {type(error) for error in errors} <= {ThrottledError, DeadlineError}
    assert all(isinstance(error, TransientError) and error.retry_after > 0 for error in errors)


async def test_a_slow_answer_is_not_waited_for(line: CosmosLine) -> None:
    """What is silent for longer than the read timeout is asked again, for the driver's transport has that timeout."""
    before = line.proxy.calls
    line.proxy.plan = once("slow", is_write)
    await add(line.backend, SystemEventLog, make(SystemEventLog))
    assert line.proxy.calls - before > 1
    assert line.proxy.faults["slow"] == 1


async def test_writes_that_move_to_another_region(line: CosmosLine) -> None:
    """A create is sent again while the account's writes move from one region to another."""
    given = make(SystemEventLog)
    line.proxy.plan = once(WRITES_ELSEWHERE, is_write)
    stored = await add(line.backend, SystemEventLog, given)
    assert await fetch(line.direct, SystemEventLog, given.id) == stored
    line.check_sends()


@pytest.mark.parametrize("fault", ["449", "503", "dropped-before", WRITES_ELSEWHERE])
async def test_a_fault_that_stays(line: CosmosLine, fault: str) -> None:
    """A fault that does not pass is an answer that can be sent again, and leaves nothing behind."""
    line.proxy.plan = always(fault, is_on_items)
    set_deadline(0.5)
    given: Stored = make(SystemEventLog)
    with pytest.raises(UnavailableError):
        await line.backend.create(SystemEventLog, given)
    set_deadline(30)
    assert await line.stored() == []
