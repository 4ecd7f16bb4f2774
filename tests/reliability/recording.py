"""The disk seam with a memory: what was done to the files, and what was asked and acknowledged, in one sequence."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.backends.file.disk import Disk
from shared.models import Record
from shared.query import Stored
from tests.reliability.storage import (
    Created,
    Cut,
    MadeDirectory,
    Operation,
    Renamed,
    Storage,
    Synced,
    SyncedDirectory,
    Unlinked,
    Written,
)

Key = tuple[type[Record], str]
_TURNS = 6
"""So many turns of the event loop bring an answer from the writing thread to whoever waits for it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call has begun that will leave these records so; None is no record."""

    call: int
    effects: Mapping[Key, Stored | None]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The call has answered."""

    call: int


@dataclass(frozen=True, slots=True)
class IndexCopy:
    """The index's files at a moment, which file each inode was, and when each file had last been changed."""

    content: Mapping[str, bytes]
    inodes: Mapping[int, int]
    modified_ns: Mapping[int, int]


Event = Operation | Asked | Acknowledged | IndexCopy


class RecordingDisk(Disk):
    """Does what is asked, without real syncs, and writes it down. `world` is the folder that the simulated disk holds.

    Before each operation the event loop has its turn, so that an acknowledgement stands where it was given.
    """

    def __init__(self, world: Path, root: Path, before: Storage | None = None) -> None:
        self.events: list[Event] = []
        self._world = world
        self._index = root / ".index"
        self._lock = root / ".lock"
        self._names = {} if before is None else before.names()
        self._files = 0 if before is None else max(before.revisions(), default=0)
        self._descriptors: dict[int, int] = {}
        self._inodes: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self._guard = threading.RLock()
        self._calls = 0
        self.wants_index: Callable[[], bool] = lambda: False

    def asked(self, effects: Mapping[Key, Stored | None]) -> int:
        """Note that a call begins."""
        with self._guard:
            self._calls += 1
            self.events.append(Asked(self._calls, effects))
            return self._calls

    def acknowledged(self, call: int) -> None:
        """Note that a call has answered."""
        with self._guard:
            self.events.append(Acknowledged(call))

    def copy_index(self) -> None:
        """Note what the index is now; nobody may be writing to it."""
        files = [*self._index.glob("*.sqlite"), *self._index.glob("*.sqlite-wal")]
        if files:
            with self._guard:
                content = {path.name: path.read_bytes() for path in files}
                modified = {number: (self._world / name).stat().st_mtime_ns for name, number in self._names.items()}
                self.events.append(IndexCopy(content, dict(self._inodes), modified))

    def open_append(self, path: Path) -> int:
        self._let_the_loop_run()
        is_new = not path.exists()
        descriptor = super().open_append(path)
        name = self._name(path)
        if is_new:
            self._files += 1
            self._names[name] = self._files
            self._note(Created(name, self._files))
        self._remember(descriptor, self._names[name])
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        self._let_the_loop_run()
        offset = os.fstat(descriptor).st_size
        taken = super().write(descriptor, data)
        self._note(Written(self._descriptors[descriptor], offset, data[:taken]))
        return taken

    def open_overwrite(self, path: Path) -> int:
        descriptor = super().open_overwrite(path)
        self._remember(descriptor, self._names[self._name(path)])
        return descriptor

    def overwrite(self, descriptor: int, offset: int, data: bytes) -> int:
        self._let_the_loop_run()
        taken = super().overwrite(descriptor, offset, data)
        self._note(Written(self._descriptors[descriptor], offset, data[:taken]))
        return taken

    def truncate(self, descriptor: int, size: int) -> None:
        self._let_the_loop_run()
        super().truncate(descriptor, size)
        self._note(Cut(self._descriptors[descriptor], size))

    def sync(self, descriptor: int) -> None:
        self._let_the_loop_run()
        if self._is_lock(descriptor):
            self._descriptors[descriptor] = self._lock_number()
            self._note(Written(self._lock_number(), 0, os.pread(descriptor, os.fstat(descriptor).st_size, 0)))
        self._note(Synced(self._descriptors[descriptor]))

    def rename(self, source: Path, target: Path) -> None:
        self._let_the_loop_run()
        super().rename(source, target)
        self._names[self._name(target)] = self._names.pop(self._name(source))
        self._note(Renamed(self._name(source), self._name(target)))

    def unlink(self, path: Path) -> None:
        self._let_the_loop_run()
        super().unlink(path)
        if self._names.pop(self._name(path), None) is not None:
            self._note(Unlinked(self._name(path)))

    def make_directory(self, path: Path) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        for folder in reversed(missing):
            self._note(MadeDirectory(self._name(folder)))
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._let_the_loop_run()
        if path == self._lock.parent and self._lock.exists():
            self._lock_number()
        self._note(SyncedDirectory(self._name(path)))

    def _is_lock(self, descriptor: int) -> bool:
        """The lock's file is made and written past this seam; what matters of it is what its syncs make last."""
        return self._lock.exists() and _inode(descriptor) == self._lock.stat().st_ino

    def _lock_number(self) -> int:
        name = self._name(self._lock)
        if name not in self._names:
            self._files += 1
            self._names[name] = self._files
            self._note(Created(name, self._files))
        return self._names[name]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._world).as_posix()

    def _remember(self, descriptor: int, number: int) -> None:
        self._descriptors[descriptor] = number
        self._inodes[_inode(descriptor)] = number

    def _note(self, operation: Operation) -> None:
        with self._guard:
            self.events.append(operation)
            if self.wants_index():
                self.copy_index()

    def _let_the_loop_run(self) -> None:
        asyncio.run_coroutine_threadsafe(_turns(), self._loop).result()


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
