"""How many records a table holds, at a cost that does not grow with them: counted where they are few, else estimated.

The newest rows of a bucket are counted. What is older is cut into slices of time that double with their age, and each is
taken to be as dense as the rows that one call finds from its middle on.
"""

from dataclasses import dataclass
from itertools import pairwise

from shared.backends.base import ModelStats
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import MARK
from shared.backends.tables.keys import BUCKETS, END, edge, is_row_key, moment_of
from shared.backends.tables.reading import Reader
from shared.backends.tables.scanning import PAGE_ROWS, Ask, Row
from shared.backends.tables.windows import Window, days, ranges
from shared.models import Record
from shared.timestamps import DAY_MS

_COUNTED_CALLS = 5
_SLICES = 12


@dataclass(slots=True)
class _Tally:
    """What the rows of a bucket come to. `latest` is the greatest `updatedAt` of those that were read."""

    count: float = 0.0
    latest: str = ""
    approximate: bool = False

    def see(self, rows: list[Row]) -> int:
        """How many records rows hold; what was changed last is remembered."""
        changes = [str(row[MARK]) for row in rows if row.get(MARK) is not None and is_row_key(str(row["RowKey"]))]
        self.latest = max((self.latest, *changes))
        return len(changes)


async def model_stats(reader: Reader, model: type[Record]) -> ModelStats:
    """Count and last change of a model; both by what was read where it is approximate."""
    ask = reader.asking(model, ["RowKey", MARK])
    tallies = await together(*(_bucket(ask, bucket) for bucket in range(BUCKETS)))
    return ModelStats(
        round(sum(tally.count for tally in tallies)),
        max(tally.latest for tally in tallies) or None,
        approximate=any(tally.approximate for tally in tallies),
    )


async def _bucket(ask: Ask, bucket: int) -> _Tally:
    tally = _Tally()
    [everything] = ranges(Window(edge(0), edge(END)), bucket)
    token, last = None, 0
    for _ in range(_COUNTED_CALLS):
        rows, token = await ask(everything, PAGE_ROWS, token)
        tally.count += tally.see(rows)
        last = _last_moment(rows, last)
        if token is None:
            return tally
    tally.approximate = True
    start, end = last + 1, await _end(ask, bucket, last // DAY_MS)
    edges = [start + (end - start) * (2**number - 1) // (2**_SLICES - 1) for number in range(_SLICES + 1)]
    for first, stop in pairwise(edges):
        if first < stop:
            tally.count += await _slice(ask, bucket, first, stop, tally)
    return tally


async def _end(ask: Ask, bucket: int, day: int) -> int:
    """The moment after the oldest day that has rows, which is not before `day`; found by halving."""
    low, last = day, END // DAY_MS
    high = last
    while low < high:
        middle = (low + high + 1) // 2
        rows, token = await ask(days(bucket, middle, last), 1, None)
        while not rows and token is not None:
            rows, token = await ask(days(bucket, middle, last), 1, token)
        if rows:
            low = max(middle, min(high, _last_moment(rows, 0) // DAY_MS))
        else:
            high = middle - 1
    return (low + 1) * DAY_MS


async def _slice(ask: Ask, bucket: int, first: int, stop: int, tally: _Tally) -> float:
    """How many records a slice has if it is throughout as it is in its middle."""
    middle = (first + stop) // 2
    seen, reached = 0, stop
    for condition in ranges(Window(edge(middle), edge(stop)), bucket):
        rows, token = await ask(condition, PAGE_ROWS, None)
        seen += tally.see(rows)
        if token is not None:
            reached = min(stop, _last_moment(rows, stop - 1) + 1)
            break
    return seen * (stop - first) / (reached - middle)


def _last_moment(rows: list[Row], otherwise: int) -> int:
    """The moment of the last row that has one."""
    return next((moment_of(str(row["RowKey"])) for row in reversed(rows) if is_row_key(str(row["RowKey"]))), otherwise)
