"""A bucket read in order, one call at a time, in either direction.

Tables only read upwards by key, newest first. Oldest first, the keys of a window are read whole and the last of them
fetched, a few at first; a window with too many is split, and its oldest part taken first, until it fits.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shared.backends.tables.entities import MARK
from shared.backends.tables.filters import Condition, Filters
from shared.backends.tables.keys import is_row_key, moment_of
from shared.backends.tables.windows import Window, ranges, split, split_onward
from shared.timing import Clock

PAGE_ROWS = 1_000
"""The most that the service gives in one call; it may look at far more, for five seconds, and give none."""
_PATIENCE = 8
"""Calls that a window may take without an end in sight, before it is split to have a place to go on from."""
_PATIENCE_SECONDS = 4.0
_MANY_ROWS = 2 * PAGE_ROWS
"""Rows of a window that are read oldest first without a split."""
_FIRST_FETCHED = 16
"""Whole rows that are fetched first oldest first, then four times as many: a few long ones fill a page."""

Row = Mapping[str, Any]
Ask = Callable[[Condition, int, Any], Awaitable[tuple[list[Row], Any]]]
"""Rows of a condition, at most so many, from a continuation on; and the continuation of the next call, or None."""


class BucketScan:
    """The rows of a window of one bucket.

    `ask` gives whole rows, `scout` their keys. `rows` are those read and not yet taken. `mark` says how far the bucket has
    been read, in counted-back milliseconds: newest first everything before it, oldest first everything from it on. `done`
    when nothing follows `rows`. A scan that goes `onward` oldest first begins with small windows, since the last page may have
    spent all its calls on finding out that larger ones are too large.
    """

    def __init__(
        self,
        ask: Ask,
        scout: Ask,
        filters: Filters,
        bucket: int,
        window: Window,
        *,
        descending: bool,
        onward: bool,
        wanted: int,
        now: int,
        clock: Clock,
    ) -> None:
        self.rows: deque[Row] = deque()
        self.done = window.is_empty
        self.mark = window.start if descending else window.end
        self.calls = 0
        self._ask = ask
        self._scout = scout
        self._filters = filters
        self._bucket = bucket
        self._descending = descending
        self._wanted = wanted
        self._now = now
        self._clock = clock
        self._newest = window.start
        self._windows = split_onward(window, now) if onward and not descending and not self.done else [window]
        self._open: list[Condition] = []
        self._token: Any = None
        self._patience = _PATIENCE
        self._patient_until = 0.0
        self._tail: deque[Row] = deque()
        self._fetched = _FIRST_FETCHED

    async def advance(self, wanted: int) -> None:
        """Read on by one call newest first, by a window or a part of one oldest first; `wanted` rows are worth asking for."""
        if self._descending:
            await self._forward(wanted)
        else:
            await self._backward()
        self.done = not self._windows and not self._tail

    async def _read(self, wanted: int, ask: Ask) -> list[Row]:
        rows, self._token = await ask(self._open[0] & self._filters.pushed, min(wanted, PAGE_ROWS), self._token)
        self.calls += 1
        if self._token is None:
            del self._open[0]
        return [row for row in rows if is_row_key(str(row["RowKey"]))]

    def _kept(self, rows: list[Row]) -> list[Row]:
        """Without claims and fences, and what the service did not compare."""
        return [row for row in rows if row.get(MARK) is not None and self._filters.passes(row)]

    def _begin(self) -> Window:
        window = self._windows[-1]
        if not self._open:
            self._open = ranges(window, self._bucket)
            self._be_patient()
        return window

    def _be_patient(self) -> None:
        self._patience = _PATIENCE
        self._patient_until = self._clock() + _PATIENCE_SECONDS

    @property
    def _is_impatient(self) -> bool:
        return self._patience <= 0 or self._clock() >= self._patient_until

    async def _forward(self, wanted: int) -> None:
        window = self._begin()
        rows = await self._read(wanted, self._ask)
        self.rows.extend(self._kept(rows))
        if rows:
            window = self._windows[-1] = Window(str(rows[-1]["RowKey"]), window.last)
            self.mark = window.start
        if not self._open:
            self._windows.pop()
            self.mark = window.end
            return
        self._patience -= 1
        if rows:
            self._be_patient()
        if self._is_impatient and window.end - window.start > 1:
            self._windows[-1:] = reversed(split(window, self._now))
            self._open, self._token = [], None

    async def _backward(self) -> None:
        """Find the last rows of the oldest window by their keys, then fetch them part by part."""
        if not self._tail:
            await self._look()
        if not self._tail:
            return
        part = deque(reversed([self._tail.pop() for _ in range(min(len(self._tail), self._fetched))]))
        self._fetched *= 4
        self.rows.extend(reversed(await self._whole(part)))
        self.mark = moment_of(str(self._tail[-1]["RowKey"])) + 1 if self._tail else self._reached

    @property
    def _reached(self) -> int:
        """Where the windows that are left end."""
        return self._windows[-1].end if self._windows else self._newest

    async def _look(self) -> None:
        """Read the keys of the oldest window, or split it."""
        window = self._begin()
        is_narrow = window.end - window.start <= 1
        tail: deque[Row] = deque(maxlen=self._wanted)
        seen, found, first = 0, 0, None
        while self._open:
            rows = await self._read(PAGE_ROWS, self._scout)
            kept = self._kept(rows)
            tail.extend(kept)
            seen += len(rows)
            found += len(kept)
            first = first or next(iter(rows), None)
            self._patience -= 1
            if self._open and not is_narrow and (seen >= _MANY_ROWS or self._is_impatient):
                self._windows[-1:] = split(window, self._now, _crowded(first, rows), descending=False)
                self._open, self._token = [], None
                return
        self._windows.pop()
        self._tail = tail
        if found > len(tail):  # the rest is looked at again, where some of these are deleted before they are fetched
            self._windows.append(Window(window.first, str(tail[0]["RowKey"])))
        elif not tail:
            self.mark = self._reached

    async def _whole(self, part: deque[Row]) -> list[Row]:
        """The rows that a scout has seen, with all that is asked for."""
        if self._scout is self._ask:
            return list(part)
        first, last = str(part[0]["RowKey"]), str(part[-1]["RowKey"])
        self._open = ranges(Window(first[:-1], last + "~"), self._bucket)
        found: list[Row] = []
        while self._open:
            found += self._kept(await self._read(PAGE_ROWS, self._ask))
        return [row for row in found if first <= str(row["RowKey"]) <= last]


def _crowded(first: Row | None, rows: list[Row]) -> int | None:
    """The moment that all rows of a window so far are of, if they are of one."""
    if first is None or not rows:
        return None
    moments = {moment_of(str(first["RowKey"])), moment_of(str(rows[-1]["RowKey"]))}
    return moments.pop() if len(moments) == 1 else None
