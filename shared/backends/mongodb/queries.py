"""Filters, sort orders and pipelines. Names come from the models, values go in as BSON values only."""

from typing import Any

from shared.backends.mongodb.documents import OWN
from shared.query import Aggregation, Key, Query

Filter = dict[str, Any]
Stage = dict[str, Any]
Order = list[tuple[str, int]]

NEWEST_FIRST: Order = [("timestamp", -1), ("_id", -1)]
OLDEST_FIRST: Order = [("timestamp", 1), ("_id", 1)]


def asks_nothing(asked: Query | Aggregation) -> bool:
    """Whether no record can match: a filter without values, or an empty window."""
    empty = asked.since is not None and asked.until is not None and asked.since >= asked.until
    return empty or any(not values for values in asked.filters.values())


def matching(asked: Query | Aggregation) -> Filter:
    """The documents that pass filters and window. Values of each field keep their types: true is not 1."""
    made: Filter = {}
    for name, values in asked.filters.items():
        distinct = list(dict.fromkeys(values))
        made[name] = distinct[0] if len(distinct) == 1 else {"$in": distinct}
    window: Filter = {}
    if asked.since is not None:
        window["$gte"] = asked.since
    if asked.until is not None:
        window["$lt"] = asked.until
    if window:
        made["timestamp"] = window
    return made


def following(query: Query, after: Key | None) -> Filter:
    """The documents of a list from a place on. The outer comparison lets the index seek, the inner one settles ties."""
    made = matching(query)
    if after is None:
        return made
    sign = "$lt" if query.descending else "$gt"
    window: Filter = made.setdefault("timestamp", {})
    window[f"{sign}e"] = max(after.timestamp, window.get(f"{sign}e", after.timestamp))  # the other one is `since`
    made["$or"] = [{"timestamp": {sign: after.timestamp}}, {"_id": {sign: after.id}}]
    return made


def order(query: Query) -> Order:
    return NEWEST_FIRST if query.descending else OLDEST_FIRST


def bucket_path(histogram: str) -> str:
    return f"{OWN}.buckets.{histogram}"


def group_pipeline(aggregation: Aggregation) -> list[Stage]:
    """Groups with counts, bounds and sums."""
    group: Stage = {"_id": _key(aggregation), "n": {"$sum": 1}, "lo": {"$min": "$timestamp"}, "hi": {"$max": "$timestamp"}}
    group |= {f"s{number}": {"$sum": f"${name}"} for number, name in enumerate(aggregation.sums)}
    return [{"$match": matching(aggregation)}, {"$group": group}]


def histogram_pipeline(aggregation: Aggregation, histogram: str) -> list[Stage]:
    """The bucket counts of one histogram, by group."""
    path = bucket_path(histogram)
    key = {**(_key(aggregation) or {}), "b": f"${path}"}
    return [
        {"$match": {**matching(aggregation), path: {"$exists": True}}},
        {"$group": {"_id": key, "n": {"$sum": 1}}},
    ]


def _key(aggregation: Aggregation) -> Stage | None:
    return {f"k{number}": f"${name}" for number, name in enumerate(aggregation.group_by)} or None


def projection(aggregation: Aggregation) -> dict[str, int]:
    """What an aggregate needs of each document, to be folded here."""
    names = ("timestamp", *aggregation.group_by, *aggregation.sums, *map(bucket_path, aggregation.histograms))
    return {"_id": 0, **dict.fromkeys(names, 1)}
