"""Aggregates. Inside a logical partition the database groups; across them this SDK can't ask it to, so what is outside the
partitions of a window's days is projected and folded here.

https://learn.microsoft.com/cosmos-db/query/group-by
"""

import asyncio
from datetime import date, timedelta

from shared.backends.cosmosdb import queries
from shared.backends.cosmosdb.documents import day_key
from shared.backends.cosmosdb.reading import Reader, Rows
from shared.backends.folding import Totals
from shared.query import Aggregation, Group
from shared.timestamps import DAY_MS, day_of, from_ms

MAX_GROUPED_PARTITIONS = 16
"""Windows of more days than these are projected whole: a grouped partition costs a call for each histogram too."""


async def aggregate(reader: Reader, aggregation: Aggregation, buckets: int, now: float) -> list[Group]:
    """The groups of an aggregation at `now`, in seconds since 1970."""
    if queries.asks_nothing(aggregation):
        return []
    keys = _day_partitions(aggregation, buckets, from_ms(int(now * 1_000) + DAY_MS))
    parts = await asyncio.gather(_projected(reader, aggregation, keys), *(_grouped(reader, aggregation, key) for key in keys))
    totals = Totals(aggregation)
    for part in parts:
        totals.merge(part)
    return list(totals.groups())


def _day_partitions(aggregation: Aggregation, buckets: int, latest: str) -> list[str]:
    """The logical partitions of a window's days, up to `latest` where it has no end; none where there would be too many."""
    if aggregation.since is None:
        return []
    first, last = (date.fromisoformat(day_of(moment)) for moment in (aggregation.since, aggregation.until or latest))
    days = (last - first).days + 1
    if days * buckets > MAX_GROUPED_PARTITIONS:
        return []
    return [day_key((first + timedelta(days=day)).isoformat(), bucket) for day in range(days) for bucket in range(buckets)]


async def _grouped(reader: Reader, aggregation: Aggregation, key: str) -> Totals:
    totals = Totals(aggregation)
    for row in await reader.in_partition(aggregation.model, key, queries.group_statement(aggregation, key, None)):
        totals.add_grouped(row)
    if not any(True for _ in totals.groups()):
        return totals
    statements = [queries.group_statement(aggregation, key, name) for name in aggregation.histograms]
    found = await asyncio.gather(*(reader.in_partition(aggregation.model, key, statement) for statement in statements))
    for name, rows in zip(aggregation.histograms, found, strict=True):
        for row in rows:
            totals.add_bucket(row, name)
    return totals


async def _projected(reader: Reader, aggregation: Aggregation, excluded: list[str]) -> Totals:
    async def fold(rows: Rows) -> Totals:
        totals = Totals(aggregation)
        async for row in rows:
            totals.add_record(row)
        return totals

    merged = Totals(aggregation)
    for part in await reader.everywhere(aggregation.model, queries.projection_statement(aggregation, excluded), fold):
        merged.merge(part)
    return merged
