"""Ids of every shape that a client may choose work in everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.ids import ID_PATTERN, mint_id
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Query
from tests.contract.steps import add, add_all, clear, each_order, fetch, ids, quick, walk
from tests.support.records import START, make

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
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "00000000-0000-0000-0000-000000000000",
    "a..b",
    "a..",
    "a.",
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
