"""What past days come to is kept in the index file, and follows every change of their lines."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import ImageGenerationTransaction
from shared.query import Aggregation, Query, Stored
from shared.timestamps import shift
from tests.contract.reference import aggregate, in_order
from tests.contract.steps import kept, walk
from tests.reliability.handmade import opened
from tests.support.records import START, make

MODEL = ImageGenerationTransaction
DAYS = 3
ASKED = Aggregation(MODEL, group_by=("status", "apiModel"), sums=("totalDuration",), histograms=("totalDuration",))


async def filled(root: Path) -> list[Stored]:
    """The records of three days, after one process has aggregated them."""
    records = [make.full(MODEL, timestamp=shift(START, days=n % DAYS, seconds=n), totalDuration=100.5 * n) for n in range(30)]
    async with opened(root) as backend:
        stored = [kept(outcome) for outcome in await backend.create_many(MODEL, records)]
        await check(backend)
    return stored


async def check(backend: FileBackend) -> None:
    """Check the groups against the records that are there."""
    records = await walk(backend, Query(MODEL, limit=1_000))
    assert in_order(await backend.aggregate(ASKED)) == in_order(aggregate(records, ASKED))


def kept_days(backend: FileBackend) -> set[str]:
    """The days that the index file has summaries of."""
    assert backend._store is not None
    rows = backend._store.index().connection.execute("SELECT day FROM summaries JOIN segments ON number = segment")
    return {day for (day,) in rows}


async def test_past_days_are_kept(tmp_path: Path) -> None:
    """Another process finds what the first one has computed of all days but the last, and answers the same."""
    await filled(tmp_path)
    async with opened(tmp_path) as backend:
        assert kept_days(backend) == {START[:10], shift(START, days=1)[:10]}
        await check(backend)


async def _create(backend: FileBackend, _: Stored) -> None:
    await backend.create(MODEL, make.full(MODEL, timestamp=START, totalDuration=7))


async def _update(backend: FileBackend, first: Stored) -> None:
    await backend.update(MODEL, make.changed(first, status="failed", success=False), first.etag)


async def _delete(backend: FileBackend, first: Stored) -> None:
    await backend.delete(MODEL, first.id)


async def _expire(backend: FileBackend, first: Stored) -> None:
    await backend.delete_where(Query(MODEL, until=shift(first.timestamp, seconds=5), descending=False, limit=100))


async def _purge(backend: FileBackend, first: Stored) -> None:
    await backend.purge(MODEL, [first.id])


async def _compact(backend: FileBackend, first: Stored) -> None:
    await backend.delete(MODEL, first.id)
    await backend._compact(MODEL, START[:10])


async def _edit(backend: FileBackend, first: Stored) -> None:
    assert backend._store is not None
    path = backend._store.directory.segment_path(MODEL.__name__, START[:10])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if first.id not in line), encoding="utf-8")


@pytest.mark.parametrize("change", [_create, _update, _delete, _expire, _purge, _compact, _edit])
async def test_a_change_is_followed(tmp_path: Path, change: Callable[[FileBackend, Stored], Awaitable[None]]) -> None:
    """Whatever is done to a past day, by this process or before it started, the figures follow."""
    [first, *_] = await filled(tmp_path)
    async with opened(tmp_path) as backend:
        await change(backend, first)
        await check(backend)
        await check(backend)
    async with opened(tmp_path) as backend:
        await check(backend)


async def test_other_days_keep_theirs(tmp_path: Path) -> None:
    """A hand edit of one day costs the summary of that day alone."""
    [first, *_] = await filled(tmp_path)
    async with opened(tmp_path) as backend:
        await _edit(backend, first)
        assert len((await backend.find(Query(MODEL, limit=100))).items) == 29
        assert kept_days(backend) == {shift(START, days=1)[:10]}


@pytest.mark.parametrize("content", ["", "[{}]", '{"key": 1}', "[[1, 2]]"])
async def test_a_damaged_summary_is_made_anew(tmp_path: Path, content: str) -> None:
    """What can't be read costs a rebuild of the index, never an answer."""
    await filled(tmp_path)
    async with opened(tmp_path) as backend:
        assert backend._store is not None
        backend._store.index().connection.execute("UPDATE summaries SET content = ?", (content,))
        await check(backend)


async def test_a_purge_leaves_no_summary_of_the_day(tmp_path: Path) -> None:
    """The summary of a day that a purge has touched is gone with it, since its keys are texts of records."""
    [first, *_] = await filled(tmp_path)
    async with opened(tmp_path) as backend:
        await backend.purge(MODEL, [first.id])
        assert START[:10] not in kept_days(backend)
