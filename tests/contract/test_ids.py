"""Ids of every shape that a client may choose work in everything."""

from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.ids import ID_PATTERN, mint_id
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Key, Query
from shared.timestamps import from_ms, to_ms
from tests.contract.steps import add, add_all, clear, each_order, fetch, ids, quick, walk
from tests.support.records import START, make

FIRST_CHARACTERS = digits + ascii_letters
CHARACTERS = FIRST_CHARACTERS + "._:-"
UNUSUAL = [
    "a",
    "0",
    "00",
    "x" * 128,
    "9" * 128,
    "A.b_c:d-e",
    "case",
    "Case",
    "CASE",
    "018cc251-f400-7abc-8def-0123456789ab",
    "018CC251-F400-7ABC-8DEF-0123456789AB",
    "018cc251f4007abc8def0123456789ab",
    "018CC251-f400-7abc-8def-0123456789ab",
    "018cc251-f400-7abc-8def-0123456789ab-",
    "018cc251-f400-7abc-cdef-0123456789ab",
    "00000000-0000-7000-8000-000000000000",
    "ffffffff-ffff-7fff-bfff-ffffffffffff",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "00000000-0000-0000-0000-000000000000",
    "a..b",
    "a..",
    "a.",
    "a" + "." * 127,
    "a" + "-" * 127,
    "a" + "_" * 127,
    "a" + ":" * 127,
    "0.0.0.0",
    "0::1",
    "x:..:..:etc:passwd",
    "c:windows.ini",
    "data.jsonl",
    "2024-01-01.jsonl",
    "2024-01-01",
    "2024-01-01T12:00:00.000Z",
    "con",
    "NUL",
    "null",
    "true",
    "NaN",
    "1e5",
    "0x1f",
    "id",
    "h_1",
    "State",
    "constructor",
    "trailing-",
    "trailing_",
    "trailing:",
]
ODD_TIMES = [
    "1970-01-01T00:00:00.000Z",
    "1999-12-31T23:59:59.999Z",
    "2000-01-01T00:00:00.000Z",
    "2099-12-31T23:59:59.999Z",
    "2100-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
]
NEIGHBOURS = [
    *FIRST_CHARACTERS,
    *("m" + character for character in CHARACTERS),
    *("mm" + character for character in CHARACTERS),
    *("M" * 126 + character + end for character in CHARACTERS for end in ("", "-", "z")),
]
each_unusual_id = pytest.mark.parametrize("name", UNUSUAL, ids=lambda name: name[:40])
each_odd_time = pytest.mark.parametrize("time", ODD_TIMES)


@each_unusual_id
async def test_an_unusual_id_through_a_record_s_life(backend: Backend, name: str) -> None:
    """A record of such an id is created, read, updated, listed and deleted like any other."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id=name))
    updated = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert await backend.find_by_id(SystemEventLog, name) == updated
    assert (await backend.find(Query(SystemEventLog))).items == [updated]
    await backend.delete(SystemEventLog, name, updated.etag)
    assert await backend.find_by_id(SystemEventLog, name) is None


async def test_unusual_ids_are_purged(backend: Backend) -> None:
    """A purge takes the record of such an id, and no other."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name) for name in UNUSUAL])
    for left, name in zip(range(len(UNUSUAL) - 1, -1, -1), UNUSUAL, strict=True):
        assert await backend.purge(SystemEventLog, [name]) == 1
        assert await backend.count(Query(SystemEventLog)) == left


async def test_unusual_ids_are_all_different(backend: Backend) -> None:
    """No two ids are taken for one another, whatever their case or form."""
    for name in UNUSUAL:
        await add(backend, SystemEventLog, make(SystemEventLog, id=name, message=name))
    assert [(await fetch(backend, SystemEventLog, name)).record["message"] for name in UNUSUAL] == UNUSUAL


@each_order
async def test_unusual_ids_are_walked_through_in_byte_order(backend: Backend, *, descending: bool) -> None:
    """On one millisecond, pages of one record each follow the ids' bytes."""
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, timestamp=START) for name in UNUSUAL])
    walked = await walk(backend, Query(SystemEventLog, descending=descending, limit=1))
    assert ids(walked) == sorted(UNUSUAL, key=str.encode, reverse=descending)


async def test_every_character_at_every_place(backend: Backend) -> None:
    """Each character that an id may have is kept as the first, a middle and the last of one."""
    names = [*FIRST_CHARACTERS, *(f"x{character}x" for character in CHARACTERS), *(f"y{character}" for character in CHARACTERS)]
    stored = await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name) for name in names])
    assert [await backend.find_by_id(SystemEventLog, name) for name in names] == stored
    for record in stored[::7]:
        await backend.delete(SystemEventLog, record.id, record.etag)
    assert await backend.purge(SystemEventLog, ids(stored[1::7])) == len(stored[1::7])
    left = [record for index, record in enumerate(stored) if index % 7 > 1]
    assert await walk(backend, Query(SystemEventLog, descending=False, limit=100)) == left


async def test_every_length(backend: Backend) -> None:
    """Ids of 1 to 128 characters, each the beginning of the next, are different ids in the order of their lengths."""
    names = ["Az"[n % 2] * n for n in range(1, 129)]
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, timestamp=START) for name in names])
    assert ids(await walk(backend, Query(SystemEventLog, descending=False, limit=50))) == sorted(names, key=str.encode)
    assert [(await fetch(backend, SystemEventLog, name)).id for name in names] == names


@each_order
async def test_neighbours_in_byte_order(backend: Backend, *, descending: bool) -> None:
    """Ids that differ in one character or end where others go on are walked through by their bytes, whatever their case."""
    stored = [make(SystemEventLog, id=name, timestamp=START) for name in NEIGHBOURS]
    await add_all(backend, SystemEventLog, stored[1::2] + stored[::2])
    walked = await walk(backend, Query(SystemEventLog, descending=descending, limit=17))
    assert ids(walked) == sorted(NEIGHBOURS, key=str.encode, reverse=descending)


@each_order
async def test_a_page_begins_between_neighbours(backend: Backend, *, descending: bool) -> None:
    """Every id is a place to begin after, whether or not a record has it."""
    there = sorted(NEIGHBOURS, key=str.encode)[::2]
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, timestamp=START) for name in there])
    for place in sorted(NEIGHBOURS, key=str.encode)[1::5]:
        beyond = [name for name in there if (name < place if descending else name > place)]
        query = Query(SystemEventLog, descending=descending, after=Key(START, place), limit=2)
        assert ids((await backend.find(query)).items) == (beyond[::-1] if descending else beyond)[:2]


async def test_ids_on_both_sides_of_a_millisecond(backend: Backend) -> None:
    """The time goes before the id: the greatest id of a millisecond comes before the least of the next."""
    times = [from_ms(to_ms(START) + offset) for offset in (0, 1, 2)]
    stored = [
        make(SystemEventLog, id=f"{name}{n}", timestamp=time) for n, time in enumerate(times) for name in ("0", "Zz", "z.")
    ]
    await add_all(backend, SystemEventLog, stored[::-1])
    assert ids(await walk(backend, Query(SystemEventLog, descending=False, limit=2))) == ids(stored)
    assert ids(await walk(backend, Query(SystemEventLog, limit=4))) == ids(stored[::-1])


async def test_unusual_session_ids(backend: Backend) -> None:
    """A session id of any shape is filtered on as it is."""
    await add_all(backend, ImageGenerationTransaction, [make(ImageGenerationTransaction, sessionId=name) for name in UNUSUAL])
    for name in UNUSUAL:
        page = await backend.find(Query(ImageGenerationTransaction, {"sessionId": (name,)}))
        assert [item.record["sessionId"] for item in page.items] == [name]


@each_odd_time
async def test_a_uuid_of_any_time(backend: Backend, time: str) -> None:
    """A UUIDv7 whose time is far from its record's is found, updated and deleted."""
    name = mint_id(time, None, bytes)
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id=name, timestamp=START))
    updated = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert (await backend.find(Query(SystemEventLog, since=START))).items == [updated]
    await backend.delete(SystemEventLog, name)
    assert await backend.find_by_id(SystemEventLog, name) is None


@each_odd_time
async def test_a_record_of_any_time(backend: Backend, time: str) -> None:
    """A record at the edge of time is found by a window of its own millisecond."""
    given = make(SystemEventLog, timestamp=time)
    await add_all(backend, SystemEventLog, [given, make(SystemEventLog, timestamp=START)])
    assert (await fetch(backend, SystemEventLog, given.id)).record == given.record
    page = await backend.find(Query(SystemEventLog, since=time, descending=False, limit=1))
    assert ids(page.items) == [given.id]


@quick
@given(names=st.lists(st.from_regex(ID_PATTERN, fullmatch=True), max_size=6, unique=True))
async def test_any_ids_are_found_and_ordered(backend: Backend, names: list[str]) -> None:
    """Whatever ids clients choose, each is found, and they order by their bytes."""
    await clear(backend, SystemEventLog)
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name, timestamp=START) for name in names])
    assert [(await fetch(backend, SystemEventLog, name)).id for name in names] == names
    assert ids(await walk(backend, Query(SystemEventLog, limit=4))) == sorted(names, key=str.encode, reverse=True)
