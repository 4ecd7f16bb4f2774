"""A data directory: its paths, its lock and its current index. It knows where things are, not what they mean."""

import logging
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.backends.file.disk import Disk
from shared.backends.file.index import Index
from shared.backends.file.lock import PATIENCE_SECONDS, DirectoryLock
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

SEGMENT_SUFFIX = ".jsonl"
TORN_SUFFIX = ".torn"
COMPACTED_SUFFIX = ".compact"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INDEX_NAME = re.compile(r"index-(\d{1,12})\.sqlite", re.ASCII)
_INDEX_COMPANIONS = ("", "-wal", "-shm", "-journal")
_INDEX_CAUSES = {
    sqlite3.SQLITE_BUSY: "it is in use",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_READONLY: "it is read-only",
}


class Directory:
    """The files of one DATABASE_DATA_DIR."""

    def __init__(self, root: Path, disk: Disk, patience: float = PATIENCE_SECONDS) -> None:
        self.root = root
        self.disk = disk
        self.index_directory = root / ".index"
        disk.make_directory(root)
        disk.make_directory(self.index_directory)
        self.lock = DirectoryLock(root / ".lock", patience)
        self._paths: dict[tuple[str, str], Path] = {}
        self._index: Index | None = None
        self._swapping = threading.Lock()

    def close(self) -> None:
        """Close the index and the lock."""
        index = self.drop_index()
        if index is not None:
            index.close()
        self.lock.close()

    def model_directory(self, model: str) -> Path:
        return self.root / model

    def segment_path(self, model: str, day: str) -> Path:
        path = self._paths.get((model, day))
        if path is None:
            path = self._paths[model, day] = self.root / model / f"{day}{SEGMENT_SUFFIX}"
        return path

    def segment_days(self, model: str) -> list[tuple[str, Path]]:
        """The days that a model has segments of, with their paths."""
        try:
            paths = list(self.model_directory(model).iterdir())
        except FileNotFoundError:
            return []
        return sorted((path.stem, path) for path in paths if path.suffix == SEGMENT_SUFFIX and _DAY.fullmatch(path.stem))

    def index_paths(self) -> list[tuple[int, Path]]:
        """Every index file, the newest last."""
        matches = [(_INDEX_NAME.fullmatch(path.name), path) for path in self.index_directory.iterdir()]
        return sorted((int(match[1]), path) for match, path in matches if match is not None)

    def index(self) -> Index | None:
        """The current index, opened anew where another process has built a newer one; None where there is none."""
        index = self._index
        if index is not None and index.is_current():
            return index
        with self._swapping:
            if self._index is not None and self._index.is_current():
                return self._index
            self._index = None
            paths = self.index_paths() if self.index_directory.is_dir() else []
            if paths:
                self._index = Index(paths[-1][1])
            return self._index

    def drop_index(self) -> Index | None:
        """Forget the open index, which others may still be reading; the next use opens what is there."""
        with self._swapping:
            index, self._index = self._index, None
        return index

    def remove_old_indexes(self, newest: int) -> None:
        """Unlink every index but the newest."""
        for number, path in self.index_paths():
            if number < newest:
                for companion in _INDEX_COMPANIONS:
                    path.with_name(path.name + companion).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a process that died left half-made."""
        for path in self.index_directory.glob("*.building*"):
            path.unlink(missing_ok=True)
        for number, _ in self.index_paths()[-1:]:
            self.remove_old_indexes(number)
        for path in self.root.glob(f"*/*{SEGMENT_SUFFIX}{COMPACTED_SUFFIX}"):
            self.disk.unlink(path)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the system's and SQLite's errors into UnavailableError; the one place where this backend does."""
    try:
        yield
    except OSError as error:
        logger.warning("the data directory failed", extra={"cause": error.strerror, "errno": error.errno})
        raise UnavailableError(f"The data directory can't be used: {error.strerror}.", code="storage_failed") from error
    except sqlite3.Error as error:
        logger.warning("the index failed", extra={"cause": str(error)})
        cause = _INDEX_CAUSES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "it can't be read")
        raise UnavailableError(f"The index of the data directory can't be used: {cause}.", code="storage_failed") from error
