"""The disk refuses calls: the cause is told, nothing is acknowledged, nothing is lost, and it goes on without a restart."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shared.backends.base import Outcome
from shared.backends.file.backend import FileBackend
from shared.errors import NotFoundError, PreconditionFailedError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timestamps import day_of, shift
from tests.reliability.conftest import Effort
from tests.reliability.faults import BROKEN, DENIED, FULL, READ_ONLY, TOO_MANY, FaultyDisk, at, from_on
from tests.reliability.handmade import answers, changed, opened
from tests.reliability.ledger import everything
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.support.records import START

MODEL = SystemEventLog
_CAUSES = {error: os.strerror(error) for error in (FULL, READ_ONLY, DENIED, BROKEN, TOO_MANY)}


class Steps:
    """The same work each time, on a disk that may refuse; `present` is what is there, `doubtful` what may be another way."""

    def __init__(self, backend: FileBackend, disk: FaultyDisk) -> None:
        self._backend = backend
        self._disk = disk
        self.present: dict[str, Stored] = {}
        self.doubtful: dict[str, list[Stored | None]] = {}
        self.refused = 0
        self.calls = 0

    async def run(self) -> None:
        """Single writes, batches over days, compaction, retention and purges."""
        await self.create("a", "b")
        await self.create("c")
        await self.update("a")
        await self.delete("b")
        await self.create("b")
        await self.create("d", "e", "f", "g", "h", "i")
        await self.update("d")
        await self.remove(["e", "d"], lambda ids: self._backend.purge(MODEL, ids))
        await self.attempt({}, self._backend._compact(MODEL, day_of(START)))
        await self.update("c")
        past = [record_id for record_id, stored in self.present.items() if stored.timestamp < shift(START, days=1, hours=1)]
        query = Query(MODEL, until=shift(START, days=1, hours=1), descending=False, limit=100)
        await self.remove(past, lambda _: self._backend.delete_where(query))
        await self.create("j")

    async def create(self, *ids: str) -> None:
        made = [proven(MODEL, record_id, shift(START, days=ord(record_id) % 3, minutes=ord(record_id))) for record_id in ids]
        await self.attempt({stored.id: stored for stored in made}, self._backend.create_many(MODEL, made))

    async def update(self, record_id: str) -> None:
        found = await self._backend.find_by_id(MODEL, record_id)
        if found is not None:
            after = changed(found)
            await self.attempt({record_id: after}, self._backend.update(MODEL, after, found.etag))

    async def delete(self, record_id: str) -> None:
        await self.remove([record_id], lambda _: self._backend.delete(MODEL, record_id))

    async def remove(self, ids: list[str], call: Callable[[list[str]], Awaitable[object]]) -> None:
        await self.attempt(dict.fromkeys(ids), call(ids))

    async def attempt(self, effects: dict[str, Stored | None], call: Awaitable[object]) -> None:
        """Do it; where it is refused, check that the cause is told and the disk's fault, and that reads go on."""
        try:
            answer = await call
        except UnavailableError as error:
            self._refused(effects, error)
        except (NotFoundError, PreconditionFailedError):
            assert set(effects) & set(self.doubtful)
        else:
            outcomes = answer if isinstance(answer, list) else [Outcome(stored) for stored in effects.values()]
            for (record_id, asked), outcome in zip(effects.items(), outcomes, strict=True):
                self._settle(record_id, asked, outcome)

    def _refused(self, effects: dict[str, Stored | None], error: UnavailableError) -> None:
        self.refused += 1
        assert any(cause in error.message for cause in _CAUSES.values()), error.message
        assert error.error_code == "storage_failed"
        for record_id, after in effects.items():
            self.doubtful.setdefault(record_id, [self.present.get(record_id)]).append(after)

    def _settle(self, record_id: str, asked: Stored | None, outcome: Outcome) -> None:
        doubts = self.doubtful.pop(record_id, [])
        assert record_of(outcome.stored) in map(record_of, doubts if outcome.existed else [asked])
        self.present.pop(record_id, None)
        if outcome.stored is not None:
            self.present[record_id] = outcome.stored

    async def check(self, backend: FileBackend) -> None:
        """Everything that was acknowledged is there, and all else is one of what was asked for."""
        found = {record_id: stored for (_, record_id), stored in (await everything(backend, [MODEL])).items()}
        for record_id in {*found, *self.present, *self.doubtful}:
            allowed = self.doubtful.get(record_id, [self.present.get(record_id)])
            assert record_of(found.get(record_id)) in map(record_of, allowed), record_id


def record_of(stored: Stored | None) -> object:
    return None if stored is None else stored.record


async def worked(root: Path, disk: FaultyDisk) -> Steps:
    """The steps, the first connection included, then the disk mended and all checked, on the same instance and a new one."""
    backend = FileBackend(root, disk=disk)
    steps = Steps(backend, disk)
    try:
        await backend.connect()
    except UnavailableError:
        steps.refused += 1
        fault, disk.fault = disk.fault, FaultyDisk().fault
        await backend.connect()
        disk.fault = fault
    await steps.run()
    steps.calls = disk.calls
    disk.fault = FaultyDisk().fault
    await steps.check(backend)
    await backend.create(MODEL, proven(MODEL, "last", START))
    await backend.delete(MODEL, "last")
    await steps.check(backend)
    await backend.disconnect()
    async with opened(root) as plain:
        await steps.check(plain)
        assert await answers(plain) == said(root, MODEL)
    return steps


async def calls_of_all_steps(folder: Path) -> int:
    """How many calls the disk gets when none fails."""
    steps = await worked(folder / "none", FaultyDisk())
    assert steps.refused == 0
    return steps.calls


def chosen(chance: random.Random, calls: int, effort: Effort) -> list[int]:
    """The numbers of the calls that fail, by turns: all in the long form."""
    return sorted(chance.sample(range(1, calls), effort.times(min(14, calls - 1), calls - 1)))


@pytest.mark.parametrize("error", _CAUSES, ids=[os.strerror(error) for error in _CAUSES])
async def test_a_call_that_fails_once_is_told_and_harms_nothing(folder: Path, effort: Effort, error: int) -> None:
    """Each call of the disk in turn fails: the write it belongs to is refused, and the ones before and after are kept."""
    calls = await calls_of_all_steps(folder)
    for number in chosen(effort.chance(), calls, effort):
        disk = FaultyDisk()
        disk.fault = at(number, error)
        await worked(folder / str(number), disk)


@pytest.mark.parametrize("error", [FULL, READ_ONLY, BROKEN], ids=os.strerror)
async def test_a_disk_that_goes_on_failing_loses_nothing(folder: Path, effort: Effort, error: int) -> None:
    """From some call on every change is refused; once the disk is well again so is the service, without a restart."""
    calls = await calls_of_all_steps(folder)
    for number in chosen(effort.chance(), calls, effort):
        disk = FaultyDisk()
        disk.fault = from_on(number, error, *(() if error == READ_ONLY else ("open_append", "write", "sync", "overwrite")))
        steps = await worked(folder / str(number), disk)
        assert steps.refused


@pytest.mark.parametrize("names", [("sync",), ("sync", "truncate"), ("sync_directory",), ("write", "truncate")], ids="-".join)
async def test_failing_syncs_and_cuts_acknowledge_nothing(folder: Path, effort: Effort, names: tuple[str, ...]) -> None:
    """Also where what was written can't be taken back, it is not acknowledged, and what was before is as it was."""
    calls = await calls_of_all_steps(folder)
    for number in chosen(effort.chance(), calls, effort):
        disk = FaultyDisk()
        disk.fault = from_on(number, BROKEN, *names)
        await worked(folder / str(number), disk)


async def test_short_writes_are_continued(folder: Path) -> None:
    """A write that takes only part of its bytes is followed by others until all are there."""
    disk = FaultyDisk()
    disk.short = True
    assert (await worked(folder / "data", disk)).refused == 0


async def test_a_write_that_failed_can_be_sent_again(folder: Path) -> None:
    """After a refusal the same create is either new or exists already, and then it is there once."""
    disk = FaultyDisk()
    backend = FileBackend(folder / "data", disk=disk)
    await backend.connect()
    for number, name in enumerate(("write", "sync", "sync_directory", "open_append")):
        stored = proven(MODEL, f"r{number}", shift(START, days=number))
        disk.fault = from_on(0, FULL, name)
        with pytest.raises(UnavailableError, match="No space left on device"):
            await backend.create(MODEL, stored)
        disk.fault = FaultyDisk().fault
        await backend.create(MODEL, stored)
        assert await backend.count(Query(MODEL)) == number + 1
    await backend.disconnect()


async def test_a_failure_is_that_of_its_group_only(folder: Path) -> None:
    """All writes that shared a failing sync are refused; reads go on meanwhile and see none of them."""
    disk = FaultyDisk()
    backend = FileBackend(folder / "data", disk=disk)
    await backend.connect()
    before = await backend.create(MODEL, proven(MODEL, "before", START))
    disk.fault = from_on(0, BROKEN, "sync")
    calls = [backend.create(MODEL, proven(MODEL, f"r{number}", START)) for number in range(30)]
    refused = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, UnavailableError) for error in refused)
    assert (await backend.find(Query(MODEL))).items == [before.stored]
    disk.fault = FaultyDisk().fault
    assert await backend.count(Query(MODEL)) == 1
    await backend.disconnect()
