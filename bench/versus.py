"""One of our backends against the bare driver of its database: what both do, in rounds that alternate."""

import gc
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple, Protocol

from shared.backends.base import Backend
from shared.models import ImageGenerationTransaction
from shared.query import Query, Stored
from shared.timestamps import from_ms
from tests.support.records import make

MODEL = ImageGenerationTransaction
ROUNDS = 15
BATCH = 1_000
PAGE = 50
BAR = 1.3
"""Times the bare driver's."""
KEPT = 200
OPERATIONS = {"create": (1, 20), "create_many": (BATCH, 1), "find": (0, 100), "newest": (0, 20)}
"""Of each: records it is given, and how often a round does it."""
_WARM_UP = 10


class Compared(NamedTuple):
    """Median seconds of each, and the median of the ratios round by round: what disturbs a round disturbs both."""

    bare: float
    ours: float
    ratio: float


Measured = dict[str, Compared]
"""By operation."""


class Contender(Protocol):
    """One of the two."""

    async def create(self, records: Sequence[Stored]) -> None:
        """Store the first."""

    async def create_many(self, records: Sequence[Stored]) -> None:
        """Store them all."""

    async def find(self, records: Sequence[Stored]) -> None:
        """Read the first by its id."""

    async def newest(self, records: Sequence[Stored]) -> None:
        """Read the newest 50 there are."""


class Ours:
    """A backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def create(self, records: Sequence[Stored]) -> None:
        assert not (await self._backend.create(MODEL, records[0])).existed

    async def create_many(self, records: Sequence[Stored]) -> None:
        outcomes = await self._backend.create_many(MODEL, records)
        assert not any(outcome.existed or outcome.error for outcome in outcomes)

    async def find(self, records: Sequence[Stored]) -> None:
        assert await self._backend.find_by_id(MODEL, records[0].id) is not None

    async def newest(self, _: Sequence[Stored]) -> None:
        assert len((await self._backend.find(Query(MODEL, limit=PAGE))).items) == PAGE


def made(count: int) -> list[Stored]:
    """Records of just now, of forty sessions."""
    now = int(time.time() * 1_000)
    return [make.full(MODEL, timestamp=from_ms(now - n), sessionId=f"s-{n % 40}") for n in range(count)]


async def alternate(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    after: Callable[[str, Sequence[Stored]], Awaitable[object]] | None = None,
) -> Measured:
    """What "bare" and "ours" take for each operation. `after` a write it is told who wrote, and what that one is to keep."""
    taken: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    kept = {name: made(KEPT) for name in contenders}
    for name, contender in contenders.items():
        await contender.create_many(kept[name])
        for _ in range(_WARM_UP):
            await contender.create(made(1))
            await contender.find(kept[name])
            await contender.newest([])
    for number in range(rounds):
        for operation, (size, times) in OPERATIONS.items():
            for name, contender in sorted(contenders.items(), reverse=number % 2 == 0):
                given = [made(size) if size else kept[name] for _ in range(times)]
                work: Callable[[Sequence[Stored]], Awaitable[None]] = getattr(contender, operation)
                gc.collect()
                started = time.perf_counter()
                for records in given:
                    await work(records)
                taken[operation][name].append((time.perf_counter() - started) / times)
                if size and after is not None:
                    await after(name, kept[name])
    return {operation: _compare(by_name["bare"], by_name["ours"]) for operation, by_name in taken.items()}


def _compare(bare: Sequence[float], ours: Sequence[float]) -> Compared:
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return Compared(median(bare), median(ours), median(ratios))
