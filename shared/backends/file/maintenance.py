"""Work that shrinks segments: compaction, the unlinking of whole days, and purges that leave no copy behind.

All of it runs under the directory's lock.
"""

import logging
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shared.backends.file import lines
from shared.backends.file.catchup import catch_up, crc_of, new_generation, read_lines, set_aside, write_all
from shared.backends.file.directory import COMPACTED_SUFFIX, TORN_SUFFIX, Directory
from shared.backends.file.index import Index, Row, Segment, save_segment
from shared.backends.file.schema import SCHEMA_VERSION
from shared.backends.file.store import Store
from shared.errors import UnavailableError
from shared.models import Record
from shared.query import Query
from shared.timestamps import to_ms

logger = logging.getLogger(__name__)

COMPACTION_MIN_BYTES = 1 << 20
_LOG_ATTEMPTS = 50
_CHECKED_BYTES = 16 << 20
"""A purge reads segments of up to so many bytes for a new checksum; a longer one is read whole at its next change by hand."""
_LEADING_ID = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"id"\s*:\s*"([^"\\]+)"')
_ID_MEMBER = b'"id"'


def is_mostly_dead(segment: Segment) -> bool:
    """Whether compaction would pay: more than half of a segment of some size."""
    return segment.size >= COMPACTION_MIN_BYTES and segment.dead_bytes * 2 > segment.size


def compact(store: Store, model: type[Record], day: str) -> int:
    """Rewrite a segment without its dead lines; how many bytes it is smaller. Lines that can't be read are set aside."""
    directory, index = store.directory, store.index()
    catch_up(directory, index, model)
    segment = index.segment(model.__name__, day)
    if segment is None:
        return 0
    path = directory.segment_path(model.__name__, day)
    kept, unreadable = _worth_keeping(index, model, segment, path)
    with _changing(directory, [segment.name]):
        if unreadable:
            set_aside(directory, path, b"".join(unreadable))
        if kept:
            compacted = _rewrite(directory, segment, path, kept)
        else:
            directory.disk.unlink(path)
            directory.disk.sync_directory(path.parent)
            compacted = None
        with index.transaction() as connection:
            _move_rows(connection, model, segment, kept)
            if compacted is None:
                connection.execute("DELETE FROM segments WHERE number = ?", (segment.number,))
            else:
                save_segment(connection, compacted)
    store.forget_segments([segment.number])
    return segment.size - (compacted.size if compacted else 0)


@dataclass(slots=True)
class _Kept:
    """A line that stays, and where it will stand."""

    id: str
    offset: int
    data: bytes
    is_tombstone: bool
    new_offset: int = 0


def _worth_keeping(index: Index, model: type[Record], segment: Segment, path: Path) -> tuple[list[_Kept], list[bytes]]:
    kept: list[_Kept] = []
    unreadable: list[bytes] = []
    for offset, line in read_lines(path, 0, segment.size):
        if lines.is_blank(line):
            continue
        try:
            content = lines.decode(model, line)
        except lines.UnreadableLineError:
            unreadable.append(line)
            continue
        row = index.row(model, content.id)
        if row is None or (row.segment, row.offset) != (segment.number, offset):
            continue
        is_tombstone = content.record is None
        if not is_tombstone or index.other_segments(model.__name__, [content.id]) - {segment.number}:
            kept.append(_Kept(content.id, offset, line, is_tombstone))
    return kept, unreadable


def _rewrite(directory: Directory, segment: Segment, path: Path, kept: list[_Kept]) -> Segment:
    disk = directory.disk
    fresh = path.with_name(path.name + COMPACTED_SUFFIX)
    disk.unlink(fresh)
    size = crc = dead = 0
    descriptor = disk.open_append(fresh)
    try:
        for line in kept:
            line.new_offset = size
            size += len(line.data)
            dead += len(line.data) if line.is_tombstone else 0
            crc = zlib.crc32(line.data, crc)
        write_all(directory, descriptor, b"".join(line.data for line in kept))
        disk.sync(descriptor)
        disk.rename(fresh, path)
        disk.sync_directory(path.parent)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return segment._replace(
        generation=new_generation(),
        inode=status.st_ino,
        size=size,
        modified_ns=status.st_mtime_ns,
        crc=crc,
        dead_bytes=dead,
        blank_bytes=0,
        unreadable=0,
    )


def _move_rows(connection: sqlite3.Connection, model: type[Record], segment: Segment, kept: list[_Kept]) -> None:
    table = f'"{model.__name__}"'
    tombstones = {line.id for line in kept if line.is_tombstone}
    dropped = connection.execute(f"SELECT id FROM {table} WHERE timestamp IS NULL AND segment = ?", (segment.number,))
    gone = [(record_id,) for (record_id,) in dropped.fetchall() if record_id not in tombstones]
    connection.executemany(f"DELETE FROM {table} WHERE id = ?", gone)
    connection.executemany(f"UPDATE {table} SET offset = ? WHERE id = ?", [(line.new_offset, line.id) for line in kept])


def is_expiry(query: Query) -> bool:
    """Whether a delete is of everything before a time, oldest first, as retention asks."""
    unfiltered = not query.filters and query.since is None and query.after is None
    return unfiltered and query.until is not None and not query.descending


def unlink_days(store: Store, query: Query) -> int:
    """Unlink the segments that an expiry covers whole, up to its limit; how many records they held."""
    assert query.until is not None
    directory, index, model = store.directory, store.index(), query.model
    catch_up(directory, index, model)
    until, left = to_ms(query.until), query.limit
    chosen: list[Segment] = []
    for segment in sorted(index.segments(model.__name__), key=lambda segment: segment.day):
        past = segment.greatest is not None and segment.greatest < until
        if past and segment.live <= left and not _shares_ids(index, segment):
            chosen.append(segment)
            left -= segment.live
    if not chosen:
        return 0
    with _changing(directory, [segment.name for segment in chosen]):
        for segment in chosen:
            path = directory.segment_path(segment.model, segment.day)
            directory.disk.unlink(path)
            directory.disk.unlink(path.with_name(path.name + TORN_SUFFIX))
        directory.disk.sync_directory(directory.model_directory(model.__name__))
        with index.transaction(large=True) as connection:
            for segment in chosen:
                _delete_rows(connection, segment)
    store.forget_segments([segment.number for segment in chosen])
    return sum(segment.live for segment in chosen)


def _shares_ids(index: Index, segment: Segment) -> bool:
    sql = "SELECT 1 FROM spread WHERE model = ? AND segment = ? LIMIT 1"
    return index.connection.execute(sql, (segment.model, segment.number)).fetchone() is not None


def _delete_rows(connection: sqlite3.Connection, segment: Segment) -> None:
    table = f'"{segment.model}"'
    connection.execute(
        f"DELETE FROM {table} WHERE timestamp BETWEEN ? AND ? AND segment = ?",
        (segment.least, segment.greatest, segment.number),
    )
    connection.execute(f"DELETE FROM {table} WHERE timestamp IS NULL AND segment = ?", (segment.number,))
    connection.execute("DELETE FROM segments WHERE number = ?", (segment.number,))


def purge(store: Store, model: type[Record], record_ids: Sequence[str]) -> int:
    """Blank every line of the ids, in place so that no other line moves, and take them out of the index and its log."""
    directory, index, ids = store.directory, store.index(), set(record_ids)
    directory.sweep()
    catch_up(directory, index, model)
    rows = [row for record_id in ids if (row := index.row(model, record_id)) is not None]
    numbers = {row.segment for row in rows} | index.other_segments(model.__name__, ids)
    segments = [s for s in index.segments(model.__name__) if s.number in numbers or s.unreadable]
    with _changing(directory, [segment.name for segment in segments]):
        directory.disk.sync(directory.lock.descriptor)
        blank_bytes = _blank_segments(directory, segments, ids, rows)
        _blank_torn(directory, model.__name__, ids)
        blanked = [_as_blanked(directory, segment, rows, blank_bytes[segment.number]) for segment in segments]
        with index.transaction() as connection:
            for segment in blanked:
                save_segment(connection, segment)
            gone = [(record_id,) for record_id in ids]
            connection.executemany(f'DELETE FROM "{model.__name__}" WHERE id = ?', gone)
            connection.executemany("DELETE FROM spread WHERE model = ? AND id = ?", [(model.__name__, i) for (i,) in gone])
            _count_gone(connection, [row.segment for row in rows if row.timestamp is not None])
    store.cache.clear()
    index.memo.clear()
    store.forget_segments([segment.number for segment in segments])
    for _ in range(_LOG_ATTEMPTS):
        if index.empty_log():
            _clear_free_space(index)
            return sum(row.timestamp is not None for row in rows)
    raise UnavailableError("The journal of the index is in use; purge again.", code="storage_busy")


def _clear_free_space(index: Index) -> None:
    """Leave nothing deleted in the index's pages, nor in what its connections remember of them."""
    index.scrubber.clear()
    with index.transaction() as connection:  # makes every other connection read its pages again
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    index.connection.execute("PRAGMA shrink_memory")


def _count_gone(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    connection.executemany("UPDATE segments SET live = live - 1 WHERE number = ?", [(number,) for number in numbers])


def _blank_segments(directory: Directory, segments: Sequence[Segment], ids: set[str], rows: Sequence[Row]) -> dict[int, int]:
    """Blank in three steps that last one after the other, so that a purge cut short brings nothing back and alters nothing.

    Superseded lines go first; then those that win lose the byte that makes them JSON; then the rest of them. How many bytes
    of lines are blank then that were not, by segment number.
    """
    blank_bytes: dict[int, int] = {}
    winning = {(row.segment, row.offset) for row in rows}
    winners: list[tuple[Path, list[_Span]]] = []
    for segment in segments:
        path = directory.segment_path(segment.model, segment.day)
        own = [row for row in rows if row.segment == segment.number]
        has_others = segment.dead_bytes > segment.blank_bytes or segment.unreadable
        spans = _spans(path, segment.size, ids) if has_others else _spans_of_rows(path, own)
        blank_bytes[segment.number] = sum(span.length + 1 for span in spans)
        winners.append((path, [span for span in spans if (segment.number, span.offset) in winning]))
        _blank(directory, path, [span for span in spans if (segment.number, span.offset) not in winning])
    for path, spans in winners:
        _blank(directory, path, [span._replace(length=span.head) for span in spans])
    for path, spans in winners:
        _blank(directory, path, spans)
    return blank_bytes


def _blank_torn(directory: Directory, model: str, ids: set[str]) -> None:
    for path in directory.model_directory(model).glob(f"*{TORN_SUFFIX}"):
        _blank(directory, path, _spans(path, path.stat().st_size, ids))


class _Span(NamedTuple):
    """Where a line starts, and how long it is, without its newline and up to its first brace."""

    offset: int
    length: int
    head: int


def _spans(path: Path, size: int, ids: set[str]) -> list[_Span]:
    """The lines of the ids."""
    return [
        _span(offset, line) for offset, line in read_lines(path, 0, size) if not lines.is_blank(line) and _belongs(line, ids)
    ]


def _spans_of_rows(path: Path, rows: Iterable[Row]) -> list[_Span]:
    """The lines that rows point at: all there are of their ids in a segment that has no dead line."""
    with path.open("rb") as file:
        return [_span(row.offset, os.pread(file.fileno(), row.length, row.offset)) for row in rows]


def _span(offset: int, line: bytes) -> _Span:
    return _Span(offset, len(line) - 1, max(1, line.find(b"{") + 1))


def _blank(directory: Directory, path: Path, spans: Sequence[_Span]) -> None:
    if not spans:
        return
    descriptor = directory.disk.open_overwrite(path)
    try:
        for span in spans:
            _overwrite(directory, descriptor, span.offset, b" " * span.length)
        directory.disk.sync(descriptor)
    finally:
        os.close(descriptor)


def _as_blanked(directory: Directory, segment: Segment, rows: Iterable[Row], blank_bytes: int) -> Segment:
    path = directory.segment_path(segment.model, segment.day)
    died = sum(row.length for row in rows if row.segment == segment.number and row.timestamp is not None)
    return segment._replace(
        modified_ns=path.stat().st_mtime_ns,
        crc=crc_of(path, segment.size) if segment.size <= _CHECKED_BYTES else None,
        dead_bytes=segment.dead_bytes + died,
        blank_bytes=segment.blank_bytes + blank_bytes,
        updated=None,
    )


def _belongs(line: bytes, ids: set[str]) -> bool:
    """Whether a line is of one of the ids. One that does not say whose it is counts as theirs: nothing may be left."""
    match = _LEADING_ID.match(line)
    if match is not None and line.count(_ID_MEMBER) == 1 and b"\0" not in line:
        return match[1].decode(errors="replace") in ids
    try:
        content = lines.decode_id(line)
    except lines.UnreadableLineError:
        return True
    return content in ids


def _overwrite(directory: Directory, descriptor: int, offset: int, data: bytes) -> None:
    while data:
        written = directory.disk.overwrite(descriptor, offset, data)
        data, offset = data[written:], offset + written


@contextmanager
def _changing(directory: Directory, names: Iterable[str]) -> Iterator[None]:
    """Announce a change of segments, and withdraw it when it is whole."""
    directory.lock.announce(names)
    yield
    directory.lock.withdraw()
