"""One of several processes that work on one directory at once.

Run as a script it takes its plan from stdin and tells on stdout what it did.
"""

import asyncio
import pickle
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from shared.backends.file.backend import FileBackend
from shared.errors import PreconditionFailedError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query, Stored
from shared.timestamps import day_of, shift
from tests.contract.steps import increment
from tests.reliability.handmade import changed
from tests.reliability.proven import is_proven, proven
from tests.support.records import START

T = TypeVar("T")

MODEL = SystemEventLog
DAYS = 3
_MOST_BUSY = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process is to do. `steady` are records that nobody changes, `counters` those that all count up."""

    root: Path
    number: int
    seed: int
    tasks: int
    steps: int
    steady: list[Stored]
    counters: list[str]


@dataclass(slots=True)
class Report:
    """What it did: the records that it left, how often it counted up, and how often it was told to come again."""

    left: dict[str, Stored] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    increments: Counter[str] = field(default_factory=Counter)
    walks: int = 0
    stale: int = 0
    busy: int = 0


class Racer:
    """The tasks of one process."""

    def __init__(self, backend: FileBackend, plan: Plan) -> None:
        self.report = Report()
        self._backend = backend
        self._plan = plan
        self._writing = 0

    async def run(self) -> Report:
        """Seven of ten tasks write, the others read and clear up until the writers are done."""
        writers = self._plan.tasks * 7 // 10
        self._writing = writers
        others: list[Callable[[random.Random], Awaitable[None]]] = [
            self._page,
            self._page,
            self._read,
            self._count,
            self._compact,
        ]
        calls = [self._write(number) for number in range(writers)]
        calls += [self._until_done(others[number % len(others)], number) for number in range(self._plan.tasks - writers)]
        await asyncio.gather(*calls)
        return self.report

    async def _until_done(self, call: Callable[[random.Random], Awaitable[None]], number: int) -> None:
        chance = random.Random(f"{self._plan.seed}/{self._plan.number}/other/{number}")
        while self._writing:
            await call(chance)
            await asyncio.sleep(chance.uniform(0, 0.02))

    async def _write(self, number: int) -> None:
        chance = random.Random(f"{self._plan.seed}/{self._plan.number}/{number}")
        mine: dict[str, Stored] = {}
        for step in range(self._plan.steps):
            kind = chance.choice([self._create, self._update, self._update, self._delete, self._purge])
            await kind(chance, mine, f"p{self._plan.number}-t{number}-{step}")
        self.report.left |= mine
        self._writing -= 1

    async def _create(self, chance: random.Random, mine: dict[str, Stored], name: str) -> None:
        moment = shift(START, days=chance.randrange(DAYS), seconds=chance.randrange(40_000))
        outcome = await self._backend.create(MODEL, proven(MODEL, name, moment, size=chance.choice([40, 2_000])))
        assert outcome.stored is not None
        assert not outcome.existed
        mine[name] = outcome.stored
        assert await self._found(name) == mine[name]

    async def _update(self, chance: random.Random, mine: dict[str, Stored], name: str) -> None:
        """With the right etag, after a try with a wrong one."""
        if not mine:
            return
        name = chance.choice(list(mine))
        try:
            await self._backend.update(MODEL, changed(mine[name]), "0-stale")
        except PreconditionFailedError:
            self.report.stale += 1
        mine[name] = await self._backend.update(MODEL, changed(mine[name]), mine[name].etag)
        assert await self._found(name) == mine[name]

    async def _delete(self, chance: random.Random, mine: dict[str, Stored], name: str) -> None:
        if mine:
            name = chance.choice(list(mine))
            await self._backend.delete(MODEL, name, mine.pop(name).etag)
            self.report.gone.add(name)
            assert await self._found(name) is None

    async def _purge(self, chance: random.Random, mine: dict[str, Stored], name: str) -> None:
        names = chance.sample(list(mine), min(2, len(mine)))
        if names:
            await self._patiently(lambda: self._backend.purge(MODEL, names))
            for gone in names:
                del mine[gone]
                self.report.gone.add(gone)
                assert await self._found(gone) is None
        if self._plan.counters:
            counter = chance.choice(self._plan.counters)
            await increment(self._backend, MODEL, counter, 1)
            self.report.increments[counter] += 1

    async def _found(self, name: str) -> Stored | None:
        return await self._patiently(lambda: self._backend.find_by_id(MODEL, name))

    async def _page(self, chance: random.Random) -> None:
        """A walk over all records has each steady one once and in order, and no record's line under another's name."""
        descending = chance.random() < 0.5
        query = Query(MODEL, descending=descending, limit=chance.choice([7, 30, 200]))
        seen: list[Stored] = []
        while True:
            page = await self._patiently(partial(self._backend.find, query))
            seen += page.items
            if not page.more:
                break
            query = replace(query, after=page.items[-1].key)
        keys = [stored.key for stored in seen]
        assert keys == sorted(set(keys), reverse=descending)
        assert all(is_proven(stored) for stored in seen if stored.id not in self._plan.counters)
        steady = {stored.id for stored in self._plan.steady}
        expected = self._plan.steady[::-1] if descending else self._plan.steady
        assert [stored for stored in seen if stored.id in steady] == expected
        self.report.walks += 1

    async def _read(self, chance: random.Random) -> None:
        """Whatever any process may have made is itself where it is there."""
        for _ in range(10):
            process, task = chance.randrange(4), chance.randrange(self._plan.tasks)
            name = f"p{process}-t{task}-{chance.randrange(self._plan.steps)}"
            found = await self._found(name)
            assert found is None or (found.id == name and is_proven(found))
        steady = chance.choice(self._plan.steady)
        assert await self._found(steady.id) == steady

    async def _count(self, chance: random.Random) -> None:
        assert await self._patiently(lambda: self._backend.count(Query(MODEL))) >= len(self._plan.steady)

    async def _compact(self, chance: random.Random) -> None:
        day = day_of(shift(START, days=chance.randrange(DAYS)))
        await self._patiently(lambda: self._backend._compact(MODEL, day))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """As a client does that is told to come again."""
        for _ in range(_MOST_BUSY):
            try:
                return await call()
            except UnavailableError as error:
                if error.error_code != "storage_busy":
                    raise
                self.report.busy += 1
        return await call()


async def main() -> None:
    """Open, say so, wait for the start, work, report."""
    plan: Plan = pickle.load(sys.stdin.buffer)
    backend = FileBackend(plan.root, cache_capacity=50)
    await backend.connect()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    pickle.dump(await Racer(backend, plan).run(), sys.stdout.buffer)
    await backend.disconnect()


if __name__ == "__main__":
    from tests.reliability import racer  # what is pickled belongs to the module by its name

    asyncio.run(racer.main())
