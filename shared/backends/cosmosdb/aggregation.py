"""Aggregates. Inside a logical partition the database groups; across them this SDK can't ask it to, so what is outside the
partitions of a window's days is projected and folded here.

https://learn.microsoft.com/azure/cosmos-db/nosql/query/group-by
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from shared.backends.cosmosdb import queries
from shared.backends.cosmosdb.documents import day_key
from shared.backends.cosmosdb.reading import Reader, Rows
from shared.query import Aggregation, Group, Value
from shared.timestamps import day_of

MAX_GROUPED_PARTITIONS = 16
"""Windows of more days than these are projected whole: a grouped partition costs a call for each histogram too."""

GroupKey = tuple[tuple[str, Value | None], ...]


@dataclass(slots=True)
class _Total:
    """One group as it grows."""

    count: int = 0
    least: str | None = None
    greatest: str | None = None
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    histograms: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, count: int, least: str, greatest: str) -> None:
        self.count += count
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


class _Totals:
    """Groups by their keys; types are part of a key, since True equals 1."""

    def __init__(self, aggregation: Aggregation) -> None:
        self._aggregation = aggregation
        self._totals: defaultdict[GroupKey, _Total] = defaultdict(_Total)

    def group_of(self, row: dict[str, Any]) -> _Total:
        values = [row.get(f"k{number}") for number in range(len(self._aggregation.group_by))]
        return self._totals[tuple((type(value).__name__, value) for value in values)]

    def add_grouped(self, row: dict[str, Any]) -> None:
        if row["n"]:
            total = self.group_of(row)
            total.add(row["n"], row["lo"], row["hi"])
            self._add_sums(total, row)

    def add_bucket(self, row: dict[str, Any], histogram: str) -> None:
        self.group_of(row).histograms[histogram][int(row["b"])] += row["n"]

    def add_record(self, row: dict[str, Any]) -> None:
        if not isinstance(row.get("t"), str):
            return
        total = self.group_of(row)
        total.add(1, row["t"], row["t"])
        self._add_sums(total, row)
        for number, name in enumerate(self._aggregation.histograms):
            bucket = row.get(f"h{number}")
            if bucket is not None:
                total.histograms[name][int(bucket)] += 1

    def _add_sums(self, total: _Total, row: dict[str, Any]) -> None:
        for number, name in enumerate(self._aggregation.sums):
            total.sums[name] += row.get(f"s{number}") or 0

    def merge(self, other: "_Totals") -> None:
        for key, theirs in other._totals.items():  # noqa: SLF001 - its own kind
            total = self._totals[key]
            if theirs.least is not None and theirs.greatest is not None:
                total.add(theirs.count, theirs.least, theirs.greatest)
            for name, amount in theirs.sums.items():
                total.sums[name] += amount
            for name, counts in theirs.histograms.items():
                total.histograms[name].update(counts)

    def groups(self) -> Iterator[Group]:
        asked = self._aggregation
        for key, total in self._totals.items():
            if total.count and total.least is not None and total.greatest is not None:
                yield Group(
                    tuple(value for _, value in key),
                    total.count,
                    total.least,
                    total.greatest,
                    {name: total.sums[name] for name in asked.sums},
                    {name: dict(total.histograms[name]) for name in asked.histograms},
                )


async def aggregate(reader: Reader, aggregation: Aggregation, buckets: int) -> list[Group]:
    """The groups of an aggregation."""
    if queries.asks_nothing(aggregation):
        return []
    keys = _day_partitions(aggregation, buckets)
    parts = await asyncio.gather(_projected(reader, aggregation, keys), *(_grouped(reader, aggregation, key) for key in keys))
    totals = _Totals(aggregation)
    for part in parts:
        totals.merge(part)
    return list(totals.groups())


def _day_partitions(aggregation: Aggregation, buckets: int) -> list[str]:
    """The logical partitions of a window's days; none where there would be too many."""
    if aggregation.since is None or aggregation.until is None:
        return []
    first, last = (date.fromisoformat(day_of(moment)) for moment in (aggregation.since, aggregation.until))
    days = (last - first).days + 1
    if days * buckets > MAX_GROUPED_PARTITIONS:
        return []
    return [day_key((first + timedelta(days=day)).isoformat(), bucket) for day in range(days) for bucket in range(buckets)]


async def _grouped(reader: Reader, aggregation: Aggregation, key: str) -> _Totals:
    totals = _Totals(aggregation)
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


async def _projected(reader: Reader, aggregation: Aggregation, excluded: list[str]) -> _Totals:
    async def fold(rows: Rows) -> _Totals:
        totals = _Totals(aggregation)
        async for row in rows:
            totals.add_record(row)
        return totals

    merged = _Totals(aggregation)
    for part in await reader.everywhere(aggregation.model, queries.projection_statement(aggregation, excluded), fold):
        merged.merge(part)
    return merged
