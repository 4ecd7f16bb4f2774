"""One record's create where its id has been seen before: who has the id, and taking over an id that nobody has any more.

A claim whose record is not there is left of a delete or of a create that was cut short, or belongs to one that is still on
its way. The latter gets a moment; then a fence is put where its record would go, so that it fails if it comes after all,
and the claim is replaced. Every step depends on the etag seen before it, so of many at once one gets the id.
"""

import asyncio
from typing import Any

from azure.core import MatchConditions

from shared.backends.base import Outcome
from shared.backends.tables.calls import RefusalError
from shared.backends.tables.client import Connection
from shared.backends.tables.entities import (
    Claim,
    Entity,
    etag_of,
    new_write,
    read_claim,
    write_claim,
    write_fence,
)
from shared.backends.tables.inserting import CONTESTED, Inserter
from shared.backends.tables.keys import Place, claim_place, is_own_claim, record_place
from shared.backends.tables.reading import Reader, stored_in
from shared.backends.tables.scanning import Row
from shared.errors import ServiceError, UnavailableError
from shared.models import Record
from shared.query import Key, Stored

_MAX_ROUNDS = 60
_LOOKS = 7
"""How often a create that may be on its way is looked for, about 1.3 s together."""
_FIRST_PAUSE = 0.01


class Claims:
    """Settles creates one by one."""

    def __init__(self, connection: Connection, reader: Reader, inserter: Inserter) -> None:
        self._connection = connection
        self._reader = reader
        self._inserter = inserter

    async def settle(self, model: type[Record], stored: Stored, entity: Entity) -> Outcome:
        """What becomes of a record whose id has a claim."""
        looks = 0
        for _ in range(_MAX_ROUNDS):
            claimed = await self._reader.entity(model, claim_place(stored.id))
            if claimed is None:
                outcome = await self._begin(model, stored, entity)
            elif (claim := read_claim(claimed)) is None:
                outcome = _found(entity, claimed)
            else:
                there = await self._reader.entity(model, record_place(Key(claim.timestamp, stored.id)))
                outcome = None if there is None else _found(entity, there)
                if outcome is None and claim.timestamp != stored.timestamp and looks < _LOOKS:
                    await asyncio.sleep(_FIRST_PAUSE * 2**looks)
                    looks += 1
                    continue
                if outcome is None:
                    outcome = await self._take_over(model, stored, entity, claim, there)
            if outcome is not None:
                return outcome
        raise UnavailableError(CONTESTED)

    async def _begin(self, model: type[Record], stored: Stored, entity: Entity) -> Outcome | None:
        """Claim an id that has no claim, and store the record."""
        if not is_own_claim(stored.key):
            claim = write_claim(claim_place(stored.id), Claim(stored.timestamp), new_write())
            if not await self._insert(model, claim):
                return None
        return await self._store(model, stored, entity, None)

    async def _take_over(
        self, model: type[Record], stored: Stored, entity: Entity, claim: Claim, there: Row | None
    ) -> Outcome | None:
        """Make the claim ours and store the record; None where another was faster."""
        fences = claim.fences
        if claim.timestamp != stored.timestamp:
            if not await self._fence(model, Key(claim.timestamp, stored.id), there):
                return None
            fences = tuple(dict.fromkeys((*fences, claim.timestamp)))
            there = None
        if is_own_claim(stored.key):
            etag = await self._replace(model, entity, claim.etag)
            return None if etag is None else _outcome(stored, etag)
        ours = Claim(stored.timestamp, contended=True, fences=fences)
        if await self._replace(model, write_claim(claim_place(stored.id), ours, new_write()), claim.etag) is None:
            return None
        return await self._store(model, stored, entity, there)

    async def _store(self, model: type[Record], stored: Stored, entity: Entity, fence: Row | None) -> Outcome | None:
        """Store the record under a claim that is ours, in place of a fence where one was seen."""
        if fence is not None:
            etag = await self._replace(model, entity, etag_of(fence))
            return None if etag is None else _outcome(stored, etag)
        [result] = await self._inserter.insert(model, [entity])
        if isinstance(result, ServiceError):
            raise result
        return _outcome(stored, result) if isinstance(result, str) else _found(entity, result)

    async def _fence(self, model: type[Record], key: Key, there: Row | None) -> bool:
        """Whether a fence of our own stands at the place of a record."""
        fence = write_fence(record_place(key), new_write())
        if there is not None:
            return await self._replace(model, fence, etag_of(there)) is not None
        return await self._insert(model, fence)

    async def _insert(self, model: type[Record], entity: Entity) -> bool:
        [result] = await self._inserter.insert(model, [entity])
        if isinstance(result, ServiceError):
            raise result
        return isinstance(result, str)

    async def _replace(self, model: type[Record], entity: Entity, etag: str) -> str | None:
        """The new etag; None where the entity was not the version of the etag any more."""
        return await replace_entity(self._connection, self._reader, model, entity, etag)


async def replace_entity(connection: Connection, reader: Reader, model: type[Record], entity: Entity, etag: str) -> str | None:
    """Replace the version of an etag; its new etag, or None where there is another version or none.

    After a lost answer what stands there may be what was sent.
    """
    condition: dict[str, Any] = {"mode": "replace", "etag": etag, "match_condition": MatchConditions.IfNotModified}
    try:
        answer = await connection.call(model, lambda table: table.update_entity(entity, **condition))
    except RefusalError as refusal:
        if refusal.lost:
            found = await reader.entity(model, Place(entity["PartitionKey"], entity["RowKey"]))
            if found is not None and found.get("Write") == entity["Write"]:
                return etag_of(found)
        return None
    return str(answer["etag"])


def _found(entity: Entity, row: Row) -> Outcome | None:
    """The outcome where a record has the id; None where the entity is none."""
    found = stored_in(row)
    if found is None:
        return None
    return Outcome(found, existed=row.get("Write") != entity["Write"])


def _outcome(stored: Stored, etag: str) -> Outcome:
    return Outcome(Stored(stored.record, stored.hidden, etag))
