"""Windows of time in a bucket, as ranges of keys that the service can seek to.

Edges are what keys are compared with: counted-back milliseconds or a whole RowKey, neither edge included. A window becomes
at most three ranges: a part of its first day, whole days, a part of its last day; so no range reads past its rows.
"""

from dataclasses import dataclass
from itertools import pairwise

from shared.backends.tables.filters import Condition
from shared.backends.tables.keys import END, counted_back, day_partition, edge, moment_of, row_key
from shared.query import Aggregation, Query
from shared.timestamps import DAY_MS

_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Window:
    """The rows between two edges, the newest at `first`."""

    first: str
    last: str

    @property
    def is_empty(self) -> bool:
        return self.first >= self.last

    @property
    def start(self) -> int:
        return moment_of(self.first)

    @property
    def end(self) -> int:
        """The first moment after the window."""
        return moment_of(self.last) + (self.last != edge(moment_of(self.last)))


def window_of(asked: Query | Aggregation, *, onward: bool = True) -> Window:
    """The window that a query leaves open: its times, and where it goes `onward` the place it goes on from."""
    first = edge(0 if asked.until is None else counted_back(asked.until) + 1)
    last = edge(END if asked.since is None else counted_back(asked.since) + 1)
    if onward and isinstance(asked, Query) and asked.after is not None:
        place = row_key(asked.after)
        if asked.descending:
            first = max(first, place)
        else:
            last = min(last, place)
    return Window(first, last)


def ranges(window: Window, bucket: int) -> list[Condition]:
    """The key ranges of a window, newest first."""
    start_day, head_cut = divmod(window.start, DAY_MS)
    head_cut = head_cut or len(window.first) - len(edge(0))
    end_day, tail_cut = divmod(window.end, DAY_MS)
    tail_cut = tail_cut or window.end - moment_of(window.last)
    last_day = end_day - (window.end % DAY_MS == 0)
    above = Condition("RowKey gt @first", {"first": window.first}) if head_cut else Condition()
    below = Condition("RowKey lt @last", {"last": window.last}) if tail_cut else Condition()
    if start_day == last_day:
        return [_on_day(bucket, start_day) & above & below]
    found = [_on_day(bucket, start_day) & above] if head_cut else []
    first_whole, last_whole = start_day + bool(head_cut), last_day - bool(tail_cut)
    if first_whole <= last_whole:
        found.append(days(bucket, first_whole, last_whole))
    if tail_cut:
        found.append(_on_day(bucket, last_day) & below)
    return found


def _on_day(bucket: int, day: int) -> Condition:
    return Condition("PartitionKey eq @day", {"day": day_partition(bucket, day)})


def days(bucket: int, first: int, last: int) -> Condition:
    """The range of whole counted-back days."""
    names = {"from": day_partition(bucket, first), "to": day_partition(bucket, last)}
    return Condition("PartitionKey ge @from and PartitionKey le @to", names)


def split(window: Window, now: int, crowded: int | None = None, *, descending: bool = True) -> list[Window]:
    """Smaller windows, newest first; the window itself where it is one millisecond.

    From the present (`now`, counted back) they grow into the past, since that is where records are; where that is not
    inside, they grow from the end that is read first. Around a moment that is `crowded`, that moment is cut out.
    """
    if window.end - window.start <= 1:
        return [window]
    if crowded is not None:
        cuts = [moment for moment in (crowded, crowded + 1) if window.start < moment < window.end]
    elif window.start < now < window.end:
        cuts = [now, *_growing(now, window.end)]
    else:
        cuts = _growing(window.start, window.end)
        if not descending:
            cuts = [window.start + window.end - cut for cut in reversed(cuts)]
    cuts = cuts or [(window.start + window.end) // 2]
    edges = [window.first, *map(edge, cuts), window.last]
    return [Window(first, last) for first, last in pairwise(edges)]


def split_onward(window: Window, now: int) -> list[Window]:
    """The windows of a list that goes on oldest first: they grow from its place to the present, and the future is one more.

    Less than a day before the present it is one window, since pages that each begin anew would never catch up with a clock.
    """
    if window.start < now < window.end <= now + DAY_MS:
        return [window]
    if not window.start < now < window.end:
        return split(window, now, descending=False)
    return [Window(window.first, edge(now)), *split(Window(edge(now), window.last), now, descending=False)]


def _growing(start: int, end: int) -> list[int]:
    """Moments at growing distances: a day, four days, sixteen... or parts of a window that is not long.

    The last is not close to the end: a page that goes on from one of them would hardly move.
    """
    cuts: list[int] = []
    distance = min(DAY_MS, max(1, (end - start) // _GROWTH**3))
    while start + distance + distance // _GROWTH < end:
        cuts.append(start + distance)
        distance *= _GROWTH
    return cuts
