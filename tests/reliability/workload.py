"""Random work on a backend, told to the recording disk: a call for each record at a time, many calls at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from shared.backends.base import Backend
from shared.models import ApiRequestLog, Record, SystemEventLog
from shared.query import Query, Stored
from shared.timestamps import day_of, shift
from tests.reliability.proven import proven, text
from tests.reliability.recording import Key, RecordingDisk
from tests.support.records import START

DAYS = 5
_MODELS: tuple[type[Record], ...] = (SystemEventLog, ApiRequestLog)
_SIZES = (40, 40, 300, 1_500)


class Workload:
    """Holds what is there as far as it was acknowledged."""

    def __init__(self, backend: Backend, disk: RecordingDisk, chance: random.Random, present: Mapping[Key, Stored]) -> None:
        self.present = dict(present)
        self._backend = backend
        self._disk = disk
        self._chance = chance
        self._gone: list[Key] = []

    async def run(self, steps: int) -> None:
        """So many random steps."""
        choices: Mapping[Callable[[], Awaitable[None]], int] = {
            self.create_batch: 4,
            self.create_at_once: 3,
            self.update_some: 5,
            self.delete_some: 3,
            self.create_again: 2,
            self.compact: 2,
            self.purge: 3,
            self.expire: 1,
        }
        for step in self._chance.choices(list(choices), list(choices.values()), k=steps):
            await step()

    async def create_batch(self) -> None:
        """One call, records of several days."""
        model = self._chance.choice(_MODELS)
        batch = [self._new(model) for _ in range(self._chance.randint(2, 6))]
        effects: dict[Key, Stored | None] = {(model, stored.id): stored for stored in batch}
        outcomes = await self._told(effects, self._backend.create_many(model, batch))
        assert not any(outcome.existed or outcome.error for outcome in outcomes)

    async def create_at_once(self) -> None:
        """Calls that may share a group."""
        await asyncio.gather(*(self.create(model, self._new(model)) for model in self._chance.choices(_MODELS, k=3)))

    async def update_some(self) -> None:
        """New versions of different records."""
        await asyncio.gather(*(self.update(*key) for key in self._some(3)))

    async def delete_some(self) -> None:
        """Deletes of different records."""
        keys = self._some(2)
        await asyncio.gather(*(self.delete(*key) for key in keys))

    async def create_again(self) -> None:
        """A deleted id is used again, on another day."""
        if self._gone:
            model, record_id = self._gone.pop(self._chance.randrange(len(self._gone)))
            await self.create(model, self._new(model, record_id))

    async def compact(self) -> None:
        """A day loses its dead lines."""
        model, day = self._chance.choice(_MODELS), day_of(self._moment())
        await self._backend._compact(model, day)  # type: ignore[attr-defined]

    async def purge(self) -> None:
        """Records leave no copy, some that were deleted before too."""
        model = self._chance.choice(_MODELS)
        await self.purge_ids(model, [record_id for kind, record_id in (*self._some(3), *self._gone[-2:]) if kind is model])

    async def expire(self) -> None:
        """Retention removes whole days and part of one."""
        model, until = (
            self._chance.choice(_MODELS),
            shift(START, days=self._chance.randint(0, 1), hours=self._chance.randint(0, 9)),
        )
        past = [key for key, stored in self.present.items() if key[0] is model and stored.timestamp < until]
        query = Query(model, until=until, descending=False, limit=1_000)
        await self._told(dict.fromkeys(past), self._backend.delete_where(query))

    async def create(self, model: type[Record], stored: Stored) -> None:
        """One create."""
        outcome = await self._told({(model, stored.id): stored}, self._backend.create(model, stored))
        assert not outcome.existed

    async def update(self, model: type[Record], record_id: str) -> None:
        """The next content of a record that is there."""
        before = self.present[model, record_id]
        current = await self._backend.find_by_id(model, record_id)
        assert current is not None
        metadata = before.record["metadata"]
        number, size = metadata["n"] + 1, self._chance.choice(_SIZES)
        changed = {**metadata, "n": number, "size": size, "text": text(record_id, number, size)}
        after = before._replace(record={**before.record, "metadata": changed})
        await self._told({(model, record_id): after}, self._backend.update(model, after, current.etag))

    async def delete(self, model: type[Record], record_id: str) -> None:
        """One delete."""
        await self._told({(model, record_id): None}, self._backend.delete(model, record_id))

    async def purge_ids(self, model: type[Record], ids: Sequence[str]) -> None:
        """One purge."""
        await self._told({(model, record_id): None for record_id in ids}, self._backend.purge(model, ids))

    async def _told(self, effects: Mapping[Key, Stored | None], call: Awaitable[Any]) -> Any:
        number = self._disk.asked(effects)
        answer = await call
        self._disk.acknowledged(number)
        for key, stored in effects.items():
            if stored is not None:
                self.present[key] = stored
            elif self.present.pop(key, None) is not None:
                self._gone.append(key)
        return answer

    def _new(self, model: type[Record], record_id: str | None = None) -> Stored:
        return proven(
            model, record_id or f"r{self._chance.getrandbits(40):x}", self._moment(), size=self._chance.choice(_SIZES)
        )

    def _moment(self) -> str:
        return shift(START, days=self._chance.randrange(DAYS), minutes=self._chance.randrange(600))

    def _some(self, most: int) -> list[Key]:
        return self._chance.sample(list(self.present), min(most, len(self.present)))
