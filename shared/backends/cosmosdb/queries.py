"""Query text and parameters. Names come from the models, values go in as parameters only."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from shared.backends.cosmosdb.definitions import MAIN_FILTERS
from shared.query import Aggregation, Key, Query, Value
from shared.timestamps import shift

_SLICE_DAYS = (1, 30)


@dataclass(frozen=True, slots=True)
class Statement:
    """A query as the driver takes it."""

    text: str
    parameters: list[dict[str, Any]]


@dataclass(slots=True)
class Conditions:
    """The WHERE clause that filters and a window make. Every value becomes a parameter."""

    terms: list[str] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)

    def value(self, value: Any) -> str:
        """The name of a parameter with this value."""
        name = f"@p{len(self.parameters)}"
        self.parameters.append({"name": name, "value": value})
        return name

    def among(self, path: str, values: tuple[Value, ...] | list[str]) -> str:
        """That a property has one of some values."""
        if len(values) == 1:
            return f"{path} = {self.value(values[0])}"
        return f"{path} IN ({', '.join(map(self.value, values))})"

    def statement(self, select: str, rest: str = "") -> Statement:
        where = f" WHERE {' AND '.join(self.terms)}" if self.terms else ""
        return Statement(f"SELECT {select} FROM c{where}{rest}", self.parameters)


def conditions(asked: Query | Aggregation) -> Conditions:
    """The filters and the window of a query."""
    made = Conditions()
    for name, values in asked.filters.items():
        made.terms.append(made.among(f"c.{name}", tuple(dict.fromkeys(values))))
    if asked.since is not None:
        made.terms.append(f"c.timestamp >= {made.value(asked.since)}")
    if asked.until is not None:
        made.terms.append(f"c.timestamp < {made.value(asked.until)}")
    return made


def asks_nothing(asked: Query | Aggregation) -> bool:
    """Whether no record can match: a filter without values, or an empty window."""
    empty = asked.since is not None and asked.until is not None and asked.since >= asked.until
    return empty or any(not values for values in asked.filters.values())


def page_statement(query: Query, after: Key | None, columns: str, top: int) -> Statement:
    """The first `top` rows of a list from `after` on, in its order.

    A list without bounds asks for a timestamp all the same: ORDER BY also gives the documents of others that have none.
    """
    made = conditions(query)
    if after is not None:
        made.terms.append(_beyond(made, after, descending=query.descending))
    elif query.since is None and query.until is None:
        made.terms.append(f"c.timestamp >= {made.value('')}")
    return made.statement(f"TOP {top} {columns}", f" ORDER BY {_order(query)}")


def _beyond(made: Conditions, after: Key, *, descending: bool) -> str:
    """The rows after a place; the outer comparison lets the index seek."""
    sign = "<" if descending else ">"
    time, record_id = made.value(after.timestamp), made.value(after.id)
    return f"c.timestamp {sign}= {time} AND (c.timestamp {sign} {time} OR c.id {sign} {record_id})"


def _order(query: Query) -> str:
    direction, reverse = ("DESC", "ASC") if query.descending else ("ASC", "DESC")
    main = next((name for name, values in query.filters.items() if name in MAIN_FILTERS and len(set(values)) == 1), None)
    prefix = "" if main is None else f"c.{main} {reverse}, "
    return f"{prefix}c.timestamp {direction}, c.id {direction}"


def slices(query: Query, now: str, partitions: int) -> Iterator[Query]:
    """A newest-first list in windows that grow into the past, so that old partitions are not asked for rows in vain.

    One partition is asked once: there its order by the index alone ends the query.
    """
    if partitions == 1 or not query.descending:
        yield query
        return
    anchor = min(moment for moment in (now, query.until, query.after and query.after.timestamp) if moment)
    upper = query.until
    for days in _SLICE_DAYS:
        lower = shift(anchor, days=-days)
        if query.since is not None and lower <= query.since:
            break
        yield replace(query, since=lower, until=upper)
        upper = lower
    yield replace(query, until=upper)


def group_statement(aggregation: Aggregation, key: str, histogram: str | None) -> Statement:
    """Groups inside one logical partition: counts, bounds and sums, or the bucket counts of one histogram."""
    made = conditions(aggregation)
    made.terms.append(f"c.pk = {made.value(key)}")
    paths = [f"c.{name}" for name in aggregation.group_by]
    columns = [f"{path} AS k{number}" for number, path in enumerate(paths)]
    if histogram is None:
        columns += ["COUNT(1) AS n", "MIN(c.timestamp) AS lo", "MAX(c.timestamp) AS hi"]
        columns += [f"SUM(c.{name}) AS s{number}" for number, name in enumerate(aggregation.sums)]
    else:
        bucket = f"c.logogen.buckets.{histogram}"
        made.terms.append(f"IS_DEFINED({bucket})")
        paths.append(bucket)
        columns += [f"{bucket} AS b", "COUNT(1) AS n"]
    return made.statement(", ".join(columns), f" GROUP BY {', '.join(paths)}" if paths else "")


def projection_statement(aggregation: Aggregation, excluded_keys: list[str]) -> Statement:
    """What an aggregate needs of each record outside some logical partitions, to be folded here."""
    made = conditions(aggregation)
    if excluded_keys:
        made.terms.append(f"NOT ({made.among('c.pk', excluded_keys)})")
    columns = ["c.timestamp AS t"]
    columns += [f"c.{name} AS k{number}" for number, name in enumerate(aggregation.group_by)]
    columns += [f"c.{name} AS s{number}" for number, name in enumerate(aggregation.sums)]
    columns += [f"c.logogen.buckets.{name} AS h{number}" for number, name in enumerate(aggregation.histograms)]
    return made.statement(", ".join(columns))


def last_change_statement() -> Statement:
    """When the newest change of a container was; text only, whatever the documents of others hold there."""
    made = Conditions()
    made.terms.append(f"c.updatedAt >= {made.value('')}")
    return made.statement("TOP 1 VALUE c.updatedAt", " ORDER BY c.updatedAt DESC")


def count_statement(query: Query) -> Statement:
    made = conditions(query)
    return made.statement("VALUE COUNT(1)")


def among_ids_statement(key: str, ids: list[str], columns: str) -> Statement:
    """Those of some ids that a logical partition has."""
    made = Conditions()
    made.terms += [f"c.pk = {made.value(key)}", made.among("c.id", ids)]
    return made.statement(columns)
