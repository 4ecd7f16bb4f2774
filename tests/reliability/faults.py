"""The disk seam with faults: calls that fail or do half of what was asked, chosen by their number."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from shared.backends.file.disk import Disk

CHANGES = ("open_append", "write", "open_overwrite", "overwrite", "truncate", "sync", "rename", "unlink", "sync_directory")


class FaultyDisk(Disk):
    """Counts calls and asks `fault` about each: it is given the name and the number and may raise OSError.

    Real syncs are left out. With `short` set, writes take half of what they are given.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.fault: Callable[[str, int], None] = lambda name, number: None
        self.short = False

    def _call(self, name: str) -> None:
        self.calls += 1
        self.fault(name, self.calls)

    def _taken(self, data: bytes) -> bytes:
        return data[: (len(data) + 1) // 2] if self.short else data

    def open_append(self, path: Path) -> int:
        self._call("open_append")
        return super().open_append(path)

    def write(self, descriptor: int, data: bytes) -> int:
        self._call("write")
        return super().write(descriptor, self._taken(data))

    def open_overwrite(self, path: Path) -> int:
        self._call("open_overwrite")
        return super().open_overwrite(path)

    def overwrite(self, descriptor: int, offset: int, data: bytes) -> int:
        self._call("overwrite")
        return super().overwrite(descriptor, offset, self._taken(data))

    def truncate(self, descriptor: int, size: int) -> None:
        self._call("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._call("sync")

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")


def at(number: int, error: int) -> Callable[[str, int], None]:
    """One call fails."""

    def fault(name: str, current: int) -> None:
        if current == number:
            raise_error(error)

    return fault


def from_on(number: int, error: int, *names: str) -> Callable[[str, int], None]:
    """From a number on all calls fail, or those of the names."""

    def fault(name: str, current: int) -> None:
        if current >= number and (not names or name in names):
            raise_error(error)

    return fault


def raise_error(error: int) -> None:
    """The error as the system raises it."""
    raise OSError(error, os.strerror(error))


FULL, READ_ONLY, DENIED, BROKEN, TOO_MANY = errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE
