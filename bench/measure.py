"""Timing on a noisy machine: rounds that alternate between contenders, medians, and the least disturbed round."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from bench.data import build_directory
from shared.backends.file.backend import FileBackend
from shared.models import Record

MS = 1_000
US = 1_000_000

Timed = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the tables. `figures` are numbers by name, the unit last in the name; `met` is None without a bar."""

    work: str
    records: int | None
    figures: Mapping[str, float]
    bar: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Context:
    """What a benchmark works with: how many records, where to put them, and the directories made so far."""

    records: int
    rounds: int
    folder: Path
    built: set[str] = field(default_factory=set)

    def directory(self, name: str, counts: Mapping[type[Record], int], days: int) -> Path:
        """A data directory of that name, made at its first use."""
        root = self.folder / name
        if name not in self.built:
            build_directory(root, counts, days)
            self.built.add(name)
        return root

    def temporary(self) -> "TemporaryDirectory[str]":
        """A folder beside the others, on the same disk."""
        return TemporaryDirectory(dir=self.folder)


async def opened(root: Path, **options: Any) -> FileBackend:
    """A connected backend over a directory; it is indexed first where need be."""
    backend = FileBackend(root, **options)
    await backend.connect()
    return backend


async def seconds(work: Timed) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def typical(work: Timed, times: int) -> float:
    """The median of so many calls, in seconds."""
    return median([await seconds(work) for _ in range(times)])


async def interleaved(rounds: int, contenders: Mapping[str, Callable[[], Awaitable[float]]]) -> dict[str, list[float]]:
    """What each contender measures in every round; who goes first changes from round to round."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            measured[name].append(await contenders[name]())
    return measured


def least(values: Iterable[float]) -> float:
    """The least disturbed round."""
    return min(values)


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile (1 to 99)."""
    return quantiles(values, n=100)[percent - 1]


def resident_bytes(pid: int, entry: str = "VmRSS") -> int:
    """The resident memory of a process, or its peak (`VmHWM`)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith(f"{entry}:")]
    return int(line.split()[1]) * 1024
