"""Reads over the buckets of a model: each is read by itself and at the same time."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from shared.backends.tables.calls import RefusalError, unexpected
from shared.backends.tables.client import Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import MARK, read_record, text_of
from shared.backends.tables.filters import Condition, Filters, read_filters
from shared.backends.tables.keys import BUCKETS, Place, counted_back, is_row_key, key_of
from shared.backends.tables.merging import Merge, Rows
from shared.backends.tables.scanning import PAGE_ROWS, Ask, BucketScan, Row
from shared.backends.tables.windows import ranges, window_of
from shared.models import Record
from shared.query import Aggregation, Page, Query, Stored
from shared.timestamps import from_ms
from shared.timing import Clock, remaining_seconds

logger = logging.getLogger(__name__)

KEYS = ("PartitionKey", "RowKey", MARK)
MAX_CALLS = 400
"""Calls of one page, after which it ends where it is."""
_MAX_SECONDS = 20.0
"""How long a page may take, at most half of what is left of the deadline."""


class Reader:
    """Reads entities of a model's table. `max_calls` bounds a page, as does the time that `clock` tells."""

    def __init__(self, connection: Connection, max_calls: int = MAX_CALLS, *, clock: Clock = time.monotonic) -> None:
        self._connection = connection
        self._max_calls = max_calls
        self._clock = clock

    async def entity(self, model: type[Record], place: Place, select: Sequence[str] | None = None) -> Row | None:
        """The entity at a place: one point read."""
        try:
            return await self._connection.call(
                model, lambda table: table.get_entity(place.partition, place.row, select=list(select) if select else None)
            )
        except RefusalError as refusal:
            if refusal.status == 404:
                return None
            raise unexpected(refusal) from refusal

    def asking(self, model: type[Record], select: Sequence[str] | None) -> Ask:
        """How a table is asked for rows."""

        async def ask(condition: Condition, top: int, token: Any) -> tuple[list[Row], Any]:
            async def send(table: Any) -> tuple[list[Row], Any]:
                pages = table.query_entities(
                    condition.text, parameters=dict(condition.parameters), results_per_page=top, select=select
                ).by_page(token)
                return [row async for row in await anext(pages)], pages.continuation_token

            try:
                return await self._connection.call(model, send)
            except RefusalError as refusal:
                raise unexpected(refusal) from refusal

        return ask

    async def page(self, query: Query) -> Page:
        """A page of records; what is not ours is left out."""
        size = 0

        def fits(row: Row) -> bool:
            nonlocal size
            size += len(text_of(row).encode())
            return size <= query.max_bytes

        found = await self.rows(query, None, fits=fits, max_calls=self._max_calls)
        items: list[Stored] = []
        for row in found.rows:
            stored = read_record(row)
            if stored is None:
                logger.warning("a record can't be read", extra={"record_id": key_of(str(row["RowKey"])).id})
            else:
                items.append(stored)
        last = key_of(str(found.rows[-1]["RowKey"])) if found.more and found.rows else None
        return Page(items, found.more, found.resume or last)

    async def rows(
        self,
        query: Query,
        select: Sequence[str] | None,
        *,
        fits: Callable[[Row], bool] = lambda _: True,
        max_calls: int | None = None,
    ) -> Rows:
        """The rows of a list in its order: at most its limit, and at least one before `fits` says that it is enough."""
        filters = read_filters(query.filters)
        merge = Merge(query, self._scans(query, filters, None if select is None else [*select, *filters.here]), fits)
        end = self._end_of_page()
        wanted = query.limit * 3 // 8 + 8 if query.descending else query.limit + 1
        while True:
            found = merge.take()
            if found is None and max_calls is not None and (merge.calls >= max_calls or self._clock() >= end):
                found = merge.end_early()
            if found is not None:
                return found
            await together(*(scan.advance(wanted) for scan in merge.hungry))
            wanted = query.limit + 1

    def _end_of_page(self) -> float:
        remaining = remaining_seconds()
        return self._clock() + (_MAX_SECONDS if remaining is None else min(_MAX_SECONDS, remaining / 2))

    def _scans(self, query: Query, filters: Filters, select: Sequence[str] | None) -> list[BucketScan]:
        ask = self.asking(query.model, select)
        scout = ask if select is not None else self.asking(query.model, [*KEYS, *filters.here])
        window, now = window_of(query), counted_back(from_ms(int(time.time() * 1_000)))
        options: dict[str, Any] = {
            "descending": query.descending,
            "onward": query.after is not None,
            "wanted": query.limit + 1,
            "now": now,
            "clock": self._clock,
        }
        return [BucketScan(ask, scout, filters, bucket, window, **options) for bucket in range(BUCKETS)]

    async def everything(self, asked: Query | Aggregation, select: Sequence[str], take: Callable[[Row], None]) -> None:
        """Give every row of a query to `take`, bucket by bucket at the same time, in no particular order."""
        filters = read_filters(asked.filters)
        ask = self.asking(asked.model, list(dict.fromkeys(["RowKey", *select, MARK, *filters.here])))
        window = window_of(asked, onward=False)
        if window.is_empty:
            return

        async def read(bucket: int) -> None:
            async for row in _all_rows(ask, (condition & filters.pushed for condition in ranges(window, bucket))):
                if row.get(MARK) is not None and is_row_key(str(row["RowKey"])) and filters.passes(row):
                    take(row)

        await together(*map(read, range(BUCKETS)))


async def _all_rows(ask: Ask, conditions: Iterable[Condition]) -> AsyncIterator[Row]:
    for condition in conditions:
        token = None
        while True:
            rows, token = await ask(condition, PAGE_ROWS, token)
            for row in rows:
                yield row
            if token is None:
                break


def stored_in(row: Row | None) -> Stored | None:
    """The record of an entity, if it is one."""
    return None if row is None else read_record(row)
