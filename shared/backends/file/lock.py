"""The one lock of a data directory, among threads and processes (`flock`: local file systems only).

The lock file is never renamed or deleted. While segments are being changed it names them, so that whoever takes the
lock after a holder that died knows what to read again.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.backends.file.disk import FILE_MODE
from shared.errors import UnavailableError

PATIENCE_SECONDS = 10.0
_END = b"\0"
_FIRST_WAIT = 0.0001
_LONGEST_WAIT = 0.002


class DirectoryLock:
    """Exclusive among all users of the directory. `patience` (seconds) is how long to wait for it."""

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._path = path
        self._patience = patience
        self.descriptor = self._open()
        self._threads = threading.RLock()
        self._depth = 0

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def close(self) -> None:
        """Free the descriptor, and with it the lock if it is held."""
        os.close(self.descriptor)

    @contextmanager
    def hold(self, patience: float | None = None) -> Iterator[bool]:
        """Hold the lock within the block; holding it twice in one thread is holding it once.

        Yields True, or, with a patience of 0 seconds only, False where someone else holds it. Raises UnavailableError
        when patience ends.
        """
        patience = self._patience if patience is None else patience
        if not self._threads.acquire(timeout=patience) if patience else not self._threads.acquire(blocking=False):
            if patience:
                raise UnavailableError("The data directory is busy.", code="storage_busy")
            yield False
            return
        try:
            if self._depth == 0 and not self._flock(patience):
                if patience:
                    raise UnavailableError("The data directory is locked by another process.", code="storage_busy")
                yield False
                return
            self._depth += 1
            try:
                yield True
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _flock(self, patience: float) -> bool:
        give_up = time.monotonic() + patience
        wait = _FIRST_WAIT
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    return False
                time.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            else:
                if self._is_in_place():
                    return True
                self._take_new_file()

    def _is_in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(self.descriptor).st_ino
        except FileNotFoundError:
            return False

    def _take_new_file(self) -> None:
        """Someone has put a copy of the directory in its place, lock and all: those who come later know only that one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._open()
        os.close(self.descriptor)
        self.descriptor = fresh

    def announce(self, segments: Iterable[str]) -> None:
        """Name the segments about to be changed."""
        os.pwrite(self.descriptor, "\n".join(segments).encode() + _END, 0)

    def withdraw(self) -> None:
        """Say that every change is done."""
        os.pwrite(self.descriptor, _END, 0)

    def announced(self) -> list[str]:
        """What a holder that died was changing; empty after an orderly end."""
        if os.pread(self.descriptor, 1, 0) in (b"", _END):
            return []
        names, _, _ = os.pread(self.descriptor, 1 << 20, 0).partition(_END)
        return names.decode(errors="replace").split("\n")
