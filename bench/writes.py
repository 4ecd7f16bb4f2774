"""Writes: one durable create, many at once, batches."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from bench.comparators import SqliteTable
from bench.data import make_records, mixture
from bench.measure import US, Context, Result, interleaved, least, opened, seconds
from shared.backends.file import lines
from shared.backends.file.backend import FileBackend
from shared.backends.file.disk import Disk
from shared.models import ImageGenerationTransaction
from shared.query import Stored

MODEL = ImageGenerationTransaction
TOMORROW = "2026-01-02T00:00:00.000Z"
MIXED_DAYS = 90
_CREATES = 100
_CONCURRENT = 32
_BATCH = 1_000
_SYNC_SECONDS = 0.002


def fresh(count: int, seed: int) -> list[Stored]:
    """Records of the day after all others, unlike those of any other seed."""
    return list(make_records(MODEL, count, 1, end=TOMORROW, seed=seed))


async def create(context: Context) -> list[Result]:
    """One durable create against a write and a sync of the same bytes, turn by turn."""
    backend = await opened(context.directory("mixed", mixture(context.records), MIXED_DAYS))
    with context.temporary() as folder:
        descriptor = os.open(Path(folder) / "raw", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        rounds = [
            await _create_round(backend, descriptor, fresh(_CREATES, 100 + number)) for number in range(max(context.rounds, 10))
        ]
        os.close(descriptor)
    await backend.disconnect()
    extras = [created - raw for raw, created in rounds]
    raw, created = min(rounds, key=lambda pair: pair[1] - pair[0])
    figures = {
        "raw_us": raw * US,
        "create_us": created * US,
        "above_raw_us": least(extras) * US,
        "above_raw_median_round_us": median(extras) * US,
    }
    return [Result("durable create above raw write + fsync", context.records, figures, "300 µs", least(extras) * US <= 300)]


async def _create_round(backend: FileBackend, descriptor: int, records: list[Stored]) -> tuple[float, float]:
    raws, creates = [], []
    for stored in records:
        data = lines.encode_record(stored, 1)
        started = time.perf_counter()
        os.write(descriptor, data)
        os.fsync(descriptor)
        between = time.perf_counter()
        await backend.create(MODEL, stored)
        creates.append(time.perf_counter() - between)
        raws.append(between - started)
    return median(raws), median(creates)


class SlowDisk(Disk):
    """A disk whose syncs take 2 ms, as a plain SSD's do."""

    def sync(self, descriptor: int) -> None:
        time.sleep(_SYNC_SECONDS)
        super().sync(descriptor)


async def group(context: Context) -> list[Result]:
    """Creates of 32 tasks at once against creates one after the other, where a sync takes 2 ms."""
    backend = await opened(context.directory("mixed", mixture(context.records), MIXED_DAYS), disk=SlowDisk())
    seeds = iter(range(1_000, 2_000))

    async def serial() -> float:
        records = fresh(_CONCURRENT, next(seeds))
        return await seconds(lambda: _one_by_one(backend, records)) / len(records)

    async def concurrent() -> float:
        records = fresh(_CONCURRENT * 8, next(seeds))
        shares = [records[start::_CONCURRENT] for start in range(_CONCURRENT)]
        return await seconds(lambda: asyncio.gather(*(_one_by_one(backend, share) for share in shares))) / len(records)

    measured = await interleaved(context.rounds, {"serial": serial, "concurrent": concurrent})
    await backend.disconnect()
    ratios = [one / other for one, other in zip(measured["serial"], measured["concurrent"], strict=True)]
    figures = {
        "serial_per_s": 1 / median(measured["serial"]),
        "concurrent_per_s": 1 / median(measured["concurrent"]),
        "ratio": median(ratios),
    }
    return [Result("32 concurrent creates, sync of 2 ms", context.records, figures, "8 times serial", median(ratios) >= 8)]


async def _one_by_one(backend: FileBackend, records: list[Stored]) -> None:
    for stored in records:
        await backend.create(MODEL, stored)


async def batch(context: Context) -> list[Result]:
    """Batches of 1,000 against a transaction of as many rows in SQLite."""
    backend = await opened(context.directory("mixed", mixture(context.records), MIXED_DAYS))
    with context.temporary() as folder:
        table = SqliteTable(Path(folder) / "table.sqlite", MODEL)
        table.load(make_records(MODEL, mixture(context.records)[MODEL], MIXED_DAYS))
        ours, theirs = iter(range(2_000, 3_000)), iter(range(2_000, 3_000))

        async def create_many() -> float:
            records = fresh(_BATCH, next(ours))
            return await seconds(lambda: backend.create_many(MODEL, records))

        async def transaction() -> float:
            records = fresh(_BATCH, next(theirs))
            return await seconds(_direct(lambda: table.create_many(records)))

        measured = await interleaved(max(context.rounds, 9), {"create_many": create_many, "SQLite": transaction})
        table.close()
    await backend.disconnect()
    ratios = [other / one for one, other in zip(measured["create_many"], measured["SQLite"], strict=True)]
    figures = {
        "create_many_per_s": _BATCH / median(measured["create_many"]),
        "sqlite_per_s": _BATCH / median(measured["SQLite"]),
        "ratio": median(ratios),
    }
    return [Result("create_many of 1,000 against SQLite", context.records, figures, "half its rate", median(ratios) >= 0.5)]


def _direct(work: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        return work()

    return call
