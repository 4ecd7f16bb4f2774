"""The SQLite index of a data directory: where each record's line stands, and its filterable fields. Only a cache.

It holds no more than can be read again from the segments. Whoever changes it holds the directory's lock; readers need
none. Source for write-ahead logging with `synchronous=NORMAL` staying consistent through power loss:
https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from shared import jsontext
from shared.backends.file.memo import Memo
from shared.backends.file.schema import columns_of, connect
from shared.backends.file.scrub import Scrubber
from shared.datatypes import MAX_INTEGER
from shared.models import Record
from shared.query import Query, Stored, value_kind
from shared.timestamps import to_ms

_NUMBERS = (int, float)
_CACHE, _LARGE_CACHE = -2_048, -65_536
"""Negative numbers are KiB: https://www.sqlite.org/pragma.html#pragma_cache_size."""
_PROBE_ROWS = 1_000
"""Of several filters the one with the fewest matches leads; so many matches are counted to find it."""


class Segment(NamedTuple):
    """What the index knows of one segment.

    `generation` is new whenever offsets may have changed. `inode`, `size` (bytes) and `modified_ns` are the file's when
    it was last read; `crc` is CRC-32 of those bytes, None where they were not read since a purge. `live` counts records,
    `dead_bytes` what compaction would free, `blank_bytes` what of that is blank lines.
    `unreadable` counts lines that are no records. `least` and `greatest` bound the timestamps (ms) of its records,
    `updated` is their greatest `updatedAt` (ms), None where it is not known without asking the rows.
    """

    number: int
    model: str
    day: str
    generation: int
    inode: int = 0
    size: int = 0
    modified_ns: int = 0
    crc: int | None = 0
    live: int = 0
    dead_bytes: int = 0
    blank_bytes: int = 0
    unreadable: int = 0
    least: int | None = None
    greatest: int | None = None
    updated: int | None = None

    @property
    def name(self) -> str:
        return f"{self.model}/{self.day}.jsonl"


class Row(NamedTuple):
    """Where the winning line of an id stands. `timestamp` and `updated` (ms) are None for a tombstone."""

    id: str
    version: int
    segment: int
    offset: int
    length: int
    checksum: int
    timestamp: int | None
    updated: int | None


_SEGMENT_COLUMNS = ", ".join(Segment._fields)
_SEGMENT_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in Segment._fields[3:])
_ROW_COLUMNS = ", ".join(Row._fields)


def row_values(model: type[Record], row: Row, stored: Stored | None) -> tuple[Any, ...]:
    """A table row: the place of a line and, unless it is a tombstone, the record's fields."""
    if stored is None:
        return (*row, *_nothing(model))
    field: Callable[[str], Any] = stored.record.get
    values = [
        value if type(value := field(name)) is kind and (kind is not int or -MAX_INTEGER <= value <= MAX_INTEGER) else None
        for name, kind in _kinds(model)
    ]
    numbers: list[Any] = [*map(field, model.durations), *map(stored.hidden.buckets.get, model.durations)]
    values += [value if type(value) in _NUMBERS and -MAX_INTEGER <= value <= MAX_INTEGER else None for value in numbers]
    return (*row, *values)


@lru_cache
def _kinds(model: type[Record]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value_kind(model, name)) for name in model.filterable)


@lru_cache
def _nothing(model: type[Record]) -> tuple[None, ...]:
    return (None,) * len(columns_of(model))


class Index:
    """One index file. Each thread has a connection of its own; they close when the last reader has let go of the index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = path.stat().st_ino
        self.memo = Memo()
        self.scrubber = Scrubber(path)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._opening = threading.Lock()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the calling thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self.path)
            with self._opening:
                self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._opening:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()
            self.scrubber.close()

    def __del__(self) -> None:
        if hasattr(self, "_connections"):
            self.close()

    def is_current(self) -> bool:
        """Whether the file is still the one at its path."""
        try:
            return self.path.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    @contextmanager
    def transaction(self, *, large: bool = False) -> Iterator[sqlite3.Connection]:
        """A write transaction, rolled back when the block raises; a large one has memory for the pages it changes."""
        connection = self.connection
        if large:
            connection.execute(f"PRAGMA cache_size = {_LARGE_CACHE}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            if large:
                connection.execute(f"PRAGMA cache_size = {_CACHE}")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that the calling thread reads within the block is of one moment."""
        connection = self.connection
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def segments(self, model: str | None = None) -> list[Segment]:
        """All segments, or a model's."""
        where, parameters = ("", ()) if model is None else (" WHERE model = ?", (model,))
        rows = self.connection.execute(f"SELECT {_SEGMENT_COLUMNS} FROM segments{where}", parameters)
        return [Segment(*row) for row in rows]

    def count_segments(self, model: str) -> int:
        """How many segments a model has."""
        [number] = self.connection.execute("SELECT COUNT(*) FROM segments WHERE model = ?", (model,)).fetchone()
        return int(number)

    def segment(self, model: str, day: str) -> Segment | None:
        """One segment by its place."""
        row = self.connection.execute(
            f"SELECT {_SEGMENT_COLUMNS} FROM segments WHERE model = ? AND day = ?", (model, day)
        ).fetchone()
        return None if row is None else Segment(*row)

    def segment_by_number(self, number: int) -> Segment | None:
        """One segment by its number."""
        row = self.connection.execute(f"SELECT {_SEGMENT_COLUMNS} FROM segments WHERE number = ?", (number,)).fetchone()
        return None if row is None else Segment(*row)

    def row(self, model: type[Record], record_id: str) -> Row | None:
        """The winning line of an id, tombstones included."""
        row = self.connection.execute(f'SELECT {_ROW_COLUMNS} FROM "{model.__name__}" WHERE id = ?', (record_id,)).fetchone()
        return None if row is None else Row(*row)

    def rows_by_id(self, model: type[Record], record_ids: Sequence[str]) -> dict[str, Row]:
        """The winning lines of many ids, tombstones included."""
        if len(record_ids) == 1:
            row = self.row(model, record_ids[0])
            return {} if row is None else {row.id: row}
        sql = f'SELECT {_ROW_COLUMNS} FROM "{model.__name__}" WHERE id IN (SELECT value FROM json_each(?))'
        rows = self.connection.execute(sql, (jsontext.dumps(record_ids),))
        return {row[0]: Row(*row) for row in rows}

    def rows(self, query: Query, limit: int) -> list[Row]:
        """The winning lines that match a query, in its order."""
        where, parameters = conditions(query, leading=self._leading(query))
        direction = "DESC" if query.descending else "ASC"
        sql = (
            f'SELECT {_ROW_COLUMNS} FROM "{query.model.__name__}" WHERE {where} '
            f"ORDER BY timestamp {direction}, id {direction} LIMIT ?"
        )
        return [Row(*row) for row in self.connection.execute(sql, (*parameters, limit))]

    def count(self, query: Query) -> int:
        """How many records match filters and window."""
        where, parameters = conditions(query, paged=False, leading=self._leading(query))
        [number] = self.connection.execute(
            f'SELECT COUNT(*) FROM "{query.model.__name__}" WHERE {where}', parameters
        ).fetchone()
        return int(number)

    def _leading(self, query: Query) -> str | None:
        """The filter whose index is to be used, where there are several; SQLite would take any."""
        if len(query.filters) < 2:
            return None
        fewest, leading = _PROBE_ROWS + 1, None
        for name, values in query.filters.items():
            where, parameters = conditions(replace(query, filters={name: values}), paged=False)
            sql = f'SELECT COUNT(*) FROM (SELECT 1 FROM "{query.model.__name__}" WHERE {where} LIMIT ?)'
            [found] = self.connection.execute(sql, (*parameters, fewest)).fetchone()
            if leading is None or found < fewest:
                fewest, leading = found, name
        return leading

    def other_segments(self, model: str, record_ids: Iterable[str]) -> set[int]:
        """The numbers of all segments that hold lines of ids that have lines in more than one."""
        sql = "SELECT segment FROM spread WHERE model = ? AND id = ?"
        return {number for record_id in record_ids for (number,) in self.connection.execute(sql, (model, record_id))}

    def segments_that_share_ids(self, model: str) -> set[int]:
        """The numbers of the segments that hold a line of an id that another holds a line of too."""
        return {number for (number,) in self.connection.execute("SELECT segment FROM spread WHERE model = ?", (model,))}

    def last_update(self, segment: Segment) -> int | None:
        """The greatest `updatedAt` (ms) of a segment's records."""
        if segment.updated is not None or not segment.live:
            return segment.updated if segment.live else None
        sql = f'SELECT MAX(updated) FROM "{segment.model}" WHERE timestamp BETWEEN ? AND ? AND segment = ?'
        [updated] = self.connection.execute(sql, (segment.least, segment.greatest, segment.number)).fetchone()
        return None if updated is None else int(updated)

    def summary(self, segment: Segment, shape: str) -> str | None:
        """What was kept under the shape since the segment last changed."""
        sql = "SELECT content FROM summaries WHERE segment = ? AND shape = ?"
        row = self.connection.execute(sql, (segment.number, shape)).fetchone()
        return None if row is None else str(row[0])

    def keep_summaries(self, shape: str, summaries: Mapping[Segment, str]) -> None:
        """Keep what segments come to, of those that have not changed meanwhile; under the directory's lock."""
        with self.transaction() as connection:
            for segment, content in summaries.items():
                if self.segment_by_number(segment.number) == segment:
                    connection.execute("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?)", (segment.number, shape, content))

    def fold_log(self) -> None:
        """Fold the write-ahead log into the file, as far as readers allow."""
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def empty_log(self) -> bool:
        """Fold the write-ahead log into the file and cut it to nothing; False where another reader is in the way."""
        [busy, _, _] = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def conditions(query: Query, *, paged: bool = True, leading: str | None = None) -> tuple[str, list[Any]]:
    """The WHERE clause of a query and its parameters. Where a filter is `leading`, no other's index is used."""
    clauses = ["timestamp IS NOT NULL"]
    parameters: list[Any] = []
    for name, values in query.filters.items():
        column = f'"{name}"' if leading in (None, name) else f'+"{name}"'
        clauses.append(f"{column} IN ({', '.join('?' * len(values))})" if len(values) != 1 else f"{column} = ?")
        parameters += values
    after = query.after.timestamp if paged and query.after is not None else None
    if query.since is not None and (after is None or query.descending or after < query.since):
        clauses.append("timestamp >= ?")
        parameters.append(to_ms(query.since))
    if query.until is not None and (after is None or not query.descending or after >= query.until):
        clauses.append("timestamp < ?")
        parameters.append(to_ms(query.until))
    if paged and query.after is not None:
        clauses.append(f"(timestamp, id) {'<' if query.descending else '>'} (?, ?)")
        parameters += [to_ms(query.after.timestamp), query.after.id]
    return " AND ".join(clauses), parameters


def put_rows(connection: sqlite3.Connection, model: type[Record], values: Iterable[Sequence[Any]]) -> None:
    """Add lines; of each id the greatest version stays, on a tie the one of the later day, then the later line."""
    connection.executemany(_upsert_sql(model), values)


@lru_cache
def _upsert_sql(model: type[Record]) -> str:
    names = [*_ROW_COLUMNS.split(", "), *(f'"{name}"' for name in columns_of(model))]
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    day = "(SELECT day FROM segments WHERE number = {}.segment)"
    return (
        f'INSERT INTO "{model.__name__}" ({", ".join(names)}) VALUES ({", ".join("?" * len(names))}) '
        f"ON CONFLICT (id) DO UPDATE SET {updates} WHERE excluded.version > version OR (excluded.version = version AND "
        f"CASE WHEN excluded.segment = segment THEN excluded.offset > offset "
        f"ELSE {day.format('excluded')} > {day.format(model.__name__)} END)"
    )


def save_segment(connection: sqlite3.Connection, segment: Segment) -> None:
    """Write what is known of a segment."""
    connection.execute(
        f"INSERT INTO segments ({_SEGMENT_COLUMNS}) VALUES ({', '.join('?' * len(Segment._fields))}) "
        f"ON CONFLICT (number) DO UPDATE SET {_SEGMENT_UPDATES}",
        segment,
    )
