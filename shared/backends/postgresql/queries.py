"""The statements. Names in them come from the models, values are parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.backends.postgresql.schema import VERSIONS, indexed
from shared.backends.postgresql.tables import TABLES, Filter, Table
from shared.query import Aggregation, Query, Value

MOST_READ_WHOLE = 100
"""A page of so many records is at most 25 MB, and is cut to `max_bytes` by its reader, which is quicker for the usual page."""
_ARRAYS = {str: "text[]", int: "bigint[]", bool: "boolean[]"}


@dataclass(slots=True)
class Statement:
    """A statement as it grows, with the values of its parameters in order."""

    text: str = ""
    values: list[Any] = field(default_factory=list)

    def value(self, value: Any) -> str:
        """The placeholder of one more value."""
        self.values.append(value)
        return f"${len(self.values)}"


def insertion(table: Table) -> str:
    """Store a row unless its id is there."""
    places = ", ".join(f"${number}" for number in range(1, len(table.columns) + 1))
    return f'INSERT INTO {table.name} ({table.column_list}) VALUES ({places}) ON CONFLICT ("id") DO NOTHING'


def replacement(table: Table) -> str:
    """Replace a row of an id and an etag; the etag is the parameter after the row's values."""
    sets = ", ".join(f"{column.name} = ${number}" for number, column in enumerate(table.columns[1:], 2))
    return f'UPDATE {table.name} SET {sets} WHERE "id" = $1 AND "etag" = ${len(table.columns) + 1}'


def by_id(table: Table) -> str:
    """The row of one id."""
    return f'SELECT "record", {table.hidden_list} FROM {table.name} WHERE "id" = $1'


def by_ids(table: Table) -> str:
    """The rows of many ids."""
    return f'SELECT "record", {table.hidden_list} FROM {table.name} WHERE "id" = ANY($1::text[])'


def page(query: Query) -> Statement:
    """A row more than the page has; of a long page no record where those before it have `max_bytes` already."""
    table, statement = TABLES[query.model], Statement()
    order = _order(query)
    where = _where(statement, table, query.filters, query.since, query.until, _after(statement, query))
    shown = '"record"' if query.limit <= MOST_READ_WHOLE else _while_it_fits(statement, query, order)
    limit = _limit(statement, query.limit + 1)
    statement.text = f"SELECT {shown}, {table.hidden_list} FROM {table.name}{where} ORDER BY {order} LIMIT {limit}"
    return statement


def _while_it_fits(statement: Statement, query: Query, order: str) -> str:
    before = f'sum(octet_length("record"::text)) OVER (ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)'
    return f'CASE WHEN coalesce({before}, 0) <= {statement.value(query.max_bytes)} THEN "record" END'


def _limit(statement: Statement, rows: int) -> str:
    """A number where there is no parameter: the server then plans once.

    Beside parameters it is one too, so that the server goes on planning for their values, which may be rare or frequent.
    """
    return statement.value(rows) if statement.values else str(rows)


def count(query: Query) -> Statement:
    """How many match."""
    table, statement = TABLES[query.model], Statement()
    where = _where(statement, table, query.filters, query.since, query.until)
    statement.text = f"SELECT count(*) FROM {table.name}{where}"
    return statement


def removal(query: Query) -> Statement:
    """The rows of a bounded removal, one more than it removes, locked so that none changes before.

    They are chosen in the query's order and locked in that of their ids, as every removal does: of two with the same rows
    one waits for the other, not both. The conditions stand twice, for a row that changes while that is awaited: it has no
    etag then.
    """
    table, statement, order = TABLES[query.model], Statement(), _order(query)
    where = _where(statement, table, query.filters, query.since, query.until, _after(statement, query))
    limit = statement.value(query.limit + 1)
    among = f'{f"{where} AND" if where else " WHERE"} "id" = ANY(ARRAY(SELECT "id" FROM chosen))'
    statement.text = (
        f'WITH chosen AS MATERIALIZED (SELECT "id", "timestamp" FROM {table.name}{where} ORDER BY {order} LIMIT {limit}), '
        f'locked AS (SELECT "id", "etag" FROM {table.name}{among} ORDER BY "id" FOR UPDATE) '
        f'SELECT "id", "etag" FROM chosen LEFT JOIN locked USING ("id") ORDER BY {order}'
    )
    return statement


def removal_of_ids(table: Table, record_ids: Sequence[str]) -> Statement:
    """The rows of some ids, locked."""
    statement = Statement()
    ids = statement.value(list(record_ids))
    statement.text = f'SELECT "id", "etag" FROM {table.name} WHERE "id" = ANY({ids}::text[]) ORDER BY "id" FOR UPDATE'
    return statement


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the rows of an aggregate have what. The keys stand before `count`, the least and greatest timestamp after it.

    After a histogram's bucket stands whether the row is not the histogram's.
    """

    count: int
    sums: dict[str, int]
    histograms: dict[str, int]


def aggregate(aggregation: Aggregation) -> tuple[Statement, Columns]:
    """A row a group, and one a group and bucket of each histogram, of one look at the table."""
    table, statement = TABLES[aggregation.model], Statement()
    keys = [table.filters[name].column.name for name in aggregation.group_by]
    columns = Columns(len(keys), {}, {})
    where = _where(statement, table, aggregation.filters, aggregation.since, aggregation.until)
    shown, sets = [*keys, "count(*)", 'min("timestamp")', 'max("timestamp")'], [keys]
    for name in aggregation.sums:
        columns.sums[name] = len(shown)
        shown.append(f"sum({table.durations[name].name})")
    for name in aggregation.histograms:
        columns.histograms[name] = len(shown)
        bucket = table.buckets[name].name
        shown += [bucket, f"grouping({bucket})"]
        sets.append([*keys, bucket])
    grouped = ", ".join(f"({', '.join(names)})" for names in sets)
    rows = f"FROM {table.name}{where} GROUP BY GROUPING SETS ({grouped}) HAVING count(*) > 0"
    statement.text = f"SELECT {', '.join(shown)} {rows}"
    return statement, columns


def asks_nothing(query: Query | Aggregation) -> bool:
    """Whether a filter has no values, so that no record passes it."""
    return not all(query.filters.values())


def health() -> Statement:
    """Anything that only a database with the schema can answer."""
    return Statement(f"SELECT max(version) FROM {VERSIONS}")


def figures(table: Table, most_counted: int) -> Statement:
    """One row: how many rows up to a bound, the planner's estimate, the last change, bytes with indexes."""
    return Statement(
        f"SELECT (SELECT count(*) FROM (SELECT 1 FROM {table.name} LIMIT {most_counted + 1}) AS counted), "
        f"(SELECT reltuples::bigint FROM pg_class WHERE oid = '{table.name}'::regclass), "
        f"(SELECT max(\"updated_at\") FROM {table.name}), pg_total_relation_size('{table.name}'::regclass)"
    )


def _order(query: Query) -> str:
    direction = "DESC" if query.descending else "ASC"
    return f'"timestamp" {direction}, "id" {direction}'


def _after(statement: Statement, query: Query) -> Sequence[str]:
    if query.after is None:
        return ()
    timestamp, record_id = (statement.value(part) for part in query.after)
    return (f'("timestamp", "id") {"<" if query.descending else ">"} ({timestamp}, {record_id})',)


def _where(
    statement: Statement,
    table: Table,
    filters: Mapping[str, tuple[Value, ...]],
    since: str | None,
    until: str | None,
    others: Sequence[str] = (),
) -> str:
    conditions = [_passes(statement, table.filters[name], values) for name, values in filters.items()]
    if since is not None:
        conditions.append(f'"timestamp" >= {statement.value(since)}')
    if until is not None:
        conditions.append(f'"timestamp" < {statement.value(until)}')
    conditions += others
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _passes(statement: Statement, item: Filter, values: tuple[Value, ...]) -> str:
    name = item.column.name
    if len(values) == 1:
        value = statement.value(values[0])
        hashed = f"{indexed(item)} = hashtextextended({value}::text, 0) AND " if item.hashed else ""
        return f"{hashed}{name} = {value}"
    among = statement.value(list(values))
    cast = f"{among}::{_ARRAYS[item.kind]}"
    hashes = f"{indexed(item)} = ANY(ARRAY(SELECT hashtextextended(v, 0) FROM unnest({cast}) AS v)) AND " if item.hashed else ""
    return f"{hashes}{name} = ANY({cast})"
