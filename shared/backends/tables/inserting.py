"""Entities inserted in as few transactions as there can be, each with what became of it.

A transaction is one partition's, at most 100 entities and 4 MB, all or nothing; where one is in the way, what is in the way
is looked up at once and the rest goes again.
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from shared.backends.tables.calls import RefusalError, unexpected
from shared.backends.tables.client import Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import Entity, etag_of
from shared.backends.tables.filters import Condition
from shared.backends.tables.keys import Place
from shared.backends.tables.reading import Reader
from shared.backends.tables.scanning import PAGE_ROWS, Row
from shared.errors import ServiceError, TransientError, UnavailableError
from shared.models import Record

MAX_OPERATIONS = 100
MAX_BYTES = 1_000_000
"""The service takes 4 MB; less keeps a call short, and the event loop free while it is sent."""
_OVERHEAD_BYTES = 2_500
"""Names, types and keys of an entity, and the headers of its part."""
_CONCURRENT_CALLS = 8
_MAX_ROUNDS = 20
CONTESTED = "The record was being created and deleted at the same time."
_QUIETLY = {"response_preference": "return-no-content"}

Inserted = str
"""The etag of an entity that was inserted."""
Result = Inserted | Row | ServiceError
"""An etag, the entity that was in the way, or why it is not stored or nothing is known."""


class Inserter:
    """Inserts entities that are new."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader
        self._gate = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def insert(self, model: type[Record], entities: Sequence[Entity]) -> list[Result]:
        """What became of each entity, in the order given; no two may have the same keys."""
        results: dict[int, Result] = {}

        async def gated(batch: list[int]) -> None:
            async with self._gate:
                await self._insert(model, entities, batch, results)

        await together(*map(gated, _batches(entities)))
        return [results[position] for position in range(len(entities))]

    async def _insert(
        self, model: type[Record], entities: Sequence[Entity], batch: list[int], results: dict[int, Result]
    ) -> None:
        """Settle a batch; where an entity of it can't be stored, by halves, so that it alone has the error."""
        try:
            await self._settle(model, entities, batch, results)
        except ServiceError as error:
            rest = [position for position in batch if position not in results]
            if isinstance(error, TransientError) or len(rest) == 1:
                results.update(dict.fromkeys(rest, error))
                return
            middle = len(rest) // 2
            await self._insert(model, entities, rest[:middle], results)
            await self._insert(model, entities, rest[middle:], results)

    async def _settle(
        self, model: type[Record], entities: Sequence[Entity], batch: list[int], results: dict[int, Result]
    ) -> None:
        for _ in range(_MAX_ROUNDS):
            try:
                etags = await self._send(model, [entities[position] for position in batch])
            except RefusalError as refusal:
                if refusal.status != 409:
                    raise unexpected(refusal) from refusal
            else:
                results.update(zip(batch, etags, strict=True))
                return
            found = await self._in_the_way(model, [entities[position] for position in batch])
            for position, row in zip(batch, found, strict=True):
                if row is not None:
                    results[position] = _result(entities[position], row)
            batch = [position for position in batch if position not in results]
            if not batch:
                return
        raise UnavailableError(CONTESTED)

    async def _send(self, model: type[Record], entities: list[Entity]) -> list[Inserted]:
        if len(entities) == 1:
            single = await self._connection.call(model, lambda table: table.create_entity(entities[0], **_QUIETLY))
            return [str(single["etag"])]
        operations: Any = [("create", entity, _QUIETLY) for entity in entities]
        answer = await self._connection.call(model, lambda table: table.submit_transaction(operations))
        return [str(part["etag"]) for part in answer]

    async def _in_the_way(self, model: type[Record], entities: list[Entity]) -> list[Row | None]:
        """The entities that have the keys of these. What is sent together stands together, so it is asked for so first."""
        rows = sorted(str(entity["RowKey"]) for entity in entities)
        found: dict[str, Row] = {}
        if len(rows) > 1:
            between = Condition(
                "PartitionKey eq @p and RowKey ge @first and RowKey le @last",
                {"p": entities[0]["PartitionKey"], "first": rows[0], "last": rows[-1]},
            )
            seen, token = await self._reader.asking(model, None)(between, PAGE_ROWS, None)
            found = {str(row["RowKey"]): row for row in seen}
            if token is None:
                return [found.get(str(entity["RowKey"])) for entity in entities]

        async def look(entity: Entity) -> Row | None:
            place = Place(entity["PartitionKey"], entity["RowKey"])
            return found.get(place.row) or await self._reader.entity(model, place)

        return await together(*map(look, entities))


def _result(entity: Entity, row: Row) -> Result:
    """What is in the way may be what was sent, where an answer was lost."""
    if row.get("Write") == entity["Write"]:
        return etag_of(row)
    return row


def _batches(entities: Sequence[Entity]) -> Iterator[list[int]]:
    """Positions of entities by partition, at most 100 and 1 MB together."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for position, entity in enumerate(entities):
        places[entity["PartitionKey"]].append(position)
    for group in places.values():
        batch: list[int] = []
        size = 0
        for position in group:
            more = _size(entities[position].values())
            if batch and (len(batch) == MAX_OPERATIONS or size + more > MAX_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(position)
            size += more
        yield batch


def _size(values: Iterable[Any]) -> int:
    """About how many bytes an entity takes in a request, which is ASCII."""
    return _OVERHEAD_BYTES + sum(len(json.dumps(value)) for value in values if isinstance(value, str) and len(value) > 64)
