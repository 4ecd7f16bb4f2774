"""The batch writer: many creates and deletes as few transactional batches, each record with its own outcome.

A batch is one logical partition's, at most 100 operations, all or nothing; when one item is in the way, what is in the way
is looked up at once and the rest goes again. https://learn.microsoft.com/azure/cosmos-db/transactional-batch
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from azure.cosmos.aio import ContainerProxy

from shared.backends.base import Outcome
from shared.backends.cosmosdb import queries
from shared.backends.cosmosdb.calls import RefusalError
from shared.backends.cosmosdb.client import Connection
from shared.backends.cosmosdb.documents import Item, ItemFormat, read_item
from shared.backends.cosmosdb.reading import WHOLE, Reader
from shared.backends.repeats import first_of_each_id, with_repeats
from shared.backends.retrying import Answer
from shared.errors import ServiceError, TooLargeError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Stored

MAX_OPERATIONS = 100
MAX_BYTES = 1_000_000
"""The service takes 2 MB a batch; half of it keeps one call short and costs nothing, since charges add up."""
_MAX_ITEM_BYTES = 2 * 1024 * 1024
"""https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits"""
_FOREIGN = "A document that this service did not write has the record's id."
_OVERHEAD_BYTES = 200
_CONCURRENT_BATCHES = 16
_MAX_ROUNDS = 20
_MAX_LOOKS = 5
_LOOK_PAUSE = 0.05


@dataclass(slots=True)
class _Entry:
    """A record on its way: where it stood in the call, and its item."""

    position: int
    stored: Stored
    item: Item
    size: int


class Writer:
    """Creates and deletes items of a model in batches."""

    def __init__(
        self, connection: Connection, reader: Reader, items: ItemFormat, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._items = items
        self._clock = clock
        self._gate = asyncio.Semaphore(_CONCURRENT_BATCHES)

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """An outcome for each record in the order given; an id twice finds the first."""
        outcomes: dict[int, Outcome] = {}
        entries: list[_Entry] = []
        now = self._clock()
        for position, stored in first_of_each_id(records):
            try:
                entries.append(self._entry(model, position, stored, now))
            except ServiceError as error:
                outcomes[position] = Outcome(error=error)
        container = await self._connection.container(model) if entries else None
        if container is not None:
            await asyncio.gather(*(self._in_turn(model, container, batch, outcomes) for batch in _batches(entries)))
        return with_repeats(records, outcomes)

    def _entry(self, model: type[Record], position: int, stored: Stored, now: float) -> _Entry:
        """Raises InvalidError and TooLargeError."""
        item = self._items.write(model, stored, now)
        size = len(json.dumps(item, ensure_ascii=False).encode()) + _OVERHEAD_BYTES
        if size > _MAX_ITEM_BYTES:
            raise TooLargeError("The record is too large for the database.")
        return _Entry(position, stored._replace(record=json.loads(item["logogen"]["record"])), item, size)

    async def _in_turn(
        self, model: type[Record], container: ContainerProxy, batch: list[_Entry], outcomes: dict[int, Outcome]
    ) -> None:
        async with self._gate:
            await self._create(model, container, batch, outcomes)

    async def _create(
        self, model: type[Record], container: ContainerProxy, batch: list[_Entry], outcomes: dict[int, Outcome]
    ) -> None:
        """All at once; one by one where there is one that the database can't store."""
        lost = False
        for _ in range(_MAX_ROUNDS):
            try:
                answer = await self._connection.caller.call(partial(self._send, container, batch))
            except RefusalError as refusal:
                lost = lost or refusal.lost
            except ServiceError as error:
                if isinstance(error, TransientError) or len(batch) == 1:
                    outcomes.update((entry.position, Outcome(error=error)) for entry in batch)
                    return
                for entry in batch:
                    await self._create(model, container, [entry], outcomes)
                return
            else:
                for entry, etag in zip(batch, answer.value, strict=True):
                    outcomes[entry.position] = Outcome(entry.stored._replace(etag=etag))
                return
            batch = await self._settle(model, batch, outcomes, lost=lost)
            if not batch:
                return
        busy = UnavailableError("The record was being created and deleted at the same time.")
        outcomes.update((entry.position, Outcome(error=busy)) for entry in batch)

    async def _send(self, container: ContainerProxy, batch: list[_Entry]) -> list[str]:
        """Create the items; their etags."""
        if len(batch) == 1:
            created = await container.create_item(batch[0].item)
            return [str(created.get("_etag") or created.get_response_headers().get("etag"))]
        operations = [("create", (entry.item,)) for entry in batch]
        results = await container.execute_item_batch(operations, partition_key=batch[0].item["pk"])
        return [str(result.get("eTag") or result["resourceBody"]["_etag"]) for result in results]

    async def _settle(
        self, model: type[Record], batch: list[_Entry], outcomes: dict[int, Outcome], *, lost: bool
    ) -> list[_Entry]:
        """Give outcomes to the records whose ids exist, and the others back.

        After a lost answer what exists may be what was sent: it is when everything stored is equal.
        """
        try:
            existing = await self._existing(model, batch)
        except ServiceError as error:
            outcomes.update((entry.position, Outcome(error=error)) for entry in batch)
            return []
        rest: list[_Entry] = []
        for entry in batch:
            if entry.stored.id not in existing:
                rest.append(entry)
                continue
            found = existing[entry.stored.id]
            if found is None:
                outcomes[entry.position] = Outcome(error=UnavailableError(_FOREIGN))
            else:
                ours = lost and (found.record, found.hidden) == (entry.stored.record, entry.stored.hidden)
                outcomes[entry.position] = Outcome(found, existed=not ours)
        return rest

    async def _existing(self, model: type[Record], batch: list[_Entry]) -> dict[str, Stored | None]:
        """The stored records of some ids of one partition, None where a document is not ours.

        Asked again while none is seen yet, since a conflict says that one is there.
        """
        ids = [entry.stored.id for entry in batch]
        for look in range(_MAX_LOOKS):
            found = await self._look_up(model, batch[0].item["pk"], ids)
            if found:
                return found
            await asyncio.sleep(_LOOK_PAUSE * look)
        return {}

    async def _look_up(self, model: type[Record], key: str, ids: list[str]) -> dict[str, Stored | None]:
        if len(ids) == 1:
            stored = await self.find(model, ids[0])
            return {} if stored is None else {stored.id: stored}
        rows = await self._reader.in_partition(model, key, queries.among_ids_statement(key, ids, WHOLE))
        return {row["id"]: read_item(row) for row in rows}

    async def find(self, model: type[Record], record_id: str) -> Stored | None:
        """The record of an id: one point read."""
        container = await self._connection.container(model)
        key = self._items.place(record_id)
        try:
            answer: Answer[Any] = await self._connection.caller.call(lambda: container.read_item(record_id, key))
        except RefusalError as refusal:
            if refusal.status == 404:
                return None
            raise
        return _readable(answer.value)

    async def delete_many(self, model: type[Record], record_ids: Iterable[str]) -> int:
        """Delete the records of ids, and say how many there were."""
        return await self._delete_all(model, dict.fromkeys(record_ids))

    async def delete_seen(self, model: type[Record], etags: Mapping[str, str]) -> int:
        """Delete records by id where they are still the versions with these etags, and say how many were."""
        return await self._delete_all(model, etags)

    async def _delete_all(self, model: type[Record], etags: Mapping[str, str | None]) -> int:
        places: defaultdict[str, list[str]] = defaultdict(list)
        for record_id in etags:
            places[self._items.place(record_id)].append(record_id)
        chunks = [
            (key, {record_id: etags[record_id] for record_id in ids[start : start + MAX_OPERATIONS]})
            for key, ids in places.items()
            for start in range(0, len(ids), MAX_OPERATIONS)
        ]
        return sum(await asyncio.gather(*(self._delete(model, key, chunk) for key, chunk in chunks)))

    async def _delete(self, model: type[Record], key: str, etags: Mapping[str, str | None]) -> int:
        container = await self._connection.container(model)
        deleted, lost = 0, False
        async with self._gate:
            for round_ in range(_MAX_ROUNDS):
                if round_ or None in etags.values():
                    present = await self._present(model, key, etags)
                    deleted += len(etags.keys() - present.keys()) if lost else 0
                    etags = {
                        record_id: etag
                        for record_id, etag in etags.items()
                        if record_id in present and etag in (None, present[record_id])
                    }
                if not etags:
                    return deleted
                operations = [
                    ("delete", (record_id,), {} if etag is None else {"if_match_etag": etag})
                    for record_id, etag in etags.items()
                ]
                try:
                    await self._connection.caller.call(partial(container.execute_item_batch, operations, partition_key=key))
                except RefusalError as refusal:
                    lost = refusal.lost
                else:
                    return deleted + len(etags)
        raise UnavailableError("The records are being deleted by too many at once.")

    async def _present(self, model: type[Record], key: str, ids: Iterable[str]) -> dict[str, str]:
        """The etags of those that are there, by id."""
        statement = queries.among_ids_statement(key, list(ids), "c.id, c._etag")
        rows = await self._reader.in_partition(model, key, statement)
        return {row["id"]: row["_etag"] for row in rows}


def _readable(row: Any) -> Stored:
    """The record of an item that has the id we look for; what someone else put there is not one."""
    stored = read_item(row)
    if stored is None:
        raise UnavailableError(_FOREIGN)
    return stored


def _batches(entries: list[_Entry]) -> Iterator[list[_Entry]]:
    """The entries by partition, at most 100 and about 1 MB together."""
    places: defaultdict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        places[entry.item["pk"]].append(entry)
    for group in places.values():
        batch: list[_Entry] = []
        size = 0
        for entry in group:
            if batch and (len(batch) == MAX_OPERATIONS or size + entry.size > MAX_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += entry.size
        yield batch
