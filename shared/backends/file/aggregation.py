"""Aggregations over the index: counts, bounds, sums and histograms, grouped by SQLite."""

from collections import defaultdict
from typing import Any

from shared.backends.file.index import Index, bucket_column, conditions
from shared.models import Record
from shared.query import Aggregation, Group, Query, Value, value_kind
from shared.timestamps import from_ms

Key = tuple[Value | None, ...]


def aggregate(index: Index, aggregation: Aggregation) -> list[Group]:
    """The groups of an aggregation."""
    model = aggregation.model
    where, parameters = conditions(Query(model, aggregation.filters, aggregation.since, aggregation.until))
    table = f'FROM "{model.__name__}" WHERE {where}'
    keys = [f'"{name}"' for name in aggregation.group_by]
    sums = [f'TOTAL("{name}")' for name in aggregation.sums]
    grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
    selected = ", ".join([*keys, "COUNT(*)", "MIN(timestamp)", "MAX(timestamp)", *sums])
    rows = index.connection.execute(f"SELECT {selected} {table}{grouped}", parameters).fetchall()
    histograms = {name: _histogram(index, aggregation, name, keys, table, parameters) for name in aggregation.histograms}
    groups = []
    for row in rows:
        key, (count, least, greatest, *totals) = _key(model, aggregation.group_by, row), row[len(keys) :]
        if count:
            groups.append(
                Group(
                    key,
                    count,
                    from_ms(least),
                    from_ms(greatest),
                    dict(zip(aggregation.sums, totals, strict=True)),
                    {name: histograms[name].get(key, {}) for name in aggregation.histograms},
                )
            )
    return groups


def _histogram(
    index: Index, aggregation: Aggregation, name: str, keys: list[str], table: str, parameters: list[Any]
) -> dict[Key, dict[int, int]]:
    bucket = f'"{bucket_column(name)}"'
    grouped = ", ".join([*keys, bucket])
    sql = f"SELECT {grouped}, COUNT(*) {table} AND {bucket} IS NOT NULL GROUP BY {grouped}"
    histograms: dict[Key, dict[int, int]] = defaultdict(dict)
    for row in index.connection.execute(sql, parameters):
        histograms[_key(aggregation.model, aggregation.group_by, row)][int(row[-2])] = row[-1]
    return histograms


def _key(model: type[Record], names: tuple[str, ...], row: tuple[Any, ...]) -> Key:
    return tuple(
        bool(value) if value is not None and value_kind(model, name) is bool else value
        for name, value in zip(names, row, strict=False)
    )
