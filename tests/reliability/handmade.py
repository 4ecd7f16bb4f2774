"""A data directory with a history, and what people do to its files by hand."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from shared.backends.base import Backend
from shared.backends.file.backend import FileBackend
from shared.models import SystemEventLog
from shared.query import Stored
from shared.timestamps import day_of, shift
from tests.reliability.ledger import everything
from tests.reliability.lines_model import Said, said
from tests.reliability.proven import proven, text
from tests.support.records import START, make

MODEL = SystemEventLog
DAYS = [day_of(shift(START, days=number)) for number in range(3)]
PATIENCE_SECONDS = 20.0


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[FileBackend]:
    """A plain instance over a directory."""
    backend = FileBackend(root)
    await backend.connect()
    try:
        yield backend
    finally:
        await backend.disconnect()


async def make_history(root: Path, count: int = 24) -> None:
    """Records of three days, some updated, some deleted, one deleted and made again on another day."""
    async with opened(root) as backend:
        moments = [shift(START, days=number % len(DAYS), minutes=number) for number in range(count)]
        records = [proven(MODEL, f"r{number:03}", moment) for number, moment in enumerate(moments)]
        kept = [outcome.stored for outcome in await backend.create_many(MODEL, records)]
        for stored in kept[: count // 3]:
            assert stored is not None
            await backend.update(MODEL, changed(stored), stored.etag)
        for stored in records[count // 4 : count // 2]:
            await backend.delete(MODEL, stored.id)
        await backend.create(MODEL, proven(MODEL, records[count // 4].id, shift(START, days=1), 7))


def changed(stored: Stored) -> Stored:
    """The record with its next content."""
    number, size = stored.record["metadata"]["n"] + 1, stored.record["metadata"]["size"]
    new = text(stored.id, number, size)
    return make.changed(stored, metadata={"n": number, "size": size, "text": new}, message=new)


def segment(root: Path, number: int) -> Path:
    """The file of one of the days."""
    return root / MODEL.__name__ / f"{DAYS[number]}.jsonl"


def rewrite(path: Path, content: bytes, *, in_place: bool = False) -> None:
    """Save a file as an editor does: under another name and renamed, or in place."""
    if in_place:
        before = path.stat().st_mtime_ns
        path.write_bytes(content)
        if path.stat().st_mtime_ns == before:
            os.utime(path, ns=(time.time_ns(), before + 1))
        return
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_bytes(content)
    fresh.replace(path)


def by_hand(record_id: str, moment: str, message: str) -> bytes:
    """A line as a person writes it."""
    record = {"timestamp": moment, "id": record_id, "eventType": "note", "message": message}
    return json.dumps(record).encode() + b"\n"


async def answers(backend: Backend) -> Said:
    """Every record, by all ways of reading, which agree."""
    return {record_id: stored.record for (_, record_id), stored in (await everything(backend, [MODEL])).items()}


async def assert_follows(backend: Backend, root: Path) -> None:
    """The answers are what the lines say, at the latest when an open instance has had another look at its files."""
    expected = said(root, MODEL)

    async def follows() -> bool:
        try:
            return await answers(backend) == expected
        except AssertionError:  # it looked again in the middle of the questions
            return False

    await soon(follows)
    assert await answers(backend) == expected


async def soon(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so, or until patience ends; the caller asserts what it wants."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not await condition() and time.monotonic() < end:  # noqa: ASYNC110 - files set no event
        await asyncio.sleep(0.005)


async def assert_writes_work(backend: Backend, root: Path) -> None:
    """A create, an update and a delete do what they say, and the lines say it too."""
    before = await answers(backend)
    made = [proven(MODEL, f"new-{number}", shift(START, days=number % 3, seconds=number)) for number in range(6)]
    kept = [outcome.stored for outcome in await backend.create_many(MODEL, made)]
    assert kept[0] is not None
    updated = await backend.update(MODEL, changed(kept[0]), kept[0].etag)
    await backend.delete(MODEL, made[1].id)
    gone = next(iter(before), None)
    if gone is not None:
        await backend.delete(MODEL, gone)
    expected = {**before, **{stored.id: stored.record for stored in made}, updated.id: updated.record}
    for record_id in (made[1].id, gone):
        expected.pop(str(record_id), None)
    assert await answers(backend) == expected == said(root, MODEL)
