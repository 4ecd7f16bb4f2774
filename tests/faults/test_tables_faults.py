"""The Tables backend behind a bad line and on a server that goes away: nothing missing, nothing doubled."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.backends.azurehttp import CONNECT_TIMEOUT_SECONDS, make_transport
from shared.backends.base import Outcome
from shared.backends.tables.access import Access
from shared.backends.tables.backend import TablesBackend
from shared.backends.tables.entities import Claim, write_claim
from shared.backends.tables.keys import claim_place
from shared.errors import DeadlineError, PreconditionFailedError, ThrottledError, TransientError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timing import set_deadline
from tests.contract.steps import add, add_all, fetch, ids, kept, walk
from tests.faults.proxy import NO_FAULT, Fault, Plan, always, calm, once
from tests.faults.tables_line import TablesLine, is_call, is_insert, is_write, opened
from tests.servers.azurite import ACCOUNT, KEY, Azurite
from tests.support.records import make

FAULTS = ("429", "408", "503", "408-after", "503-after", "dropped-before", "dropped-after", "truncated", "slow")
READ_TIMEOUT = 1.5
each_fault = pytest.mark.parametrize("fault", FAULTS)
each_id = pytest.mark.parametrize("record_id", [None, "mine"], ids=["own-claim", "claimed"])


def at_random(rate: float, seed: int) -> Plan:
    """Any fault but slowness at so many of all calls, the same at every run."""
    dice = random.Random(seed)
    return lambda _: dice.choice(FAULTS[:-1]) if dice.random() < rate else NO_FAULT


@pytest.fixture
async def line(azurite: Azurite) -> AsyncIterator[TablesLine]:
    async with opened(azurite, READ_TIMEOUT) as line:
        yield line


@each_id
@each_fault
async def test_one_fault_at_a_create(line: TablesLine, fault: str, record_id: str | None) -> None:
    """A create is new and stored once, whatever happens to its first answer."""
    given = make(SystemEventLog, **({} if record_id is None else {"id": record_id}))
    line.proxy.plan = once(fault, is_insert)
    stored = await add(line.backend, SystemEventLog, given)
    assert line.proxy.faults[fault] == 1
    assert await fetch(line.direct, SystemEventLog, given.id) == stored
    assert await line.stored() == [given.id]


@each_fault
async def test_one_fault_at_a_batch(line: TablesLine, fault: str) -> None:
    """Every record of a batch is new and stored once."""
    given = [make(SystemEventLog, sessionId="s-1") if n % 2 else make(SystemEventLog, id=f"mine-{n}") for n in range(20)]
    line.proxy.plan = once(fault, is_insert)
    stored = await add_all(line.backend, SystemEventLog, given)
    assert line.proxy.faults[fault] == 1
    assert await walk(line.direct, Query(SystemEventLog, descending=False, limit=50)) == stored


@each_fault
async def test_one_fault_at_an_update(line: TablesLine, fault: str) -> None:
    """An update is done once and acknowledged with the etag that the record then has."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    line.proxy.plan = once(fault, is_write)
    updated = await line.backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert line.proxy.faults[fault] == 1
    assert await fetch(line.direct, SystemEventLog, stored.id) == updated


@each_id
@each_fault
async def test_one_fault_at_a_delete(line: TablesLine, fault: str, record_id: str | None) -> None:
    """A delete that was done is acknowledged."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog, **({} if record_id is None else {"id": record_id})))
    line.proxy.plan = once(fault, is_write)
    await line.backend.delete(SystemEventLog, stored.id)
    assert line.proxy.faults[fault] == 1
    assert await line.stored() == []


@each_fault
async def test_one_fault_at_a_delete_that_leaves_a_claim(line: TablesLine, fault: str) -> None:
    """A record that took its id over is deleted once too, and its id is claimed by what it leaves."""
    given = make(SystemEventLog)
    taken = write_claim(claim_place(given.id), Claim("2023-11-01T00:00:00.000Z"), "theirs")
    await line.direct._connection.call(SystemEventLog, lambda table: table.create_entity(taken))
    await add(line.direct, SystemEventLog, given)
    line.proxy.plan = once(fault, is_write)
    await line.backend.delete(SystemEventLog, given.id)
    assert line.proxy.faults[fault] == 1
    assert await line.stored() == []
    await add(line.direct, SystemEventLog, given)


@each_fault
async def test_one_fault_at_a_list(line: TablesLine, fault: str) -> None:
    """A list is whole whatever happens to one of its calls."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 30))
    line.proxy.plan = once(fault, is_call)
    assert await walk(line.backend, Query(SystemEventLog, limit=50)) == given[::-1]
    assert line.proxy.faults[fault] == 1


async def test_a_slow_answer_is_not_waited_for(line: TablesLine) -> None:
    """What is silent for longer than the read timeout is asked again, for the driver's transport has that timeout."""
    before = line.proxy.calls
    line.proxy.plan = once("slow", is_insert)
    await add(line.backend, SystemEventLog, make(SystemEventLog))
    assert line.proxy.calls - before > 1
    assert line.proxy.faults["slow"] == 1


async def test_a_server_that_never_answers() -> None:
    """A call is sent again within the deadline, and then given up."""
    connections = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.closing(writer):
            await reader.read()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        backend = TablesBackend(Access(f"http://127.0.0.1:{port}/{ACCOUNT}", "TEST", ACCOUNT, KEY), "silent", read_timeout=0.2)
        await backend.connect()
        set_deadline(1.5)
        with pytest.raises(UnavailableError):
            await backend.health()
        await backend.disconnect()
    assert connections > 2


async def test_timeouts_of_the_transport() -> None:
    """A connect that nobody accepts and an answer that does not come end in time."""
    transport = make_transport(read_timeout=7.0)
    assert (transport.connection_config.timeout, transport.connection_config.read_timeout) == (CONNECT_TIMEOUT_SECONDS, 7.0)
    await transport.close()


async def test_another_create_after_a_delete_s_lost_answer(line: TablesLine) -> None:
    """A delete whose answer was lost does not delete the record that was created anew meanwhile."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    again: list[asyncio.Task[Outcome]] = []

    def plan(request: web.Request) -> Fault:
        if not is_write(request):
            return NO_FAULT
        if not again:
            again.append(asyncio.create_task(_create_when_gone(line.direct, make.changed(stored, message="anew"))))
            return "dropped-after"
        return NO_FAULT if again[0].done() else "429"

    line.proxy.plan = plan
    with pytest.raises(UnavailableError):
        await line.backend.delete(SystemEventLog, stored.id)
    assert await fetch(line.direct, SystemEventLog, stored.id) == kept(await again[0])


async def test_another_create_after_a_purge_s_lost_answer(line: TablesLine) -> None:
    """A purge whose last answer was lost leaves the id to the create that waited for it, with its claim."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog, id="mine"))
    later = make(SystemEventLog, id="mine", timestamp="2024-02-01T00:00:00.000Z")
    again: list[asyncio.Task[Outcome]] = []

    def plan(request: web.Request) -> Fault:
        if not is_write(request):
            return NO_FAULT
        if not again and b"PartitionKey='id_" in (request._read_bytes or b""):
            again.append(asyncio.create_task(_create_when_gone(line.direct, later)))
            return "dropped-after"
        return NO_FAULT if not again or again[0].done() else "429"

    line.proxy.plan = plan
    assert await line.backend.purge(SystemEventLog, [stored.id]) == 1
    assert await fetch(line.direct, SystemEventLog, "mine") == kept(await again[0])
    assert (await line.direct.create(SystemEventLog, make(SystemEventLog, id="mine"))).existed
    assert await line.stored() == ["mine"]


async def _create_when_gone(backend: TablesBackend, stored: Stored) -> Outcome:
    while (outcome := await backend.create(SystemEventLog, stored)).existed:
        pass
    return outcome


async def test_creates_one_by_one(line: TablesLine) -> None:
    """Of creates on a line that keeps failing, every acknowledged one is stored once, and told to be new."""
    given = [make(SystemEventLog) if n % 2 else make(SystemEventLog, id=f"mine-{n}") for n in range(40)]
    line.proxy.plan = at_random(0.2, seed=1)
    outcomes = await asyncio.gather(*(line.backend.create(SystemEventLog, record) for record in given), return_exceptions=True)
    done = [record for record, outcome in zip(given, outcomes, strict=True) if not isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, TransientError) or not outcome.existed for outcome in outcomes)  # type: ignore[union-attr]
    line.proxy.plan = calm
    stored = await line.stored()
    assert len(set(stored)) == len(stored)
    assert set(ids(done)) <= set(stored)
    assert len(done) > 30


async def test_a_batch_on_a_line_that_keeps_failing(line: TablesLine) -> None:
    """What a batch acknowledged is stored once, and sending the rest again completes it."""
    given = make.many(SystemEventLog, 400)
    line.proxy.plan = at_random(0.3, seed=2)
    outcomes = await line.backend.create_many(SystemEventLog, given)
    assert not any(outcome.existed for outcome in outcomes)
    line.proxy.plan = calm
    done = [kept(outcome).id for outcome in outcomes if outcome.error is None]
    assert set(done) <= set(await line.stored())
    await line.backend.create_many(SystemEventLog, given)
    assert await line.stored() == ids(given)


async def test_bounded_removal(line: TablesLine) -> None:
    """A removal that lost answers counts each record once."""
    given = await add_all(line.backend, SystemEventLog, make.many(SystemEventLog, 120))
    line.proxy.plan = at_random(0.2, seed=6)
    deleted = await line.backend.delete_where(Query(SystemEventLog, descending=False, limit=80))
    line.proxy.plan = calm
    assert (deleted.count, deleted.more) == (80, True)
    assert await line.stored() == ids(given[80:])


async def test_another_writer_after_a_lost_answer(line: TablesLine) -> None:
    """An update that was refused before its answer was lost is not taken for one that was made."""
    stored = await add(line.backend, SystemEventLog, make(SystemEventLog))
    await line.direct.update(SystemEventLog, make.changed(stored, message="theirs"), stored.etag)
    line.proxy.plan = once("dropped-after", is_write)
    with pytest.raises(PreconditionFailedError):
        await line.backend.update(SystemEventLog, make.changed(stored, message="ours"), stored.etag)


async def test_throttled_for_longer_than_the_deadline(line: TablesLine) -> None:
    """What can't be stored in time is answered as retryable with the time to wait, before the deadline."""
    line.proxy.plan = always("429", is_write)
    set_deadline(0.5)
    started = time.monotonic()
    outcomes = await line.backend.create_many(SystemEventLog, make.many(SystemEventLog, 5))
    assert time.monotonic() - started < 3
    errors = [outcome.error for outcome in outcomes]
    assert {type(error) for error in errors} <= {ThrottledError, DeadlineError}
    assert all(isinstance(error, TransientError) and error.retry_after > 0 for error in errors)


@pytest.mark.parametrize("fault", ["503", "dropped-before"])
async def test_a_fault_that_stays(line: TablesLine, fault: str) -> None:
    """A fault that does not pass is an answer that can be sent again, and leaves nothing behind."""
    line.proxy.plan = always(fault, is_call)
    given: Stored = make(SystemEventLog)
    set_deadline(1.0)
    with pytest.raises(UnavailableError):
        await line.backend.create(SystemEventLog, given)
    set_deadline(60.0)
    assert await line.stored() == []
