"""Bringing the index up to what the segments say: new tails, hand edits, lost files, and building it anew.

Everything here runs under the directory's lock and leaves answers that follow the lines alone.
"""

import logging
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from shared.backends.file import lines
from shared.backends.file.directory import TORN_SUFFIX, Directory
from shared.backends.file.index import (
    Index,
    Row,
    Segment,
    put_rows,
    row_values,
    save_segment,
)
from shared.backends.file.schema import create_file, create_secondary_indexes
from shared.models import MODELS, Record
from shared.query import Stored
from shared.timestamps import to_ms

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


def ensure_index(directory: Directory) -> Index:
    """The current index, caught up with every segment; built anew where there is none or it can't be used."""
    try:
        index = directory.index()
        if index is not None:
            for model in MODELS.values():
                catch_up(directory, index, model)
            return index
        reason = "there is none"
    except sqlite3.DatabaseError as error:
        reason = str(error)
    return rebuild(directory, reason)


def rebuild(directory: Directory, reason: str) -> Index:
    """Read every segment into a new index file, which others notice by its name."""
    directory.drop_index()
    directory.disk.make_directory(directory.index_directory)
    paths = directory.index_paths()
    number = paths[-1][0] + 1 if paths else 1
    path = directory.index_directory / f"index-{number:06d}.sqlite"
    building = path.with_suffix(".building")
    building.unlink(missing_ok=True)
    create_file(building)
    with closing(sqlite3.connect(building, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN")
        records = sum(_read_model(directory, connection, model) for model in MODELS.values())
        create_secondary_indexes(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")  # while nobody else is there: changing it takes the file alone
    building.replace(path)
    directory.remove_old_indexes(number)
    if reason != "there is none" or records:
        logger.warning("the index was built anew", extra={"reason": reason, "records": records})
    index = directory.index()
    assert index is not None
    return index


def _read_model(directory: Directory, connection: sqlite3.Connection, model: type[Record]) -> int:
    _keep_names(directory, model)
    for day, path in directory.segment_days(model.__name__):
        segment = _new_segment(connection, model.__name__, day)
        save_segment(connection, _read_segment(directory, connection, model, segment, path))
    _count_lines(connection, model)
    [records] = connection.execute("SELECT COALESCE(SUM(live), 0) FROM segments WHERE model = ?", (model.__name__,)).fetchone()
    return int(records)


def catch_up(
    directory: Directory, index: Index, model: type[Record], suspects: Iterable[str] = (), announced: Iterable[str] = ()
) -> bool:
    """Bring one model's rows up to its segments; whether anything had changed.

    `suspects` are days to read anew. `announced` are days whose bytes are compared even where size and time are the same.
    """
    known = {segment.day: segment for segment in index.segments(model.__name__)}
    present = dict(directory.segment_days(model.__name__))
    distrusted, compared = set(suspects), set(announced)
    changed = [
        (day, path)
        for day, path in present.items()
        if day not in known or day in distrusted or day in compared or not _matches(known[day], path)
    ]
    gone = [segment for day, segment in known.items() if day not in present]
    if not changed and not gone:
        return False
    _keep_names(directory, model)
    with index.transaction() as connection:
        again = _forget(connection, model, gone)
        for day, path in changed:
            again |= _refresh(directory, connection, model, known.get(day), day, path, distrusted)
        for number in again:
            _read_again(directory, connection, model, number)
        _count_lines(connection, model)
    logger.warning(
        "the index caught up with changed segments",
        extra={"model": model.__name__, "changed": [day for day, _ in changed], "gone": [segment.day for segment in gone]},
    )
    return True


def _keep_names(directory: Directory, model: type[Record]) -> None:
    """Make the names last that a process may have made, replaced or taken away before it died."""
    folder = directory.model_directory(model.__name__)
    if folder.is_dir():
        directory.disk.sync_directory(folder)
        directory.disk.sync_directory(directory.root)


def _matches(segment: Segment, path: Path) -> bool:
    status = path.stat()
    return (segment.inode, segment.size, segment.modified_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)


def _refresh(
    directory: Directory,
    connection: sqlite3.Connection,
    model: type[Record],
    known: Segment | None,
    day: str,
    path: Path,
    distrusted: set[str],
) -> set[int]:
    """Read what is new of a segment; the numbers of others that must be read again since lines of theirs may win now."""
    again: set[int] = set()
    if known is None:
        known = _new_segment(connection, model.__name__, day)
    elif day in distrusted or not _prefix_unchanged(known, path):
        again = _forget(connection, model, [known])
        known = _new_segment(connection, model.__name__, day)
    save_segment(connection, _read_segment(directory, connection, model, known, path))
    return again


def _prefix_unchanged(segment: Segment, path: Path) -> bool:
    status = path.stat()
    if segment.crc is None or status.st_ino != segment.inode or status.st_size < segment.size:
        return False
    return crc_of(path, segment.size) == segment.crc


def crc_of(path: Path, size: int) -> int | None:
    """CRC-32 of the first bytes of a file; None where there are fewer."""
    crc, left = 0, size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(_CHUNK_BYTES, left))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return None if left else crc


def _new_segment(connection: sqlite3.Connection, model: str, day: str) -> Segment:
    [number] = connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM segments").fetchone()
    segment = Segment(number, model, day, new_generation())
    save_segment(connection, segment)
    return segment


def new_generation() -> int:
    """A generation that no segment had before."""
    return secrets.randbits(62)


def _forget(connection: sqlite3.Connection, model: type[Record], segments: Iterable[Segment]) -> set[int]:
    """Drop segments and their rows; the numbers of others that hold lines of ids that had lines there too."""
    others: set[int] = set()
    for segment in segments:
        others |= {
            number
            for (number,) in connection.execute(
                "SELECT DISTINCT b.segment FROM spread a JOIN spread b USING (model, id) "
                "WHERE a.model = ? AND a.segment = ? AND b.segment <> a.segment",
                (model.__name__, segment.number),
            )
        }
        connection.execute(f'DELETE FROM "{model.__name__}" WHERE segment = ?', (segment.number,))
        connection.execute("DELETE FROM spread WHERE model = ? AND segment = ?", (model.__name__, segment.number))
        connection.execute("DELETE FROM segments WHERE number = ?", (segment.number,))
        others.discard(segment.number)
    return others


def _read_again(directory: Directory, connection: sqlite3.Connection, model: type[Record], number: int) -> None:
    row = connection.execute("SELECT day, size FROM segments WHERE number = ?", (number,)).fetchone()
    if row is not None:
        day, size = row
        whole = Segment(number, model.__name__, day, generation=0)
        put_rows(connection, model, _Scan(model, whole, directory.segment_path(model.__name__, day), size).rows())


def _read_segment(
    directory: Directory, connection: sqlite3.Connection, model: type[Record], segment: Segment, path: Path
) -> Segment:
    """Add the lines from `segment.size` on; what the segment is then. A torn tail is completed or set aside first."""
    descriptor = directory.disk.open_append(path)
    try:
        mend_tail(directory, model, path, descriptor)
        directory.disk.sync(descriptor)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    scan = _Scan(model, segment, path, status.st_size)
    put_rows(connection, model, scan.rows())
    scan.report()
    return segment._replace(
        inode=status.st_ino,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        crc=scan.crc,
        blank_bytes=segment.blank_bytes + scan.blank_bytes,
        unreadable=segment.unreadable + scan.unreadable,
        updated=None,
    )


class _Scan:
    """Reads the lines of a segment from its known size to `end`, and what they add up to."""

    def __init__(self, model: type[Record], segment: Segment, path: Path, end: int) -> None:
        self._model = model
        self._segment = segment
        self._path = path
        self._end = end
        self._first_reason = ""
        self.unreadable = 0
        self.blank_bytes = 0
        self.crc = segment.crc or 0

    def rows(self) -> Iterator[tuple[object, ...]]:
        """A table row for each line that can be read."""
        for offset, line in read_lines(self._path, self._segment.size, self._end):
            self.crc = zlib.crc32(line, self.crc)
            if lines.is_blank(line):
                self.blank_bytes += len(line)
                continue
            try:
                content = lines.decode(self._model, line)
            except lines.UnreadableLineError as error:
                self.unreadable += 1
                self._first_reason = self._first_reason or f"the line at byte {offset} {error}"
                continue
            yield self._row(content, offset, line)

    def _row(self, content: lines.Line, offset: int, line: bytes) -> tuple[object, ...]:
        record = content.record
        timestamp = None if record is None else to_ms(record["timestamp"])
        updated = None if record is None else lines.updated_ms(record)
        place = (self._segment.number, offset, len(line))
        row = Row(content.id, content.version, *place, lines.checksum(line), timestamp, updated)
        if record is None:
            return row_values(self._model, row, None)
        return row_values(self._model, row, Stored(record, content.hidden))

    def report(self) -> None:
        """Log what could not be read."""
        if self.unreadable:
            logger.warning(
                "lines were left out",
                extra={"segment": self._segment.name, "lines": self.unreadable, "reason": self._first_reason},
            )


def read_lines(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Every whole line of a file between two offsets, newline included, with its offset."""
    offset, rest, left = start, b"", end - start
    with path.open("rb") as file:
        file.seek(start)
        while left and (chunk := file.read(min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield offset, line + b"\n"
                offset += len(line) + 1


def mend_tail(directory: Directory, model: type[Record], path: Path, descriptor: int) -> None:
    """Complete a last line that lacks only its newline; set any other rest aside in `<segment>.torn`."""
    size = os.fstat(descriptor).st_size
    start, tail = _tail_after_last_newline(descriptor, size)
    if not tail:
        return
    try:
        whole = lines.is_blank(tail) or lines.decode(model, tail) is not None
    except lines.UnreadableLineError:
        whole = False
    if whole:
        write_all(directory, descriptor, b"\n")
        return
    set_aside(directory, path, tail + b"\n")
    directory.disk.truncate(descriptor, start)
    logger.warning("a torn line was set aside", extra={"segment": f"{model.__name__}/{path.name}", "bytes": len(tail)})


def set_aside(directory: Directory, path: Path, torn: bytes) -> None:
    """Keep what can't be read of a segment beside it."""
    descriptor = directory.disk.open_append(path.with_name(path.name + TORN_SUFFIX))
    try:
        write_all(directory, descriptor, torn)
        directory.disk.sync(descriptor)
    finally:
        os.close(descriptor)
    directory.disk.sync_directory(path.parent)


def write_all(directory: Directory, descriptor: int, data: bytes) -> None:
    """Write every byte, in as many writes as it takes."""
    view = memoryview(data)
    while view:
        view = view[directory.disk.write(descriptor, bytes(view)) :]


def _tail_after_last_newline(descriptor: int, size: int) -> tuple[int, bytes]:
    tail, start = b"", size
    while start:
        begin = max(0, start - _CHUNK_BYTES)
        chunk = os.pread(descriptor, start - begin, begin)
        newline = chunk.rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1, chunk[newline + 1 :] + tail
        tail, start = chunk + tail, begin
    return 0, tail


def _count_lines(connection: sqlite3.Connection, model: type[Record]) -> None:
    """Count anew the records, dead bytes and bounds of a model's segments; those that are as they were are left alone."""
    rows = connection.execute(
        f"""SELECT segment, COUNT(*), SUM(length), MIN(timestamp), MAX(timestamp), MAX(updated) FROM "{model.__name__}"
        WHERE timestamp IS NOT NULL GROUP BY segment"""
    )
    names = ("live", "length", "least", "greatest", "updated")
    counted = {number: dict(zip(names, figures, strict=True)) for number, *figures in rows}
    nothing = dict(zip(names, (0, 0, None, None, None), strict=True))
    numbers = connection.execute("SELECT number FROM segments WHERE model = ?", (model.__name__,)).fetchall()
    connection.executemany(
        """UPDATE segments SET live = :live, dead_bytes = size - :length, least = :least, greatest = :greatest,
        updated = :updated WHERE number = :number AND (live, dead_bytes, least, greatest, updated)
        IS NOT (:live, size - :length, :least, :greatest, :updated)""",
        [{**counted.get(number, nothing), "number": number} for (number,) in numbers],
    )
