"""The rows of an aggregate, folded into groups: one row for each group, and one for each bucket of its histograms."""

from collections.abc import Iterable

from shared.backends.postgresql.queries import Columns
from shared.backends.postgresql.tables import Row
from shared.query import Group


def groups_of(rows: Iterable[Row], columns: Columns) -> list[Group]:
    """The groups of the rows that `queries.aggregate` asks for, whatever their order."""
    count = columns.count
    counted: dict[tuple[object, ...], dict[str, dict[int, int]]] = {}
    whole: list[Row] = []
    for row in rows:
        histogram = next((name for name, at in columns.histograms.items() if not row[at + 1]), None)
        if histogram is None:
            whole.append(row)
        elif (bucket := row[columns.histograms[histogram]]) is not None:
            counted.setdefault(row[:count], {}).setdefault(histogram, {})[bucket] = row[count]
    return [
        Group(
            row[:count],
            row[count],
            row[count + 1],
            row[count + 2],
            {name: row[at] or 0 for name, at in columns.sums.items()},
            {name: counted.get(row[:count], {}).get(name, {}) for name in columns.histograms},
        )
        for row in whole
    ]
