"""Windows of time as key ranges: they hold exactly the window's rows, in order, and so do the parts of a split window."""

import operator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.backends.tables.filters import Condition
from shared.backends.tables.keys import BUCKETS, END, counted_back, edge, record_place
from shared.backends.tables.windows import Window, ranges, split, split_onward, window_of
from shared.models import SystemEventLog
from shared.query import Key, Query
from shared.timestamps import DAY_MS, from_ms, to_ms
from tests.contract.reference import select
from tests.support.records import make

NOON = to_ms("2024-01-01T00:00:00.000Z")
near = st.sampled_from([-DAY_MS, 0, DAY_MS, 2 * DAY_MS]).flatmap(lambda day: st.integers(-2, 2).map(lambda ms: NOON + day + ms))
times = near.map(from_ms)
ids = st.sampled_from(["a", "ab", "b", "Z", "0"])
queries = st.builds(
    Query,
    st.just(SystemEventLog),
    since=st.none() | times,
    until=st.none() | times,
    after=st.none() | st.builds(Key, times, ids),
    descending=st.booleans(),
)
_COMPARE = {"eq": operator.eq, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


def holds(condition: Condition, partition: str, row: str) -> bool:
    """Whether an entity of such keys passes a condition, as the service reads it."""
    keys = {"PartitionKey": partition, "RowKey": row}
    words = [part.split(" ") for part in condition.text.split(" and ")]
    return all(_COMPARE[sign](keys[name], condition.parameters[value[1:]]) for name, sign, value in words)


def found(windows: list[Window], keys: list[Key]) -> list[Key]:
    """The keys that the ranges of windows hold, range by range and bucket by bucket."""
    places = {record_place(key): key for key in keys}
    return [
        places[place]
        for bucket in range(BUCKETS)
        for window in windows
        if not window.is_empty
        for condition in ranges(window, bucket)
        for place in sorted(places)
        if holds(condition, place.partition, place.row)
    ]


@given(queries, st.lists(st.builds(Key, times, ids), max_size=30, unique_by=lambda key: key.id + key.timestamp))
def test_ranges_hold_a_query_s_window(query: Query, keys: list[Key]) -> None:
    """Every row of the window is in one range, and no other row in any."""
    records = [make(SystemEventLog, id=key.id, timestamp=key.timestamp) for key in keys]
    expected = [stored.key for stored in select(records, query)]
    assert sorted(found([window_of(query)], keys)) == sorted(expected)


@given(queries, st.lists(st.builds(Key, times, ids), max_size=30, unique_by=lambda key: key.id + key.timestamp), near)
def test_parts_of_a_split_window(query: Query, keys: list[Key], now: int) -> None:
    """A split window's parts hold the same rows, newest first, and are smaller unless it is one millisecond."""
    window = window_of(query)
    if window.is_empty:
        return
    parts = split(window, counted_back(from_ms(now)))
    assert sorted(found(parts, keys)) == sorted(found([window], keys))
    assert all(one.last == next_one.first for one, next_one in pairwise(parts))
    assert len(parts) > 1 or window.end - window.start <= 1


def test_windows_grow_from_where_a_list_goes_on() -> None:
    """A long time is cut near the end that is read first, so that a page which goes on there moves."""
    window = Window(edge(counted_back(from_ms(NOON))), edge(END))
    lengths = [part.end - part.start for part in split(window, now=0)]
    assert lengths[:3] == [DAY_MS, 3 * DAY_MS, 12 * DAY_MS]
    lengths = [part.end - part.start for part in split(window, now=0, descending=False)]
    assert lengths[-3:] == [12 * DAY_MS, 3 * DAY_MS, DAY_MS]


def test_windows_of_a_list_that_goes_on_oldest_first() -> None:
    """They grow from its place to the present, and what is past that is one; on the last day all is one."""
    window = window_of(Query(SystemEventLog, after=Key(from_ms(NOON), "mine"), descending=False))
    parts = split_onward(window, counted_back(from_ms(NOON + 100 * DAY_MS)))
    assert (parts[0].first, parts[-1].last) == (window.first, window.last)
    assert all(one.last == next_one.first for one, next_one in pairwise(parts))
    lengths = [part.end - part.start for part in parts]
    assert lengths[-3:] == [12 * DAY_MS, 3 * DAY_MS, DAY_MS]
    assert lengths[0] > sum(lengths[1:])
    assert split_onward(window, counted_back(from_ms(NOON + DAY_MS // 2))) == [window]


def test_all_time_is_one_range() -> None:
    """A list without a window asks a bucket for one range of partitions."""
    whole = window_of(Query(SystemEventLog))
    assert (whole.start, whole.end) == (0, END)
    [condition] = ranges(whole, 3)
    assert condition.parameters == {"from": "3_0000000", "to": "3_2932896"}
