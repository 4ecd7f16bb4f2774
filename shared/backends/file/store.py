"""Reading records by way of the index: every line is checked against its row, and looked for again when they differ."""

import logging
import os
import sqlite3
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic_core import from_json

from shared.backends.file import lines
from shared.backends.file.aggregation import Answer, aggregate
from shared.backends.file.cache import RecordCache
from shared.backends.file.catchup import catch_up, ensure_index, rebuild
from shared.backends.file.directory import SEGMENT_SUFFIX, Directory
from shared.backends.file.index import Index, Row, Segment
from shared.errors import UnavailableError
from shared.models import MODELS, Record
from shared.query import Aggregation, Group, Hidden, Page, Query, Stored, WireRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OPEN_SEGMENTS = 128
_ATTEMPTS = 4
"""How often a read looks again for the same segment's sake before it keeps everybody else from changing it."""
_MANY_SEGMENTS = 16
_CHEAP_LOOK_SECONDS = 0.0001
_LOOK_SHARE = 20
"""Looking at many segments for changes made behind the index takes at most one part in so many of the time."""


class _MismatchError(Exception):
    """A row and its line differ."""

    def __init__(self, segment: Segment | None) -> None:
        self.segment = segment


class _OpenSegment:
    """A descriptor that closes when the last reader has let go of it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        descriptor: int | None = getattr(self, "descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


class Store:
    """The records of a data directory, read by many threads at once."""

    def __init__(self, directory: Directory, cache: RecordCache) -> None:
        self.directory = directory
        self.cache = cache
        self._segments: dict[int, Segment] = {}
        self._open: OrderedDict[tuple[int, int], _OpenSegment] = OrderedDict()
        self._guard = threading.Lock()
        self._next_look: dict[str, float] = {}

    def open(self) -> None:
        """Sweep, and bring the index up to the segments."""
        with self.directory.lock.hold():
            self.directory.sweep()
            ensure_index(self.directory)
            self.recover()

    def recover(self) -> None:
        """Read again what a holder of the lock that died, or an index that failed, has left behind; under the lock."""
        announced = self.directory.lock.announced()
        if not announced:
            return
        index = self.index()
        for name, model in MODELS.items():
            days = [Path(segment).stem for segment in announced if segment.startswith(f"{name}/")]
            catch_up(self.directory, index, model, announced=days)
        self.forget_segments()
        self.directory.lock.withdraw()

    def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        def look(index: Index) -> Stored | None:
            row = index.row(model, record_id)
            return None if row is None or row.timestamp is None else self.load(index, model, row)

        return self.reading(model, look)

    def find(self, query: Query) -> Page:
        def look(index: Index) -> Page:
            rows = index.rows(query, query.limit + 1)
            page = within_bytes(rows[: query.limit], query.max_bytes)
            return Page([self.load(index, query.model, row) for row in page], more=len(rows) > len(page))

        return self.reading(query.model, look)

    def aggregate(self, aggregation: Aggregation) -> list[Group]:
        answer = self.reading(aggregation.model, lambda index: aggregate(index, aggregation))
        if answer.summaries:
            with self.directory.lock.hold(patience=0) as held:
                if held:
                    self._keep(answer)
        return answer.groups

    def _keep(self, answer: Answer) -> None:
        try:
            self.index().keep_summaries(answer.shape, answer.summaries)
        except sqlite3.DatabaseError as error:
            logger.warning("summaries are not kept", extra={"cause": str(error)})

    def reading(self, model: type[Record], look: Callable[[Index], T]) -> T:
        """The answer of `look`, over an index that follows the segments of a model; again where rows and lines differ."""
        return self._answer([model], look)

    def reading_all(self, look: Callable[[Index], T]) -> T:
        """The answer of `look`, over an index that follows the segments of every model."""
        return self._answer(MODELS.values(), look)

    def check(self) -> None:
        """Return when the index answers."""
        self._answer([], lambda index: index.segment_by_number(0))

    def _answer(self, models: Iterable[type[Record]], look: Callable[[Index], T]) -> T:
        attempts: Counter[str | None] = Counter()
        while max(attempts.values(), default=0) < _ATTEMPTS:
            try:
                return self._look(models, look)
            except _MismatchError as mismatch:
                place = None if mismatch.segment is None else mismatch.segment.day
                attempts[place] += 1
                self._repair(models, mismatch.segment, attempts[place])
            except sqlite3.DatabaseError as error:
                if not index_is_broken(error):
                    raise
                attempts[None] += 1
                self.rebuild(str(error))
        return self._answer_alone(models, look)

    def _answer_alone(self, models: Iterable[type[Record]], look: Callable[[Index], T]) -> T:
        """The answer while nobody else changes anything, by an index built anew where rows and lines differ even so."""
        with self.directory.lock.hold():
            self.forget_segments()
            try:
                return self._look(models, look)
            except _MismatchError:
                self.rebuild("it does not lead to the lines")
            try:
                return self._look(models, look)
            except _MismatchError:
                raise UnavailableError("The data directory changes faster than it can be read.", code="storage_busy") from None

    def _look(self, models: Iterable[type[Record]], look: Callable[[Index], T]) -> T:
        index = self.index()
        for model in models:
            self._freshen(index, model)
        return look(index)

    def index(self) -> Index:
        """The current index, built anew where it was lost."""
        index = self.directory.index()
        if index is None:
            with self.directory.lock.hold():
                index = ensure_index(self.directory)
        return index

    def rebuild(self, reason: str) -> None:
        """Build the index anew, unless another process just has."""
        broken = self.directory.index_paths()[-1:] if self.directory.index_directory.is_dir() else []
        with self.directory.lock.hold():
            if broken == self.directory.index_paths()[-1:]:
                rebuild(self.directory, reason)
        self.forget_segments()

    def load(self, index: Index, model: type[Record], row: Row) -> Stored:
        """The record that a row points at. Raises an error that `reading` understands where the line is another."""
        segment = self.segment(index, row.segment)
        key = (segment.generation, row.offset)
        line = self.cache.get(key)
        if line is None or lines.checksum(line) != row.checksum:
            line = self._read(segment, row)
            self.cache.put(key, line)
        try:
            record, hidden = _content(model, row, line)
        except lines.UnreadableLineError:
            raise _MismatchError(segment) from None
        if record is None or record["id"] != row.id:
            raise _MismatchError(segment)
        return Stored(record, hidden, lines.etag(row.version, row.checksum))

    def _read(self, segment: Segment, row: Row) -> bytes:
        try:
            opened = self._descriptor(segment)
            line = os.pread(opened.descriptor, row.length, row.offset)
        except FileNotFoundError:
            raise _MismatchError(segment) from None
        if lines.checksum(line) != row.checksum:
            raise _MismatchError(segment)
        return line

    def segment(self, index: Index, number: int) -> Segment:
        """A segment by its number, as last seen. Raises an error that `reading` understands where there is none."""
        segment = self._segments.get(number)
        if segment is None:
            segment = index.segment_by_number(number)
            if segment is None:
                raise _MismatchError(None)
            self._segments[number] = segment
        return segment

    def _descriptor(self, segment: Segment) -> _OpenSegment:
        key = (segment.number, segment.generation)
        with self._guard:
            opened = self._open.get(key)
            if opened is None:
                opened = self._open[key] = _OpenSegment(self.directory.segment_path(segment.model, segment.day))
                if len(self._open) > _OPEN_SEGMENTS:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(key)
        return opened

    def forget_segments(self, numbers: Iterable[int] | None = None) -> None:
        """Let go of what is remembered of segments (all where None): their files or generations may be others now."""
        with self._guard:
            forgotten = set(self._segments) | {number for number, _ in self._open} if numbers is None else set(numbers)
            for number in forgotten:
                self._segments.pop(number, None)
            for key in [key for key in self._open if key[0] in forgotten]:
                del self._open[key]

    @staticmethod
    def is_unchanged(segment: Segment | None, path: Path) -> bool:
        """Whether a segment's file is as the index knows it; where there is no file, whether the index knows none."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return segment is None
        if segment is None:
            return False
        return _is_of(segment, status)

    def _repair(self, models: Iterable[type[Record]], segment: Segment | None, attempt: int) -> None:
        """More each time: read the row again; wait for whoever may be changing the segment; read the whole segment again."""
        self.forget_segments(None if segment is None else [segment.number])
        if attempt > 1:
            with self.directory.lock.hold():
                suspects = [segment.day] if segment is not None and attempt > 2 else []
                for model in models:
                    catch_up(self.directory, self.index(), model, suspects)
            self.forget_segments()

    def _freshen(self, index: Index, model: type[Record]) -> None:
        """Notice segments that changed behind the index, unless someone who holds the lock is just changing them."""
        name = model.__name__
        if time.monotonic() < self._next_look.get(name, 0.0):
            return
        started = time.thread_time()
        follows = self._follows(index, name)
        seconds = time.thread_time() - started
        if follows and seconds > _CHEAP_LOOK_SECONDS and len(self._segments) > _MANY_SEGMENTS:
            self._next_look[name] = time.monotonic() + seconds * _LOOK_SHARE
        if not follows:
            with self.directory.lock.hold(patience=0) as held:
                if held:
                    self._catch_up_if_possible(index, model)

    def _catch_up_if_possible(self, index: Index, model: type[Record]) -> None:
        """What is acknowledged is in the index already: a disk that takes no changes keeps nobody from reading that."""
        try:
            if catch_up(self.directory, index, model):
                self.forget_segments()
        except OSError as error:
            logger.warning("reads go on without catching up", extra={"cause": error.strerror, "errno": error.errno})
        except sqlite3.DatabaseError as error:
            if index_is_broken(error):
                raise
            logger.warning("reads go on without catching up", extra={"cause": str(error)})

    def _follows(self, index: Index, model: str) -> bool:
        """Whether the index knows the segments in a model's folder, all of them and no others, as they are."""
        remembered = {segment.day: segment for segment in list(self._segments.values()) if segment.model == model}
        found, is_new = 0, False
        for entry in self._segment_entries(model):
            day = entry.name.removesuffix(SEGMENT_SUFFIX)
            segment = remembered.get(day)
            try:
                if segment is None or not _is_of(segment, entry.stat()):
                    is_new, segment = True, index.segment(model, day)
                    if segment is None:
                        if any(day == known for known, _ in self.directory.segment_days(model)):
                            return False
                        continue
                    if not _is_of(segment, Path(entry.path).stat()):
                        return False
                    self._segments[segment.number] = segment
            except FileNotFoundError:
                return False
            found += 1
        return (found == len(remembered) and not is_new) or found == index.count_segments(model)

    def _segment_entries(self, model: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.directory.model_directory(model)) as entries:
                return [entry for entry in entries if entry.name.endswith(SEGMENT_SUFFIX)]
        except FileNotFoundError:
            return []


def _is_of(segment: Segment, status: os.stat_result) -> bool:
    return (segment.inode, segment.size, segment.modified_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)


def _content(model: type[Record], row: Row, line: bytes) -> tuple[WireRecord | None, Hidden]:
    """What a line says whose checksum is the row's: it was checked when the row was made, so it is only read here."""
    if row.version == 0 or not line.startswith(b"{"):
        content = lines.decode(model, line)
        return content.record, content.hidden
    record: WireRecord = from_json(line)
    return lines.complete(record, record.pop(lines.RESERVED))


def within_bytes(rows: list[Row], most: int) -> list[Row]:
    """The rows whose lines fit in so many bytes, at least one."""
    total = 0
    for position, row in enumerate(rows):
        total += row.length
        if total > most and position:
            return rows[:position]
    return rows


def index_is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether building the index anew would help: not for a full disk, a lock or a read-only file."""
    codes = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in codes
