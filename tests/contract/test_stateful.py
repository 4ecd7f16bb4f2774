"""Any series of writes and reads agrees with a dictionary."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend, Deleted, Outcome
from shared.errors import NotFoundError, PreconditionFailedError
from shared.ids import mint_id
from shared.models import SystemEventLog
from shared.query import Aggregation, Query, Stored
from tests.contract.reference import aggregate, in_order, select
from tests.contract.steps import clear, kept, quick
from tests.support.records import START, make

MODEL = SystemEventLog
IDS = ["a", "A", "b.1", mint_id(START, None, bytes), mint_id("2024-01-02T00:00:00.000Z", "s-1", bytes)]
TIMES = ["2023-12-31T23:59:59.999Z", START, "2024-01-02T00:00:00.000Z"]


@dataclass
class Expected:
    """What the database should hold."""

    backend: Backend
    records: dict[str, Stored] = field(default_factory=dict)
    seen: list[str] = field(default_factory=lambda: ["none"])
    """Etags that records had, some of them stale."""

    async def create(self, batch: list[Stored]) -> None:
        """Store some records, new or not."""
        self.settle(batch, await self.backend.create_many(MODEL, batch))

    async def put_raw(self, batch: list[Stored]) -> None:
        """Store some records as they are, new or not."""
        self.settle(batch, await self.backend.put_raw(MODEL, batch))

    def settle(self, batch: list[Stored], outcomes: list[Outcome]) -> None:
        """Note what was stored, and check what existed."""
        for stored, outcome in zip(batch, outcomes, strict=True):
            assert outcome.existed == (stored.id in self.records)
            if outcome.existed:
                assert kept(outcome) == self.records[stored.id]
            else:
                self.keep(stored, kept(outcome))

    async def update(self, change: tuple[Stored, bool]) -> None:
        """Replace a record that may be there, by its own etag or by another one."""
        stored, stale = change
        current = self.records.get(stored.id)
        if current is None:
            with pytest.raises(NotFoundError):
                await self.backend.update(MODEL, stored, self.seen[-1])
            return
        stored = stored._replace(record={**stored.record, "timestamp": current.timestamp})
        if stale:
            with pytest.raises(PreconditionFailedError):
                await self.backend.update(MODEL, stored, self.other_etag(current))
        else:
            self.keep(stored, await self.backend.update(MODEL, stored, current.etag))

    async def delete(self, record_id: str) -> None:
        """Delete a record that may be there."""
        if self.records.pop(record_id, None) is None:
            with pytest.raises(NotFoundError):
                await self.backend.delete(MODEL, record_id)
        else:
            await self.backend.delete(MODEL, record_id)

    async def purge(self, record_ids: list[str]) -> None:
        """Purge records that may be there."""
        gone = [name for name in record_ids if self.records.pop(name, None) is not None]
        assert await self.backend.purge(MODEL, record_ids) == len(gone)

    async def delete_where(self, query: Query) -> None:
        """Delete the first records of a query."""
        matching = select(self.records.values(), query)
        for stored in matching[: query.limit]:
            del self.records[stored.id]
        deleted = Deleted(min(len(matching), query.limit), more=len(matching) > query.limit)
        assert await self.backend.delete_where(query) == deleted

    async def reconnect(self) -> None:
        """Disconnect and connect again."""
        await self.backend.disconnect()
        await self.backend.connect()

    async def check(self) -> None:
        """Every way of reading agrees with the dictionary."""
        for name in IDS:
            assert await self.backend.find_by_id(MODEL, name) == self.records.get(name)
        for query in (Query(MODEL, descending=False), Query(MODEL, {"level": ("warn",)}), Query(MODEL, since=START)):
            assert (await self.backend.find(query)).items == select(self.records.values(), query)
        grouped = Aggregation(MODEL, group_by=("level",))
        assert in_order(await self.backend.aggregate(grouped)) == in_order(aggregate(self.records.values(), grouped))
        assert (await self.backend.get_stats()).models[MODEL.__name__].count == len(self.records)

    def keep(self, given: Stored, stored: Stored) -> None:
        """Note what was written."""
        assert (stored.record, stored.hidden) == (given.record, given.hidden)
        self.records[stored.id] = stored
        self.seen.append(stored.etag)

    def other_etag(self, current: Stored) -> str:
        """An etag that some version had, but not this one."""
        return next(etag for etag in self.seen if etag != current.etag)


def events() -> st.SearchStrategy[Stored]:
    """Events of few ids, times and levels."""
    fields = st.fixed_dictionaries(
        {"id": st.sampled_from(IDS), "timestamp": st.sampled_from(TIMES), "level": st.sampled_from(["info", "warn"])},
        optional={"message": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)},
    )
    return fields.map(lambda chosen: make(MODEL, **chosen))


def queries() -> st.SearchStrategy[Query]:
    """Queries that match some of them."""
    return st.builds(
        Query,
        st.just(MODEL),
        filters=st.sampled_from([{}, {"level": ("info",)}]),
        until=st.sampled_from([None, START]),
        descending=st.booleans(),
        limit=st.integers(1, 4),
    )


def series() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Names of steps, each with what it is given."""
    step = st.one_of(
        st.tuples(st.just("create"), st.lists(events(), min_size=1, max_size=4)),
        st.tuples(st.just("put_raw"), st.lists(events(), min_size=1, max_size=2)),
        st.tuples(st.just("update"), st.tuples(events(), st.booleans())),
        st.tuples(st.just("delete"), st.sampled_from(IDS)),
        st.tuples(st.just("purge"), st.lists(st.sampled_from(IDS), max_size=3)),
        st.tuples(st.just("delete_where"), queries()),
        st.tuples(st.just("reconnect")),
    )
    return st.lists(step, max_size=20)


@quick
@given(steps=series())
async def test_any_series_agrees_with_a_dictionary(backend: Backend, steps: list[tuple[Any, ...]]) -> None:
    """After every step, all reads give what a dictionary of the acknowledged writes holds."""
    await clear(backend, MODEL)
    expected = Expected(backend)
    for name, *arguments in steps:
        await getattr(expected, name)(*arguments)
        await expected.check()
