"""A disk that forgets: what was synced lasts, the rest may be lost, torn or reordered when the power goes."""

import copy
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BLOCK = 512
_DIRECTORY = -1
"""What a name stands for that is no file."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new empty file under a path."""

    path: str
    file: int


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes at an offset, at the end of the file or within."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """The file has another size now."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What was written to the file lasts."""

    file: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file has taken the place of another."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A name is gone."""

    path: str


@dataclass(frozen=True, slots=True)
class MadeDirectory:
    """A new directory."""

    path: str


@dataclass(frozen=True, slots=True)
class SyncedDirectory:
    """The names in a directory last."""

    path: str


Operation = Created | Written | Cut | Synced | Renamed | Unlinked | MadeDirectory | SyncedDirectory


@dataclass(slots=True)
class _File:
    """`revision` counts the syncs that made a change last."""

    durable: bytes = b""
    pending: list[Written | Cut] = field(default_factory=list)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class _NameChange:
    removed: str | None = None
    added: tuple[str, int] | None = None

    def apply(self, names: dict[str, int]) -> None:
        if self.removed is not None:
            names.pop(self.removed, None)
        if self.added is not None:
            names[self.added[0]] = self.added[1]


@dataclass(frozen=True, slots=True)
class Image:
    """What is found when the power is back: the number and the content of each file by its path, and the directories."""

    files: dict[str, tuple[int, bytes]]
    directories: list[str]

    def write(self, root: Path) -> None:
        """Lay it down in an empty folder."""
        for directory in self.directories:
            (root / directory).mkdir(parents=True, exist_ok=True)
        for path, (_, content) in self.files.items():
            (root / path).write_bytes(content)


class Storage:
    """Follows operations one by one; `lose_power` and `keep_all` can be asked at any time and change nothing."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._durable: dict[str, int] = {}
        self._pending: dict[str, list[_NameChange]] = {}

    def copy(self) -> "Storage":
        return copy.deepcopy(self)

    def revisions(self) -> dict[int, int]:
        """By file: how often a sync has made a change of it last."""
        return {number: file.revision for number, file in self._files.items()}

    def apply(self, operation: Operation) -> None:
        """One more operation was done."""
        match operation:
            case Created(path, number):
                self._files[number] = _File()
                self._change(path, _NameChange(added=(path, number)))
            case Written(number) | Cut(number):
                self._files[number].pending.append(operation)
            case Synced(number):
                file = self._files[number]
                if file.pending:
                    file.durable = _all_of(file)
                    file.pending.clear()
                    file.revision += 1
            case Renamed(source, target):
                self._change(target, _NameChange(source, (target, self.names()[source])))
            case Unlinked(path):
                self._change(path, _NameChange(removed=path))
            case MadeDirectory(path):
                self._change(path, _NameChange(added=(path, _DIRECTORY)))
            case SyncedDirectory(path):
                for change in self._pending.pop(path, ()):
                    change.apply(self._durable)

    def _change(self, path: str, change: _NameChange) -> None:
        self._pending.setdefault(str(PurePosixPath(path).parent), []).append(change)

    def names(self) -> dict[str, int]:
        """Every name as running processes see it."""
        return self._names(change for changes in self._pending.values() for change in changes)

    def _names(self, changes: Iterable[_NameChange]) -> dict[str, int]:
        names = dict(self._durable)
        for change in changes:
            change.apply(names)
        return names

    def keep_all(self) -> Image:
        """What is left when the processes were killed and the power stayed."""
        return self._image(self.names(), {number: _all_of(file) for number, file in self._files.items()})

    def drop_all(self) -> Image:
        """What is left when nothing unsynced had reached the disk."""
        return self._image(dict(self._durable), {number: file.durable for number, file in self._files.items()})

    def lose_power(self, chance: random.Random) -> Image:
        """What may be left otherwise: of what was not synced any part, in any order."""
        likely = chance.choice([0.1, 0.5, 0.9])
        changes = [change for changes in self._pending.values() for change in changes if chance.random() < likely]
        return self._image(self._names(changes), {number: _part_of(file, chance) for number, file in self._files.items()})

    def _image(self, names: dict[str, int], contents: dict[int, bytes]) -> Image:
        reachable = [path for path in names if _is_reachable(path, names)]
        return Image(
            {path: (names[path], contents[names[path]]) for path in reachable if names[path] != _DIRECTORY},
            sorted(path for path in reachable if names[path] == _DIRECTORY),
        )


def _is_reachable(path: str, names: dict[str, int]) -> bool:
    return all(names.get(str(parent)) == _DIRECTORY for parent in PurePosixPath(path).parents if str(parent) != ".")


def _all_of(file: _File) -> bytes:
    content = bytearray(file.durable)
    for change in file.pending:
        if isinstance(change, Cut):
            _resize(content, change.size)
        else:
            _put(content, change.offset, change.data)
    return bytes(content)


def _part_of(file: _File, chance: random.Random) -> bytes:
    """Each change is lost or kept, and of a write each block on its own; a hole is zeros, and the end may be cut."""
    if not file.pending:
        return file.durable
    content, likely = bytearray(file.durable), chance.choice([0.2, 0.6, 1.0])
    for change in file.pending:
        if isinstance(change, Cut):
            if chance.random() < likely:
                _resize(content, change.size)
            continue
        for start, end in _blocks(change.offset, change.offset + len(change.data)):
            if chance.random() < likely:
                _put(content, start, change.data[start - change.offset : end - change.offset])
    if len(content) > len(file.durable) and chance.random() < 0.5:
        _resize(content, chance.randint(len(file.durable), len(content)))
    return bytes(content)


def _blocks(start: int, end: int) -> Iterable[tuple[int, int]]:
    while start < end:
        stop = min(end, (start // BLOCK + 1) * BLOCK)
        yield start, stop
        start = stop


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data
