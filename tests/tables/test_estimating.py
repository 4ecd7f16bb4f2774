"""Counts of large tables: flat in calls, and near the truth whatever the records' spread over time."""

import random
from collections.abc import Callable

import pytest

from shared.backends.tables.entities import Entity, write_fence
from shared.backends.tables.estimating import model_stats
from shared.backends.tables.keys import BUCKETS, Place, counted_back, edge
from shared.models import SystemEventLog
from shared.timestamps import DAY_MS
from tests.tables.test_scanning import SmallCalls

NEWEST = counted_back("2026-11-22T00:00:00.000Z")
EACH = 10_000


def entities(age: Callable[[float], float], each: int = EACH) -> list[Entity]:
    """So many records in each bucket over a year; `age` spreads them, from 0 to 1."""
    dice = random.Random(7)
    found: list[Entity] = []
    for bucket in range(BUCKETS):
        for number in range(each):
            moment = NEWEST + int(age(dice.random()) * 365 * DAY_MS)
            found.append({
                "PartitionKey": f"{bucket}_{moment // DAY_MS:07d}",
                "RowKey": f"{edge(moment)}_{number:06d}~",
                "updatedAt": "2026-11-22T00:00:00.000Z",
            })  # fmt: skip
    return found


@pytest.mark.parametrize("power", [0.5, 1, 2, 4], ids=["shrinking", "even", "growing", "steep"])
async def test_a_large_table_is_estimated(power: float) -> None:
    """The count says that it is approximate, is within a quarter, and takes a bounded number of calls."""
    reader = SmallCalls(entities(lambda part: part**power), 100, 400)
    stats = await model_stats(reader, SystemEventLog)
    assert stats.approximate
    assert stats.count == pytest.approx(BUCKETS * EACH, rel=0.25)
    assert stats.last_modified == "2026-11-22T00:00:00.000Z"
    assert reader.calls <= 60 * BUCKETS


async def test_a_small_table_is_counted() -> None:
    """Where a few calls reach the end, the count is exact; what is no record does not count."""
    rows = [*entities(lambda part: part, each=400), write_fence(Place("0_2929000", "253065600000000_a~"), "w")]
    stats = await model_stats(SmallCalls(rows, 100, 400), SystemEventLog)
    assert (stats.count, stats.approximate) == (BUCKETS * 400, False)


async def test_records_of_one_moment() -> None:
    """Any spread ends with a figure, all records on one millisecond too."""
    reader = SmallCalls(entities(lambda _: 0.5, each=1_000), 10, 400)
    stats = await model_stats(reader, SystemEventLog)
    assert stats.approximate
    assert stats.count > 0
