"""One group of writes under the directory's lock: decided in the order they came, appended, synced once, then indexed.

Nothing of a group is readable, and nothing is answered, before its sync.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shared.backends.base import Outcome
from shared.backends.file import lines
from shared.backends.file.catchup import catch_up, new_generation, write_all
from shared.backends.file.directory import Directory
from shared.backends.file.index import Index, Row, Segment, put_rows, row_values, save_segment
from shared.backends.file.store import Store
from shared.errors import NotFoundError, PreconditionFailedError, UnavailableError
from shared.models import Record
from shared.query import Query, Stored
from shared.timestamps import day_of, to_ms

SEGMENTS_AT_ONCE = 64
"""How many segments are open for appending at once."""


@dataclass(slots=True)
class _Line:
    """A line to be appended. `stored` is None for a tombstone; `replaces` is what it makes dead."""

    id: str
    version: int
    stored: Stored | None
    data: bytes
    checksum: int
    replaces: "_Current | None"
    offset: int = 0


@dataclass(slots=True)
class _Current:
    """The winning line of an id, in the index or earlier in this group."""

    version: int
    model: str
    day: str
    length: int
    checksum: int
    live: bool
    row: Row | None = None
    pending: Stored | None = None

    @property
    def etag(self) -> str:
        return lines.etag(self.version, self.checksum)


@dataclass(slots=True)
class _Append:
    """What is appended to one segment."""

    model: type[Record]
    day: str
    lines: list[_Line] = field(default_factory=list)
    segment: Segment | None = None
    status: os.stat_result | None = None


class Group:
    """Holds the lock's owner's view while writes are decided, then makes them last."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index
        self._directory: Directory = store.directory
        self._current: dict[tuple[str, str], _Current] = {}
        self._appends: dict[tuple[str, str], _Append] = {}
        self._fresh: set[tuple[str, str]] = set()

    def create(self, model: type[Record], stored: Stored) -> Outcome:
        """Append a record whose id is free."""
        self._freshen(model, day_of(stored.timestamp))
        current = self._look_up(model, stored.id)
        if current is not None and current.live:
            return Outcome(self._read(model, current), existed=True)
        return Outcome(self._append(model, day_of(stored.timestamp), stored, current))

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
        for row in rows:
            self.delete(query.model, row.id, None)
        return len(rows)

    def _expect(self, model: type[Record], record_id: str, etag: str | None) -> _Current:
        current = self._look_up(model, record_id)
        if current is not None:
            self._freshen(model, current.day)
            current = self._look_up(model, record_id)
        if current is None or not current.live:
            raise NotFoundError(f"There is no {model.singular} with this id.")
        if etag is not None and etag != current.etag:
            raise PreconditionFailedError(f"The {model.singular} has been changed since.")
        return current

    def _freshen(self, model: type[Record], day: str) -> None:
        place = (model.__name__, day)
        if place in self._fresh:
            return
        self._fresh.add(place)
        path = self._directory.segment_path(*place)
        segment = self._index.segment(*place)
        try:
            status = path.stat()
        except FileNotFoundError:
            if segment is None:
                return
        else:
            known = (segment.inode, segment.size, segment.modified_ns) if segment is not None else None
            if known == (status.st_ino, status.st_size, status.st_mtime_ns):
                return
        catch_up(self._directory, self._index, model)
        self._store.forget_segments()

    def _look_up(self, model: type[Record], record_id: str) -> _Current | None:
        key = (model.__name__, record_id)
        current = self._current.get(key)
        if current is None:
            row = self._index.row(model, record_id)
            if row is None:
                return None
            segment = self._index.segment_by_number(row.segment)
            assert segment is not None
            return _Current(
                row.version, segment.model, segment.day, row.length, row.checksum, row.timestamp is not None, row=row
            )
        return current

    def _read(self, model: type[Record], current: _Current) -> Stored:
        if current.pending is not None:
            return current.pending
        assert current.row is not None
        stored = self._store.find_by_id(model, current.row.id)
        if stored is None:
            raise UnavailableError("The record was just removed from its file.", code="storage_busy")
        return stored

    def _append(self, model: type[Record], day: str, stored: Stored, replaces: _Current | None) -> Stored:
        version = 1 if replaces is None else replaces.version + 1
        data = lines.encode_record(stored, version)
        line_checksum = lines.checksum(data)
        stored = replace(stored, etag=lines.etag(version, line_checksum))
        self._add(model, day, _Line(stored.id, version, stored, data, line_checksum, replaces))
        return stored

    def _bury(self, model: type[Record], record_id: str, current: _Current) -> None:
        version = current.version + 1
        data = lines.encode_tombstone(record_id, version)
        self._add(model, current.day, _Line(record_id, version, None, data, lines.checksum(data), current))

    def _add(self, model: type[Record], day: str, line: _Line) -> None:
        name = model.__name__
        append = self._appends.setdefault((name, day), _Append(model, day))
        append.lines.append(line)
        self._current[name, line.id] = _Current(
            line.version, name, day, len(line.data), line.checksum, line.stored is not None, pending=line.stored
        )

    def write(self, opened: Callable[[type[Record], str], int], keep: Callable[[], None]) -> None:
        """Append and sync every line. Raises OSError, after which nothing of the group is in the segments.

        `opened` gives the descriptor that appends to a segment, and `keep` is called when many may have been opened.
        """
        self._directory.lock.announce(f"{model}/{day}" for model, day in self._appends)
        appends = list(self._appends.values())
        for append in appends:
            append.segment = self._index.segment(append.model.__name__, append.day)
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

    def _write_some(self, appends: list[_Append], opened: Callable[[type[Record], str], int], begun: list[_Append]) -> None:
        disk = self._directory.disk
        descriptors = []
        for append in appends:
            descriptor = opened(append.model, append.day)
            descriptors.append(descriptor)
            begun.append(append)
            write_all(self._directory, descriptor, b"".join(line.data for line in append.lines))
        for append, descriptor in zip(appends, descriptors, strict=True):
            disk.sync(descriptor)
            append.status = os.fstat(descriptor)

    def _cut_back(self, append: _Append) -> None:
        descriptor = self._directory.disk.open_append(self._path(append))
        try:
            self._directory.disk.truncate(descriptor, append.segment.size if append.segment else 0)
        finally:
            os.close(descriptor)

    def _path(self, append: _Append) -> Path:
        return self._directory.segment_path(append.model.__name__, append.day)

    @property
    def is_empty(self) -> bool:
        return not self._appends

    def index(self) -> None:
        """Let readers see what was written. Raises sqlite3.Error, after which catching up does the same."""
        with self._index.transaction() as connection:
            segments = {place: self._extended(connection, append) for place, append in self._appends.items()}
            for append in self._appends.values():
                number = segments[append.model.__name__, append.day].number
                for line in append.lines:
                    _account(segments, connection, (append.model.__name__, append.day), line)
                put_rows(connection, append.model, [_values(append.model, line, number) for line in append.lines])
            for segment in segments.values():
                save_segment(connection, segment)
        for segment in segments.values():
            self._store.remember_segment(segment)
        self._directory.lock.withdraw()

    def _extended(self, connection: sqlite3.Connection, append: _Append) -> Segment:
        segment = append.segment
        if segment is None:
            [number] = connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM segments").fetchone()
            segment = Segment(number, append.model.__name__, append.day, new_generation())
            save_segment(connection, segment)
        size, crc = segment.size, segment.crc
        for line in append.lines:
            line.offset = size
            size += len(line.data)
            crc = zlib.crc32(line.data, crc)
        status = append.status
        assert status is not None
        return replace(segment, inode=status.st_ino, size=size, modified_ns=status.st_mtime_ns, crc=crc)


def _account(
    segments: dict[tuple[str, str], Segment], connection: sqlite3.Connection, place: tuple[str, str], line: _Line
) -> None:
    """Count a line as live and what it replaces as dead."""
    replaced = line.replaces
    if replaced is not None and replaced.live:
        before = (replaced.model, replaced.day)
        if before in segments:
            segments[before] = replace(
                segments[before], live=segments[before].live - 1, dead_bytes=segments[before].dead_bytes + replaced.length
            )
        else:
            connection.execute(
                "UPDATE segments SET live = live - 1, dead_bytes = dead_bytes + ? WHERE model = ? AND day = ?",
                (replaced.length, *before),
            )
    segment = segments[place]
    if line.stored is None:
        segments[place] = replace(segment, dead_bytes=segment.dead_bytes + len(line.data))
        return
    timestamp = to_ms(line.stored.timestamp)
    segments[place] = replace(
        segment,
        live=segment.live + 1,
        least=timestamp if segment.least is None else min(segment.least, timestamp),
        greatest=timestamp if segment.greatest is None else max(segment.greatest, timestamp),
        updated=max(segment.updated or "", str(line.stored.record.get("updatedAt", ""))),
    )


def _values(model: type[Record], line: _Line, segment: int) -> tuple[Any, ...]:
    timestamp = None if line.stored is None else to_ms(line.stored.timestamp)
    row = Row(line.id, line.version, segment, line.offset, len(line.data), line.checksum, timestamp)
    return row_values(model, row, line.stored)
