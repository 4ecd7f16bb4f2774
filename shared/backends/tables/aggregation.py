"""Counts, groups and figures: tables can only filter, so what is needed of each record is read and folded here."""

from collections.abc import Mapping
from typing import Any

from shared.backends.folding import Totals
from shared.backends.tables.entities import MARK, bucket_property, read_value
from shared.backends.tables.filters import asks_nothing
from shared.backends.tables.keys import key_of
from shared.backends.tables.reading import Reader
from shared.backends.tables.scanning import Row
from shared.query import Aggregation, Group, Query


async def count(reader: Reader, query: Query) -> int:
    """How many records match."""
    found = 0

    def take(_: Row) -> None:
        nonlocal found
        found += 1

    if not asks_nothing(query):
        await reader.everything(query, (MARK,), take)
    return found


async def aggregate(reader: Reader, aggregation: Aggregation) -> list[Group]:
    """The groups of an aggregation."""
    if asks_nothing(aggregation):
        return []
    columns: dict[str, str] = {f"k{number}": name for number, name in enumerate(aggregation.group_by)}
    columns |= {f"s{number}": name for number, name in enumerate(aggregation.sums)}
    columns |= {f"h{number}": bucket_property(name) for number, name in enumerate(aggregation.histograms)}
    totals = Totals(aggregation)

    def take(row: Row) -> None:
        folded: Mapping[str, Any] = {column: read_value(row.get(name)) for column, name in columns.items()}
        totals.add_record({**folded, "t": key_of(str(row["RowKey"])).timestamp})

    await reader.everything(aggregation, ("RowKey", *columns.values()), take)
    return list(totals.groups())
