"""Pages over a table whose calls look at few entities and may find none, as the service's do where a filter is rare."""

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import jsontext
from shared.backends.tables.access import Access
from shared.backends.tables.client import Connection
from shared.backends.tables.entities import Claim, Entity, write_claim, write_record
from shared.backends.tables.filters import Condition
from shared.backends.tables.keys import BUCKETS, claim_place, key_of
from shared.backends.tables.reading import Reader
from shared.backends.tables.scanning import Ask, Row
from shared.ids import mint_id
from shared.models import Record, SystemEventLog
from shared.query import MAX_PAGE_BYTES, Key, Query, Stored, Value
from shared.timestamps import from_ms, to_ms
from tests.contract.reference import select
from tests.contract.steps import ids
from tests.support.records import START, make
from tests.tables.test_access import LOCAL
from tests.tables.test_windows import holds


class SmallCalls(Reader):
    """A reader of entities in memory; each call looks at `looks` of a range in `seconds`, and tells where to go on.

    Calls on all buckets pass at the same time. `fetched` counts whole rows.
    """

    def __init__(self, entities: Sequence[Entity], looks: int, max_calls: int, *, seconds: float = 0.0) -> None:
        super().__init__(Connection(Access(LOCAL, "TEST"), "test"), max_calls, clock=lambda: self.now)
        self.calls = 0
        self.fetched = 0
        self.now = 0.0
        self._seconds = seconds
        self._entities = sorted(entities, key=lambda entity: (entity["PartitionKey"], entity["RowKey"]))
        self._partitions = [entity["PartitionKey"] for entity in self._entities]
        self._looks = looks
        self._seen: dict[tuple[Any, ...], list[Entity]] = {}

    def asking(self, model: type[Record], select: Sequence[str] | None) -> Ask:
        async def ask(condition: Condition, top: int, token: Any) -> tuple[list[Row], Any]:
            self.calls += 1
            keys = Condition(
                " and ".join(part for part in condition.text.split(" and ") if "Key " in part), condition.parameters
            )
            asked = (keys.text, *keys.parameters.values())
            if asked not in self._seen:
                near = self._near(condition.parameters)
                self._seen[asked] = [entity for entity in near if holds(keys, entity["PartitionKey"], entity["RowKey"])]
            inside = self._seen[asked]
            start = token or 0
            rows: list[Row] = []
            end = start
            while end < len(inside) and end - start < self._looks and len(rows) < top:
                if self._passes(inside[end], condition):
                    rows.append(inside[end])
                end += 1
            self.fetched += len(rows) if select is None else 0
            self.now += self._seconds * (end - start) / self._looks / BUCKETS
            return rows, end if end < len(inside) else None

        return ask

    def _near(self, parameters: Mapping[str, Value]) -> list[Entity]:
        """The entities of the partitions that a condition names."""
        first, last = parameters.get("from", parameters.get("day")), parameters.get("to", parameters.get("day"))
        return self._entities[bisect_left(self._partitions, str(first)) : bisect_right(self._partitions, str(last))]

    @staticmethod
    def _passes(entity: Entity, condition: Condition) -> bool:
        levels = [value for name, value in condition.parameters.items() if name.startswith("level")]
        return not levels or entity.get("level") in levels


def events(count: int, step: int, rare: int) -> list[Stored]:
    """Events so many milliseconds apart, every so many-th a warning."""
    return [
        make(SystemEventLog, timestamp=from_ms(to_ms(START) + n * step), level="warn" if n % rare == 0 else "info")
        for n in range(count)
    ]


def one_sided_events(count: int, step: int, rare: int) -> list[Stored]:
    """Events in every bucket at each time, of which only those of one bucket are ever warnings."""
    return [
        make(SystemEventLog, id=id_in(bucket, moment), timestamp=moment, level="warn" if is_warning else "info")
        for n in range(count)
        for moment in [from_ms(to_ms(START) + n * step)]
        for bucket in range(BUCKETS)
        for is_warning in [bucket == 0 and n % rare == 0]
    ]


def id_in(bucket: int, timestamp: str) -> str:
    """A new id of a bucket, which says its time."""
    return f"{mint_id(timestamp, None, secrets.token_bytes)[:-2]}{secrets.randbelow(256 // BUCKETS) * BUCKETS + bucket:02x}"


async def walk(reader: SmallCalls, query: Query) -> tuple[list[str], int]:
    """The ids of all pages, and how many pages there were."""
    found: list[str] = []
    pages = 0
    while True:
        page = await reader.page(query)
        pages += 1
        found += ids(page.items)
        assert len(page.items) <= query.limit
        assert len(page.items) < 2 or sum(jsontext.size_of(item.record) for item in page.items) <= query.max_bytes
        if not page.more:
            return found, pages
        assert page.next is not None
        if page.items:
            last = page.items[-1].key
            assert page.next <= last if query.descending else page.next >= last, "the next page repeats what this one has"
        assert query.after is None or (page.next < query.after if query.descending else page.next > query.after)
        query = replace(query, after=page.next)


@settings(max_examples=60, deadline=None)
@given(
    made=st.sampled_from([events, one_sided_events]),
    count=st.integers(0, 60),
    step=st.sampled_from([0, 1, 60_000, 3_600_000, 86_400_000]),
    rare=st.sampled_from([1, 7, 50]),
    looks=st.integers(2, 20),
    max_calls=st.sampled_from([4, 10, 60, 1_000]),
    query=st.builds(
        Query,
        st.just(SystemEventLog),
        st.sampled_from([{}, {"level": ("warn",)}]),
        since=st.sampled_from([START, None]),
        descending=st.booleans(),
        limit=st.integers(2, 9) | st.integers(10, 100),
        max_bytes=st.sampled_from([600, 3_000, MAX_PAGE_BYTES]),
    ),
)
async def test_any_walk_is_the_whole_list(
    made: Callable[[int, int, int], list[Stored]], count: int, step: int, rare: int, looks: int, max_calls: int, query: Query
) -> None:
    """However few entities a call looks at and however soon a page ends, its pages are the list, each record once."""
    records = made(count, step, rare)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], looks, max_calls)
    found, _ = await walk(reader, query)
    assert found == ids(select(records, query))


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("limit", [20, 100])
async def test_matches_in_one_bucket_only(limit: int, *, descending: bool) -> None:
    """What a bucket still has unread is not passed over where the others make the page end early."""
    records = one_sided_events(300, 3_600_000, 1)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], 20, 60)
    query = Query(SystemEventLog, {"level": ("warn",)}, limit=limit, descending=descending)
    found, _ = await walk(reader, query)
    assert found == ids(select(records, query))


async def test_oldest_first_goes_on_with_small_windows() -> None:
    """A page that goes on does not spend its calls on looking through all that follows once more."""
    records = one_sided_events(300, 3_600_000, 10)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], 20, 60)
    found, pages = await walk(reader, Query(SystemEventLog, {"level": ("warn",)}, descending=False))
    assert len(found) == 30
    assert pages < 60


async def test_a_page_that_finds_nothing_ends() -> None:
    """A page ends after its calls with no record and a place to go on from, which the next one makes use of."""
    records = events(300, 3_600_000, 10_000)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], looks=2, max_calls=60)
    query = Query(SystemEventLog, {"level": ("warn",)})
    page = await reader.page(query)
    assert (page.items, page.more) == ([], True)
    assert page.resume is not None
    assert reader.calls < 120
    found, pages = await walk(reader, query)
    assert found == [records[0].id]
    assert pages > 2


@pytest.mark.parametrize("descending", [True, False])
async def test_a_page_of_slow_calls_ends(*, descending: bool) -> None:
    """A page whose calls take the service's five seconds and find nothing ends in time, and each goes on from there."""
    records = events(240, 3_600_000, 10_000)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], 3, 400, seconds=5.0)
    query = Query(SystemEventLog, {"level": ("error",)}, since="2023-12-01T00:00:00.000Z", descending=descending)
    more, pages = True, 0
    while more:
        started = reader.now
        page = await reader.page(query)
        assert reader.now - started < 90
        more, pages = page.more, pages + 1
        assert not more or page.next is not None
        assert page.next != query.after
        query = replace(query, after=page.next)
    assert pages > 2


async def test_oldest_first_fetches_a_page_not_more() -> None:
    """Long records are fetched few at a time, so that a page that is full by its bytes has not read all of its limit."""
    records = [make(SystemEventLog, message="x" * 4_000) for _ in range(1_500)]
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], 1_000, 400)
    page = await reader.page(Query(SystemEventLog, descending=False, limit=1_000, max_bytes=40_000))
    assert ids(page.items) == ids(records[: len(page.items)])
    assert len(page.items) > 5
    assert reader.fetched <= 64


async def test_oldest_first_while_records_are_deleted() -> None:
    """Records that go between the look at their keys and their fetch hide none of those after them."""
    records = events(60, 1_000, 1)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], 1_000, 400)
    page = await reader.page(Query(SystemEventLog, descending=False, limit=3))
    gone = {stored.id for stored in records[:20]}
    asking = reader.asking

    def asking_late(model: type[Record], select: Sequence[str] | None) -> Ask:
        ask = asking(model, select)

        async def late(condition: Condition, top: int, token: Any) -> tuple[list[Row], Any]:
            rows, token = await ask(condition, top, token)
            return [row for row in rows if select is not None or key_of(str(row["RowKey"])).id not in gone], token

        return late

    reader.asking = asking_late  # type: ignore[method-assign]
    page = await reader.page(Query(SystemEventLog, descending=False, limit=3))
    assert ids(page.items) == ids(records[20:23])


async def test_claims_are_not_listed() -> None:
    """The claim of a UUIDv7 stands among the records, and is none."""
    stored = make(SystemEventLog, id=mint_id("2024-03-01T00:00:00.000Z", None, bytes), timestamp=START)
    claim = write_claim(claim_place(stored.id), Claim(stored.timestamp), "w")
    reader = SmallCalls([claim, write_record(SystemEventLog, stored, "w")], looks=1, max_calls=10)
    for descending in (True, False):
        page = await reader.page(Query(SystemEventLog, descending=descending))
        assert (ids(page.items), page.more) == ([stored.id], False)


async def test_going_on_from_a_place_between_records() -> None:
    """A place that no record has is gone on from like any other."""
    records = events(10, 1_000, 2)
    reader = SmallCalls([write_record(SystemEventLog, stored, "w") for stored in records], looks=3, max_calls=100)
    place = Key(from_ms(to_ms(records[4].timestamp) + 1), "0")
    page = await reader.page(Query(SystemEventLog, after=place, limit=2))
    assert ids(page.items) == [records[4].id, records[3].id]
