"""The rows of an aggregate, folded into groups: one row for each group, and one for each bucket of its histograms."""

from collections.abc import Iterable

from shared.backends.postgresql.tables import Row
from shared.query import Aggregation, Group

_FIXED = 3


def groups_of(aggregation: Aggregation, rows: Iterable[Row]) -> list[Group]:
    """The groups of the rows that `queries.aggregate` asks for, whatever their order."""
    keys, sums, histograms = len(aggregation.group_by), aggregation.sums, aggregation.histograms
    places = [(name, keys + _FIXED + len(sums) + 2 * number) for number, name in enumerate(histograms)]
    counted: dict[tuple[object, ...], dict[str, dict[int, int]]] = {}
    whole: list[Row] = []
    for row in rows:
        place = next(((name, at) for name, at in places if not row[at + 1]), None)
        if place is None:
            whole.append(row)
        elif row[place[1]] is not None:
            buckets = counted.setdefault(row[:keys], {}).setdefault(place[0], {})
            buckets[row[place[1]]] = row[keys]
    return [
        Group(
            row[:keys],
            row[keys],
            row[keys + 1],
            row[keys + 2],
            {name: row[keys + _FIXED + number] or 0 for number, name in enumerate(sums)},
            {name: counted.get(row[:keys], {}).get(name, {}) for name in histograms},
        )
        for row in whole
    ]
