"""A process whose limits shrink while it works: run as a script with a directory and the limit's name.

It prints what a refusal said; any broken promise ends it with a traceback.
"""

import asyncio
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.backends.file.backend import FileBackend
from shared.errors import UnavailableError
from shared.models import SystemEventLog
from shared.query import Query
from shared.timestamps import shift
from tests.contract.steps import walk
from tests.reliability.proven import proven
from tests.support.records import START

MODEL = SystemEventLog
_LIMITS = {"size": resource.RLIMIT_FSIZE, "files": resource.RLIMIT_NOFILE}
_DAYS = 40


@contextmanager
def limited(name: str, value: int) -> Iterator[None]:
    """The limit has the value within the block."""
    kind = _LIMITS[name]
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


class Work:
    """Creates records one after the other and knows which were acknowledged."""

    def __init__(self, backend: FileBackend) -> None:
        self.acknowledged: list[str] = []
        self._backend = backend
        self._sent = 0

    async def create(self, count: int, *, days: int) -> None:
        """Raises UnavailableError at the first that is refused."""
        for _ in range(count):
            self._sent += 1
            stored = proven(
                MODEL, f"r{self._sent:05}", shift(START, days=self._sent % days, milliseconds=self._sent), size=2_000
            )
            await self._backend.create(MODEL, stored)
            self.acknowledged.append(stored.id)

    async def check(self) -> None:
        """What was acknowledged is there, and nothing twice."""
        found = [stored.id for stored in await walk(self._backend, Query(MODEL, limit=1_000))]
        assert len(set(found)) == len(found)
        assert set(self.acknowledged) <= set(found)


def soon_felt(root: Path, name: str) -> int:
    """A value of the limit that leaves room for little more."""
    if name == "size":
        return max(path.stat().st_size for path in root.rglob("*.jsonl")) + 5_000
    return len(list(Path("/proc/self/fd").iterdir())) + 6


async def main(root: Path, name: str) -> None:
    """Work until the limit is felt; read under it where that needs nothing new; go on when it is lifted."""
    backend = FileBackend(root)
    await backend.connect()
    work = Work(backend)
    await work.create(60, days=3)
    await work.check()
    with limited(name, soon_felt(root, name)):
        try:
            await work.create(500, days=1 if name == "size" else _DAYS)
        except UnavailableError as error:
            print(error.error_code, error.message, flush=True)  # noqa: T201
        else:
            raise AssertionError("the limit was not felt")
        if name == "size":
            await work.check()
    await work.check()
    await work.create(60, days=_DAYS)
    await work.check()
    await backend.disconnect()
    await backend.connect()
    await work.check()
    await backend.disconnect()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
