"""Reads over all physical partitions: each is asked by itself and at the same time, and the answers are merged here.

So a list costs one call a partition and page; the driver's own fan-out asks them one after the other, after a refused
call and a query plan.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from azure.cosmos.aio import ContainerProxy

from shared.backends.cosmosdb import queries
from shared.backends.cosmosdb.client import Connection
from shared.backends.cosmosdb.documents import read_item
from shared.backends.cosmosdb.queries import Statement
from shared.models import Record
from shared.query import Key, Page, Query, Stored
from shared.timestamps import from_ms

logger = logging.getLogger(__name__)

WHOLE = "c.id, c.timestamp, c._etag, c.logogen"
KEYS_ONLY = "c.id, c.timestamp, c._etag, IS_DEFINED(c.logogen.record) AS own"
_PAGE_ROWS = 1_000
"""Rows of one call at most; the service also ends a page at 4 MB."""
_CONCURRENT_PARTITIONS = 32

Row = dict[str, Any]
Rows = AsyncIterable[Any]
T = TypeVar("T")


@dataclass(slots=True)
class _Part:
    """The first rows of one physical partition, in order; `cut` where it may have more."""

    rows: list[Row]
    cut: bool


class Reader:
    """Runs statements on a model's container."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gate = asyncio.Semaphore(_CONCURRENT_PARTITIONS)

    async def in_partition(self, model: type[Record], key: str, statement: Statement) -> list[Any]:
        """The rows of a statement inside one logical partition."""
        container = await self._connection.container(model)
        return await self._run(container, statement, _all_rows, partition_key=key)

    async def everywhere(self, model: type[Record], statement: Statement, fold: Callable[[Rows], Awaitable[T]]) -> list[T]:
        """What `fold` makes of the rows of each physical partition; it begins anew when a call has to be repeated."""
        container = await self._connection.container(model)
        ranges = await self._ranges(container)
        return await asyncio.gather(*(self._run(container, statement, fold, feed_range=part) for part in ranges))

    async def first(self, model: type[Record], statement: Statement) -> list[Any]:
        """The rows of every physical partition."""
        return [row for rows in await self.everywhere(model, statement, _all_rows) for row in rows]

    async def _ranges(self, container: ContainerProxy) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            return [part async for part in container.read_feed_ranges()]

        return (await self._connection.caller.call(read)).value

    async def _run(
        self, container: ContainerProxy, statement: Statement, fold: Callable[[Rows], Awaitable[T]], **where: Any
    ) -> T:
        async def send() -> T:
            rows = container.query_items(
                statement.text, parameters=list(statement.parameters), max_item_count=_PAGE_ROWS, **where
            )
            return await fold(rows)

        async with self._gate:
            return (await self._connection.caller.call(send)).value

    async def page(self, query: Query) -> Page:
        """A page of records; items that are not ours are left out."""
        rows, more = await self.rows(query, WHOLE)
        items: list[Stored] = []
        size = 0
        for row in rows:
            stored = read_item(row)
            assert stored is not None, "rows() gives our own"
            size += _size([row])
            if len(items) == query.limit or (items and size > query.max_bytes):
                return Page(items, more=True)
            items.append(stored)
        return Page(items, more)

    async def rows(self, query: Query, columns: str) -> tuple[list[Row], bool]:
        """Our own rows of a list in its order and whether more may follow: one past the limit, or past the page's bytes,
        where there is one.
        """
        container = await self._connection.container(query.model)
        partitions = len(await self._ranges(container))
        found: list[Row] = []
        for part in queries.slices(query, from_ms(int(time.time() * 1_000)), partitions):
            after = query.after
            while not queries.asks_nothing(part):
                wanted = query.limit + 1 - len(found)
                rows, complete = await self._merged(part, after, columns, wanted)
                found += [row for row in rows if _is_ours(query.model, row)]
                if len(found) > query.limit or _size(found[:-1]) >= query.max_bytes:
                    return found, not complete
                if complete:
                    break
                after = Key(rows[-1]["timestamp"], rows[-1]["id"])
        return found, False

    async def _merged(self, query: Query, after: Key | None, columns: str, top: int) -> tuple[list[Row], bool]:
        """The next rows of all partitions together, as far as their order is certain, and whether these are all."""
        statement = queries.page_statement(query, after, columns, top)

        async def fold(rows: Rows) -> _Part:
            part = _Part([], cut=False)
            size = 0
            async for row in rows:
                part.rows.append(row)
                part.cut = size >= query.max_bytes or len(part.rows) >= top
                if part.cut:
                    break
                size += _size([row])
            return part

        parts = await self.everywhere(query.model, statement, fold)
        rows = sorted((row for part in parts for row in part.rows), key=_place, reverse=query.descending)
        ends = [_place(part.rows[-1]) for part in parts if part.cut]
        if not ends:
            return rows, True
        certain = max(ends) if query.descending else min(ends)
        return [row for row in rows if (_place(row) >= certain if query.descending else _place(row) <= certain)], False


async def _all_rows(rows: Rows) -> list[Any]:
    return [row async for row in rows]


def _place(row: Row) -> Key:
    return Key(str(row["timestamp"]), str(row["id"]))


def _size(rows: list[Row]) -> int:
    """Bytes of the records' JSON; what is not ours counts nothing."""
    texts = (own.get("record") for row in rows if isinstance(own := row.get("logogen"), dict))
    return sum(len(text.encode()) for text in texts if isinstance(text, str))


def _is_ours(model: type[Record], row: Row) -> bool:
    if row["own"] if "own" in row else read_item(row) is not None:
        return True
    logger.warning("a foreign document is left out", extra={"container": model.route, "id": row.get("id")})
    return False
