"""One group of writes under the directory's lock: decided in the order they came, appended, synced once, then indexed.

Nothing of a group is readable, and nothing is answered, before its sync.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.backends.base import Outcome
from shared.backends.file import lines
from shared.backends.file.catchup import catch_up, new_generation, write_all
from shared.backends.file.index import Index, Row, Segment, put_rows, row_values, save_segment
from shared.backends.file.store import Store
from shared.errors import InvalidError, NotFoundError, PreconditionFailedError, UnavailableError
from shared.models import Record
from shared.query import Query, Stored
from shared.timestamps import day_of, to_ms

SEGMENTS_AT_ONCE = 64
"""How many segments are open for appending at once."""

Opened = Callable[[type[Record], str], int]


class _Current(NamedTuple):
    """The winning line of an id: in the index, or pending in this group with its record (None for a tombstone)."""

    version: int
    day: str
    length: int
    checksum: int
    live: bool
    updated: int | None = None
    pending: Stored | None = None


class _Line(NamedTuple):
    """A line to be appended, and the line it makes dead. `updated` is in ms."""

    id: str
    version: int
    data: bytes
    checksum: int
    stored: Stored | None
    replaces: _Current | None
    updated: int | None = None


@dataclass(slots=True)
class _Append:
    """What is appended to one segment."""

    model: type[Record]
    day: str
    lines: list[_Line] = field(default_factory=list)
    segment: Segment | None = None
    status: os.stat_result | None = None


class Group:
    """Decides writes as the holder of the lock sees the records, then makes them last."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._directory = store.directory
        self._index = index
        self._current: dict[tuple[str, str], _Current | None] = {}
        self._appends: dict[tuple[str, str], _Append] = {}
        self._fresh: set[tuple[str, str]] = set()
        self._segments: dict[tuple[str, str], Segment | None] = {}

    def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """Append the records whose ids are free."""
        for day in {day_of(stored.timestamp) for stored in records}:
            self._freshen(model, day)
        self._fetch(model, [stored.id for stored in records])
        return [self._create(model, stored) for stored in records]

    def _create(self, model: type[Record], stored: Stored) -> Outcome:
        current = self._current[model.__name__, stored.id]
        if current is not None and current.live:
            return Outcome(self._read(model, stored.id, current), existed=True)
        try:
            return Outcome(self._append(model, day_of(stored.timestamp), stored, current))
        except InvalidError as error:
            return Outcome(error=error)

    def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        """Append the next version of a record, in the segment of the one before."""
        current = self._expect(model, stored.id, etag)
        return self._append(model, current.day, stored, current)

    def delete(self, model: type[Record], record_id: str, etag: str | None) -> None:
        """Append a tombstone, in the segment of the record."""
        self._bury(model, record_id, self._expect(model, record_id, etag))

    def delete_where(self, query: Query) -> int:
        """Append tombstones for records that the index holds."""
        rows = self._index.rows(query, query.limit)
        days = {self._store.segment(self._index, row.segment).day for row in rows}
        if any(self._freshen(query.model, day) for day in days):
            rows = self._index.rows(query, query.limit)
        ids = [row.id for row in rows]
        self._fetch(query.model, ids)
        current = {record_id: self._current[query.model.__name__, record_id] for record_id in ids}
        live = {record_id: line for record_id, line in current.items() if line is not None and line.live}
        for record_id, line in live.items():
            self._bury(query.model, record_id, line)
        return len(live)

    def _expect(self, model: type[Record], record_id: str, etag: str | None) -> _Current:
        self._fetch(model, [record_id])
        current = self._current[model.__name__, record_id]
        if current is not None and current.pending is None and self._freshen(model, current.day):
            self._fetch(model, [record_id])
            current = self._current[model.__name__, record_id]
        if current is None or not current.live:
            raise NotFoundError(f"There is no {model.singular} with this id.")
        if etag is not None and etag != lines.etag(current.version, current.checksum):
            raise PreconditionFailedError(f"The {model.singular} has been changed since.")
        return current

    def _freshen(self, model: type[Record], day: str) -> bool:
        """Whether a segment had changed behind the index."""
        place = (model.__name__, day)
        if place in self._fresh:
            return False
        self._fresh.add(place)
        segment = self._segments[place] = self._index.segment(*place)
        if self._store.is_unchanged(segment, self._directory.segment_path(*place)):
            return False
        catch_up(self._directory, self._index, model)
        self._store.forget_segments()
        self._segments.clear()
        written = {(name, line.id) for (name, _), append in self._appends.items() for line in append.lines}
        self._current = {key: known for key, known in self._current.items() if key in written}
        return True

    def _fetch(self, model: type[Record], record_ids: Sequence[str]) -> None:
        name = model.__name__
        missing = [record_id for record_id in record_ids if (name, record_id) not in self._current]
        if not missing:
            return
        rows = self._index.rows_by_id(model, missing)
        for record_id in missing:
            row = rows.get(record_id)
            self._current[name, record_id] = None if row is None else self._of_row(row)

    def _of_row(self, row: Row) -> _Current:
        segment = self._store.segment(self._index, row.segment)
        return _Current(row.version, segment.day, row.length, row.checksum, row.timestamp is not None, row.updated)

    def _read(self, model: type[Record], record_id: str, current: _Current) -> Stored:
        stored = current.pending or self._store.find_by_id(model, record_id)
        if stored is None:
            raise UnavailableError("The record was just removed from its file.", code="storage_busy")
        return stored

    def _append(self, model: type[Record], day: str, stored: Stored, replaces: _Current | None) -> Stored:
        version = 1 if replaces is None else replaces.version + 1
        data = lines.encode_record(stored, version)
        checksum = lines.checksum(data)
        stored = Stored(stored.record, stored.hidden, lines.etag(version, checksum))
        updated = lines.updated_ms(stored.record)
        self._add(model, day, _Line(stored.id, version, data, checksum, stored, replaces, updated))
        return stored

    def _bury(self, model: type[Record], record_id: str, current: _Current) -> None:
        version = current.version + 1
        data = lines.encode_tombstone(record_id, version)
        self._add(model, current.day, _Line(record_id, version, data, lines.checksum(data), None, current))

    def _add(self, model: type[Record], day: str, line: _Line) -> None:
        name = model.__name__
        append = self._appends.get((name, day))
        if append is None:
            append = self._appends[name, day] = _Append(model, day)
        append.lines.append(line)
        self._current[name, line.id] = _Current(
            line.version, day, len(line.data), line.checksum, line.stored is not None, line.updated, line.stored
        )

    @property
    def is_empty(self) -> bool:
        return not self._appends

    @property
    def line_count(self) -> int:
        return sum(len(append.lines) for append in self._appends.values())

    def write(self, opened: Opened, keep: Callable[[], None]) -> None:
        """Append and sync every line. Raises OSError, after which nothing of the group is in the segments.

        `opened` gives the descriptor that appends to a segment, and `keep` is called when many may have been opened.
        """
        self._directory.lock.announce(f"{model}/{day}" for model, day in self._appends)
        appends = list(self._appends.values())
        for place, append in self._appends.items():
            append.segment = self._segments[place] if place in self._segments else self._index.segment(*place)
        begun: list[_Append] = []
        try:
            for start in range(0, len(appends), SEGMENTS_AT_ONCE):
                self._write_some(appends[start : start + SEGMENTS_AT_ONCE], opened, begun)
                keep()
            for path in {self._path(append).parent for append in appends if append.segment is None}:
                self._directory.disk.sync_directory(path)
        except OSError:
            for append in begun:
                self._cut_back(append)
            raise

    def _write_some(self, appends: Iterable[_Append], opened: Opened, begun: list[_Append]) -> None:
        written = []
        for append in appends:
            descriptor = opened(append.model, append.day)
            begun.append(append)
            write_all(self._directory, descriptor, b"".join([line.data for line in append.lines]))
            written.append((append, descriptor))
        for append, descriptor in written:
            self._directory.disk.sync(descriptor)
            append.status = os.fstat(descriptor)

    def _cut_back(self, append: _Append) -> None:
        descriptor = self._directory.disk.open_append(self._path(append))
        try:
            self._directory.disk.truncate(descriptor, append.segment.size if append.segment else 0)
        finally:
            os.close(descriptor)

    def _path(self, append: _Append) -> Path:
        return self._directory.segment_path(append.model.__name__, append.day)

    def index(self) -> list[Segment]:
        """Let readers see what was written; the segments as they are now.

        Raises sqlite3.Error, after which catching up does the same.
        """
        with self._index.transaction() as connection:
            segments = [_index_append(connection, append) for append in self._appends.values()]
            self._count_replaced(connection)
        self._store.forget_segments(segment.number for segment in segments)
        self._directory.lock.withdraw()
        return segments

    def _count_replaced(self, connection: sqlite3.Connection) -> None:
        """Count records that were replaced or deleted as dead, in the segments where their lines stand."""
        replaced, deleted = [], []
        for (model, _), append in self._appends.items():
            for line in append.lines:
                before = line.replaces
                if before is not None and before.live:
                    replaced.append((before.length, model, before.day))
                    if line.stored is None:
                        deleted.append((model, before.day, before.updated))
        if replaced:
            connection.executemany(
                "UPDATE segments SET live = live - 1, dead_bytes = dead_bytes + ? WHERE model = ? AND day = ?", replaced
            )
        if deleted:
            connection.executemany("UPDATE segments SET updated = NULL WHERE model = ? AND day = ? AND updated = ?", deleted)


def _index_append(connection: sqlite3.Connection, append: _Append) -> Segment:
    segment, status = append.segment, append.status
    assert status is not None
    if segment is None:
        [number] = connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM segments").fetchone()
        segment = Segment(number, append.model.__name__, append.day, new_generation())
    offset, dead, rows = segment.size, segment.dead_bytes, []
    moments = [moment for moment in (segment.least, segment.greatest) if moment is not None]
    updates = [] if segment.updated is None else [segment.updated]
    for line in append.lines:
        timestamp = None
        if line.stored is None:
            dead += len(line.data)
        else:
            timestamp = to_ms(line.stored.timestamp)
            moments.append(timestamp)
            if line.updated is not None:
                updates.append(line.updated)
        row = Row(line.id, line.version, segment.number, offset, len(line.data), line.checksum, timestamp, line.updated)
        rows.append(row_values(append.model, row, line.stored))
        offset += len(line.data)
    segment = segment._replace(
        inode=status.st_ino,
        size=offset,
        modified_ns=status.st_mtime_ns,
        crc=None if segment.crc is None else zlib.crc32(b"".join([line.data for line in append.lines]), segment.crc),
        live=segment.live + sum(line.stored is not None for line in append.lines),
        dead_bytes=dead,
        least=min(moments, default=None),
        greatest=max(moments, default=None),
        updated=None if segment.live and segment.updated is None else max(updates, default=None),
    )
    save_segment(connection, segment)
    put_rows(connection, append.model, rows)
    return segment
