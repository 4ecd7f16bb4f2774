"""What queries and aggregations mean, computed the plain way over a list of records."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from shared.query import Aggregation, Group, Query, Stored, Value


def matches(stored: Stored, asked: Query | Aggregation) -> bool:
    """Whether a record passes the filters and lies in the window."""
    return (
        all(stored.record.get(name) in values for name, values in asked.filters.items())
        and (asked.since is None or stored.timestamp >= asked.since)
        and (asked.until is None or stored.timestamp < asked.until)
    )


def select(records: Iterable[Stored], query: Query) -> list[Stored]:
    """Every record that a query gives from `after` on, in its order."""
    found = sorted(
        (stored for stored in records if matches(stored, query)), key=lambda stored: stored.key, reverse=query.descending
    )
    after = query.after
    if after is None:
        return found
    return [stored for stored in found if (stored.key < after if query.descending else stored.key > after)]


def aggregate(records: Iterable[Stored], aggregation: Aggregation) -> list[Group]:
    """The groups of an aggregation."""
    members: defaultdict[tuple[Value | None, ...], list[Stored]] = defaultdict(list)
    for stored in records:
        if matches(stored, aggregation):
            members[tuple(stored.record.get(name) for name in aggregation.group_by)].append(stored)
    return [_group(key, group, aggregation) for key, group in members.items()]


def _group(key: tuple[Value | None, ...], members: Sequence[Stored], aggregation: Aggregation) -> Group:
    return Group(
        key,
        len(members),
        min(stored.timestamp for stored in members),
        max(stored.timestamp for stored in members),
        {name: sum(stored.record.get(name, 0) for stored in members) for name in aggregation.sums},
        {
            name: dict(Counter(stored.hidden.buckets[name] for stored in members if name in stored.hidden.buckets))
            for name in aggregation.histograms
        },
    )


def in_order(groups: Iterable[Group]) -> list[Group]:
    """The groups in an order of their own, for comparing; sums to the microsecond, since addition has no fixed order."""
    plain = [
        Group(
            group.key,
            group.count,
            group.least,
            group.greatest,
            {name: round(total, 3) for name, total in group.sums.items()},
            {name: dict(buckets) for name, buckets in group.histograms.items()},
        )
        for group in groups
    ]
    return sorted(plain, key=lambda group: [(type(value).__name__, str(value)) for value in group.key])
