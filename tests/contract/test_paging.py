"""Walking through a list page by page, while other things happen to it."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Key, Query, Stored
from shared.timestamps import from_ms, to_ms
from tests.contract.reference import select
from tests.contract.steps import add, add_all, clear, each_order, ids, quick, walk
from tests.support.records import START, make


def near(*offsets: int, **fields: object) -> list[Stored]:
    """Events so many milliseconds after the start."""
    return [make(SystemEventLog, timestamp=from_ms(to_ms(START) + offset), **fields) for offset in offsets]


@pytest.mark.parametrize(("limit", "more"), [(1, True), (4, True), (5, False), (6, False), (1_000, False)])
@each_order
async def test_more_at_the_boundary(backend: Backend, limit: int, *, more: bool, descending: bool) -> None:
    """There is more exactly where records are left after the page."""
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 5))
    page = await backend.find(Query(SystemEventLog, descending=descending, limit=limit))
    assert (len(page.items), page.more) == (min(limit, 5), more)


async def test_more_counts_what_matches(backend: Backend) -> None:
    """Records after the page that don't pass the filters or the window are not more."""
    given = [make(SystemEventLog, level=level) for level in ("info", "warn", "warn", "info")]
    await add_all(backend, SystemEventLog, given)
    filtered = await backend.find(Query(SystemEventLog, {"level": ("warn",)}, limit=2))
    windowed = await backend.find(Query(SystemEventLog, since=given[2].timestamp, limit=2))
    assert (filtered.more, windowed.more) == (False, False)


@each_order
async def test_after_the_last_record(backend: Backend, *, descending: bool) -> None:
    """The page after the last record is empty."""
    given = make.many(SystemEventLog, 3)
    await add_all(backend, SystemEventLog, given)
    last = given[0] if descending else given[-1]
    page = await backend.find(Query(SystemEventLog, descending=descending, after=last.key))
    assert (page.items, page.more) == ([], False)


@each_order
async def test_after_a_place_without_a_record(backend: Backend, *, descending: bool) -> None:
    """A page begins after a place in the order, whether or not a record stands there."""
    given = near(0, 10, 20, 30)
    await add_all(backend, SystemEventLog, given)
    place = Key(from_ms(to_ms(START) + 15), "nothing-here")
    page = await backend.find(Query(SystemEventLog, descending=descending, after=place))
    assert ids(page.items) == ids([given[1], given[0]] if descending else given[2:])


@each_order
@pytest.mark.parametrize("outside", ["before", "beyond"])
async def test_after_a_place_outside_the_window(backend: Backend, outside: str, *, descending: bool) -> None:
    """A place that lies outside the window leaves the whole window or nothing of it."""
    given = near(0, 10, 20, 30)
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, since=given[1].timestamp, until=given[3].timestamp, descending=descending)
    place = given[0].key if outside == "before" else given[3].key
    page = await backend.find(replace(query, after=place))
    inside = ids(given[1:3])
    whole = (outside == "before") != descending
    assert ids(page.items) == ((inside[::-1] if descending else inside) if whole else [])


@each_order
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11])
async def test_a_walk_gives_each_record_once(backend: Backend, limit: int, *, descending: bool) -> None:
    """Pages of any size, one after the other, are the whole list."""
    given = near(*(n // 3 for n in range(10)))
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, descending=descending, limit=limit)
    assert ids(await walk(backend, query)) == ids(select(given, query))


async def test_a_walk_through_ten_thousand_on_one_millisecond(backend: Backend) -> None:
    """Ties of any number are walked through by id, both ways, and every record comes once."""
    own = [make(SystemEventLog, id=f"own-{n * 37 % 100}", timestamp=START) for n in range(100)]
    given = near(*[0] * 9_900, level="info") + own
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, limit=2_500)
    down = ids(await walk(backend, query))
    assert down == ids(select(given, query))
    assert ids(await walk(backend, replace(query, descending=False))) == down[::-1]
    filtered = Query(SystemEventLog, {"level": ("info",)}, START, descending=False, limit=10, after=Key(START, down[50]))
    assert ids((await backend.find(filtered)).items) == ids(select(given, filtered))[:10]


async def test_ascending_is_the_exact_reverse(backend: Backend) -> None:
    """Both orders hold the same records, one backwards."""
    await add_all(backend, SystemEventLog, near(*(n % 4 for n in range(40))))
    down = await walk(backend, Query(SystemEventLog, limit=7))
    up = await walk(backend, Query(SystemEventLog, descending=False, limit=9))
    assert up == down[::-1]


async def test_max_bytes_cuts_a_page(backend: Backend) -> None:
    """A page ends about where it reaches its size, and says that there is more."""
    given = [make(ImageGenerationTransaction, originalPrompt="x" * 10_000) for _ in range(10)]
    await add_all(backend, ImageGenerationTransaction, given)
    page = await backend.find(Query(ImageGenerationTransaction, limit=10, max_bytes=42_000))
    assert 3 <= len(page.items) <= 5
    assert page.more
    assert ids(page.items) == ids(given[::-1][: len(page.items)])


@pytest.mark.parametrize("text", ["é" * 5_000, "漢" * 3_333, "🦊" * 2_500], ids=["latin", "asian", "astral"])
async def test_max_bytes_counts_bytes(backend: Backend, text: str) -> None:
    """The size of a page is in bytes of UTF-8, not in characters, units or escapes."""
    await add_all(
        backend, ImageGenerationTransaction, [make(ImageGenerationTransaction, originalPrompt=text) for _ in range(10)]
    )
    page = await backend.find(Query(ImageGenerationTransaction, limit=10, max_bytes=42_000))
    assert 3 <= len(page.items) <= 5
    assert page.more


async def test_a_page_has_at_least_one_record(backend: Backend) -> None:
    """A record larger than the page's size is a page of its own."""
    given = [make(ImageGenerationTransaction, originalPrompt="x" * 10_000) for _ in range(2)]
    await add_all(backend, ImageGenerationTransaction, given)
    page = await backend.find(Query(ImageGenerationTransaction, max_bytes=1))
    assert (ids(page.items), page.more) == ([given[1].id], True)
    last = await backend.find(Query(ImageGenerationTransaction, max_bytes=1, after=given[1].key))
    assert (ids(last.items), last.more) == ([given[0].id], False)


@each_order
async def test_a_walk_with_pages_cut_by_size(backend: Backend, *, descending: bool) -> None:
    """Pages that end at their size lose nothing."""
    given = [make(ImageGenerationTransaction, originalPrompt="x" * (n * 997 % 9_000 + 1)) for n in range(40)]
    await add_all(backend, ImageGenerationTransaction, given)
    query = Query(ImageGenerationTransaction, descending=descending, limit=15, max_bytes=20_000)
    assert ids(await walk(backend, query)) == ids(select(given, query))


@each_order
async def test_records_that_arrive_during_a_walk(backend: Backend, *, descending: bool) -> None:
    """A record that was there throughout comes once, wherever others arrive."""
    given = near(*range(100, 130))
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, descending=descending, limit=4)
    seen: list[Stored] = []
    more = True
    while more:
        page = await backend.find(query)
        seen += page.items
        more = page.more and len(seen) < 200
        query = replace(query, after=page.items[-1].key)
        await add_all(
            backend, SystemEventLog, near(0, 200, *(to_ms(item.timestamp) - to_ms(START) for item in page.items[-2:]))
        )
    there = set(ids(given))
    assert [item for item in ids(seen) if item in there] == ids(select(given, replace(query, after=None)))
    assert len(set(ids(seen))) == len(seen)


@each_order
async def test_records_that_are_deleted_during_a_walk(backend: Backend, *, descending: bool) -> None:
    """The place where a walk stands may be deleted, and so may others, without a skip or a repeat."""
    given = near(*(n // 2 for n in range(40)))
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, descending=descending, limit=5)
    order = ids(select(given, query))
    seen: list[str] = []
    deleted: set[str] = set()
    more = True
    while more:
        page = await backend.find(query)
        seen += ids(page.items)
        more = page.more
        query = replace(query, after=page.items[-1].key)
        victims = {page.items[-1].id, order[(len(seen) + 2) % 40]} - deleted
        for victim in victims:
            await backend.delete(SystemEventLog, victim)
        deleted |= victims
    assert len(set(seen)) == len(seen)
    assert [item for item in seen if item not in deleted] == [item for item in order if item not in deleted]


async def test_records_that_are_updated_during_a_walk(backend: Backend) -> None:
    """An update moves no record in the list."""
    given = await add_all(backend, SystemEventLog, near(*(n // 2 for n in range(30))))
    current = {stored.id: stored for stored in given}
    query = Query(SystemEventLog, limit=4)
    expected = ids(select(given, query))
    seen: list[str] = []
    for start in range(0, 30, 4):
        page = await backend.find(query)
        seen += ids(page.items)
        query = replace(query, after=page.items[-1].key)
        for name in (expected[start], expected[-1]):
            stored = current[name]
            current[name] = await backend.update(SystemEventLog, make.changed(stored, message="seen"), stored.etag)
    assert seen == expected


@each_order
async def test_a_walk_beside_writers(backend: Backend, *, descending: bool) -> None:
    """Walks while tasks add, update and delete hold what was there throughout once and in order, and nothing twice."""
    given = await add_all(backend, SystemEventLog, near(*(n // 3 for n in range(60))))
    steady, fleeting, changing = given[::3], given[1::3], given[2::3]

    async def arrive() -> None:
        for offset in range(20):
            await add_all(backend, SystemEventLog, near(offset, offset, 30))

    async def leave() -> None:
        for stored in fleeting:
            await backend.delete(SystemEventLog, stored.id)

    async def change() -> None:
        for stored in changing:
            await backend.update(SystemEventLog, make.changed(stored, message="changed"), stored.etag)

    query = Query(SystemEventLog, descending=descending, limit=7)
    throughout = ids(select([*steady, *changing], query))
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write()) for write in (arrive, leave, change)]
        while not all(writer.done() for writer in writers):
            walked = await walk(backend, query)
            assert [name for name in ids(walked) if name in throughout] == throughout
            assert [item.key for item in walked] == sorted({item.key for item in walked}, reverse=descending)
    left = ids(await walk(backend, query))
    assert len(left) == 100
    assert not set(left) & set(ids(fleeting))


async def test_records_that_leave_a_filter_during_a_walk(backend: Backend) -> None:
    """Those that pass the filter throughout come once when others leave and join it."""
    given = await add_all(backend, SystemEventLog, near(*range(30), level="info"))
    query = Query(SystemEventLog, {"level": ("info",)}, descending=False, limit=5)
    seen: list[str] = []
    more = True
    while more:
        page = await backend.find(query)
        seen += ids(page.items)
        more = page.more
        query = replace(query, after=page.items[-1].key)
        if len(seen) == 10:
            for stored in given[::3]:
                await backend.update(SystemEventLog, make.changed(stored, level="warn"), stored.etag)
            await add(backend, SystemEventLog, near(3, level="info")[0])
    throughout = [stored.id for index, stored in enumerate(given) if index % 3]
    assert [name for name in seen if name in throughout] == throughout
    assert len(set(seen)) == len(seen)


@quick
@given(
    offsets=st.lists(st.integers(0, 5), max_size=40),
    limit=st.integers(1, 12),
    max_bytes=st.sampled_from([1, 900, 2_500, 10**6]),
    descending=st.booleans(),
)
async def test_any_walk_gives_each_record_once(
    backend: Backend, offsets: list[int], limit: int, max_bytes: int, *, descending: bool
) -> None:
    """Whatever the ties, the page sizes and the order, a walk is the sorted list."""
    await clear(backend, SystemEventLog)
    stored = near(*offsets)
    await add_all(backend, SystemEventLog, stored)
    query = Query(SystemEventLog, descending=descending, limit=limit, max_bytes=max_bytes)
    assert ids(await walk(backend, query)) == ids(select(stored, query))
