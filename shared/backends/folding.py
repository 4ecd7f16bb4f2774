"""Folds rows that a database could not group itself into the groups of an aggregation.

A row is a mapping: `t` the timestamp, `k0`, `k1`... the values grouped by, `s0`... those summed and `h0`... the buckets
counted, each in the aggregation's order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.query import Aggregation, Group, Value

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


class Totals:
    """Groups by their keys; types are part of a key, since True equals 1."""

    def __init__(self, aggregation: Aggregation) -> None:
        self._aggregation = aggregation
        self._totals: defaultdict[GroupKey, _Total] = defaultdict(_Total)

    def group_of(self, row: Mapping[str, Any]) -> _Total:
        values = [row.get(f"k{number}") for number in range(len(self._aggregation.group_by))]
        return self._totals[tuple((type(value).__name__, value) for value in values)]

    def add_grouped(self, row: Mapping[str, Any]) -> None:
        if row["n"]:
            total = self.group_of(row)
            total.add(row["n"], row["lo"], row["hi"])
            self._add_sums(total, row)

    def add_bucket(self, row: Mapping[str, Any], histogram: str) -> None:
        self.group_of(row).histograms[histogram][int(row["b"])] += row["n"]

    def add_record(self, row: Mapping[str, Any]) -> None:
        if not isinstance(row.get("t"), str):
            return
        total = self.group_of(row)
        total.add(1, row["t"], row["t"])
        self._add_sums(total, row)
        for number, name in enumerate(self._aggregation.histograms):
            bucket = row.get(f"h{number}")
            if bucket is not None:
                total.histograms[name][int(bucket)] += 1

    def _add_sums(self, total: _Total, row: Mapping[str, Any]) -> None:
        for number, name in enumerate(self._aggregation.sums):
            total.sums[name] += row.get(f"s{number}") or 0

    def merge(self, other: "Totals") -> None:
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
