"""What a database must hold after a crash, by what was asked of it and acknowledged until then."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.backends.base import Backend
from shared.backends.file.backend import FileBackend
from shared.models import MODELS, Record
from shared.query import Aggregation, Query, Stored
from tests.contract.steps import walk
from tests.reliability.recording import Acknowledged, Asked, Event, Key


class Ledger:
    """Follows the events; each key has one call at a time."""

    def __init__(self) -> None:
        self._sure: dict[Key, Stored | None] = {}
        self._open: dict[int, Mapping[Key, Stored | None]] = {}

    def follow(self, event: Event) -> None:
        """One more event."""
        if isinstance(event, Asked):
            self._open[event.call] = event.effects
        elif isinstance(event, Acknowledged):
            self._sure.update(self._open.pop(event.call))

    def forget_calls(self, found: Mapping[Key, Stored]) -> "Ledger":
        """The ledger of those who go on with what was found: it is the truth from now on."""
        after = Ledger()
        after._sure = {**dict.fromkeys(self._keys()), **found}
        return after

    def _keys(self) -> set[Key]:
        return set(self._sure) | {key for effects in self._open.values() for key in effects}

    def check(self, found: Mapping[Key, Stored]) -> None:
        """Each key holds what was last acknowledged, or what was in flight would make of it; there are no others."""
        assert not set(found) - self._keys(), "there are records that nobody sent"
        for key in self._keys():
            allowed = [self._sure.get(key), *(effects[key] for effects in self._open.values() if key in effects)]
            assert _content(found.get(key)) in map(_content, allowed), f"{key[0].__name__} {key[1]} is neither before nor after"


def _content(stored: Stored | None) -> object:
    return None if stored is None else (stored.record, stored.hidden)


async def everything(backend: Backend, models: Iterable[type[Record]] = tuple(MODELS.values())) -> dict[Key, Stored]:
    """All records, after checking that each is there once, by id too, and that the counts agree."""
    found: dict[Key, Stored] = {}
    stats = await backend.get_stats()
    for model in models:
        records = await walk(backend, Query(model, descending=False, limit=500))
        assert [stored.key for stored in records] == sorted({stored.key for stored in records})
        found.update({(model, stored.id): stored for stored in records})
        assert len(records) == len({stored.id for stored in records})
        assert stats.models[model.__name__].count == await backend.count(Query(model)) == len(records)
        assert sum(group.count for group in await backend.aggregate(Aggregation(model))) == len(records)
        for stored in records[:: max(1, len(records) // 5)]:
            assert await backend.find_by_id(model, stored.id) == stored
    return found


async def reopened(root: Path) -> dict[Key, Stored]:
    """All records that a plain instance finds in a directory."""
    backend = FileBackend(root)
    await backend.connect()
    try:
        return await everything(backend)
    finally:
        await backend.disconnect()
