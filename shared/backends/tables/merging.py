"""One list out of the buckets' scans: rows in the query's order, and where to go on from a page that ends early."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.backends.tables.keys import key_of, moment_of, timestamp_at
from shared.backends.tables.scanning import BucketScan, Row
from shared.backends.tables.windows import window_of
from shared.query import Key, Query

_LEAST_ID, _GREATEST_ID = "0", "z" * 128


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in a query's order, whether more follow, and where to go on after a page that ended early."""

    rows: list[Row]
    more: bool
    resume: Key | None = None


class Merge:
    """Takes rows from scans: at most the query's limit, and at least one before `fits` says that it is enough."""

    def __init__(self, query: Query, scans: Sequence[BucketScan], fits: Callable[[Row], bool]) -> None:
        self._query = query
        self._scans = scans
        self._fits = fits
        self._window = window_of(query)
        self._first = min if query.descending else max
        self._rows: list[Row] = []

    @property
    def calls(self) -> int:
        return sum(scan.calls for scan in self._scans)

    @property
    def hungry(self) -> list[BucketScan]:
        """The scans without which nobody knows which row comes next."""
        return [scan for scan in self._scans if not scan.rows and not scan.done]

    def take(self) -> Rows | None:
        """Take what is known to come next; the page where that ends it, None while a scan is hungry."""
        while not self.hungry:
            waiting = self._next()
            if waiting is None:
                return Rows(self._rows, more=False)
            if not self._took(waiting):
                return Rows(self._rows, more=True)
        return None

    def end_early(self) -> Rows | None:
        """The page of what has been read before the frontier of all scans; None where the next one would not move."""
        frontier = self._first(scan.mark for scan in self._scans if not scan.done)
        while (waiting := self._next()) is not None and self._is_before(waiting[0], frontier):
            if not self._took(waiting):
                return Rows(self._rows, more=True)
        resume = self._place(frontier)
        return None if resume is None else Rows(self._rows, more=True, resume=resume)

    def _next(self) -> deque[Row] | None:
        """The rows of the bucket whose row comes next."""
        waiting = [scan.rows for scan in self._scans if scan.rows]
        return self._first(waiting, key=lambda rows: str(rows[0]["RowKey"])) if waiting else None

    def _took(self, waiting: deque[Row]) -> bool:
        """Whether there was room for the first of some rows."""
        if len(self._rows) == self._query.limit or (not self._fits(waiting[0]) and self._rows):
            return False
        self._rows.append(waiting.popleft())
        return True

    def _is_before(self, row: Row, frontier: int) -> bool:
        return (moment_of(str(row["RowKey"])) < frontier) == self._query.descending

    def _place(self, frontier: int) -> Key | None:
        """The furthest place up to which everything has been read and taken; None where that is where this page began.

        The last row may stand beyond the frontier, among others of its millisecond.
        """
        places = [key_of(str(self._rows[-1]["RowKey"]))] if self._rows else []
        if self._query.descending and frontier > self._window.start:
            places.append(Key(timestamp_at(frontier - 1), _LEAST_ID))
        elif not self._query.descending and frontier < self._window.end:
            places.append(Key(timestamp_at(frontier), _GREATEST_ID))
        after = self._query.after
        furthest = self._first(places, default=None)
        return None if furthest is None or (after is not None and self._first(furthest, after) == after) else furthest
