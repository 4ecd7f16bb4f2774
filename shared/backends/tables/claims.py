"""One record's create where its id has been seen before: who has the id, and taking over an id that nobody has any more.

A claim whose record is not there is left of a delete or of a create that was cut short, or belongs to one that is still on
its way. The latter gets a moment; then a fence is put where its record would go, so that it fails if it comes after all,
and the claim is replaced. Every step depends on the etag seen before it, so of many at once one gets the id. A claim so old
that its create has come to an end is replaced at once, and is not contended by it.
"""

from functools import partial
from typing import Any, NamedTuple

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
    version,
    with_fences,
    write_claim,
    write_fence,
)
from shared.backends.tables.inserting import CONTESTED, Inserter
from shared.backends.tables.keys import Place, claim_place, is_own_claim, record_place
from shared.backends.tables.leftovers import Leftovers, waited_for
from shared.backends.tables.reading import Reader, stored_in
from shared.backends.tables.scanning import Row
from shared.errors import ServiceError, UnavailableError
from shared.models import Record
from shared.query import Key, Stored

_MAX_ROUNDS = 60


class _Seen(NamedTuple):
    """An id as it stands: what holds it, the claim that this is, and what stands where the claim leads."""

    holder: Row | None
    claim: Claim | None = None
    there: Row | None = None


class Claims:
    """Settles creates one by one."""

    def __init__(self, connection: Connection, reader: Reader, inserter: Inserter, leftovers: Leftovers) -> None:
        self._connection = connection
        self._reader = reader
        self._inserter = inserter
        self._leftovers = leftovers

    async def settle(self, model: type[Record], stored: Stored, entity: Entity) -> Outcome:
        """What becomes of a record whose id has a claim."""
        for _ in range(_MAX_ROUNDS):
            seen = await waited_for(partial(self._look, model, stored.id), partial(self._is_clear, stored))
            outcome = await self._attempt(model, stored, entity, seen)
            if outcome is not None:
                return outcome
        raise UnavailableError(CONTESTED)

    async def _look(self, model: type[Record], record_id: str) -> _Seen:
        holder = await self._reader.entity(model, claim_place(record_id))
        claim = None if holder is None else read_claim(holder)
        if claim is None:
            return _Seen(holder)
        return _Seen(holder, claim, await self._reader.entity(model, record_place(Key(claim.timestamp, record_id))))

    def _is_clear(self, stored: Stored, seen: _Seen) -> bool:
        """Whether no create of another time may be on its way to where the claim leads."""
        claim = seen.claim
        if claim is None or claim.timestamp == stored.timestamp or stored_in(seen.there) is not None:
            return True
        return self._leftovers.is_settled(claim.written)

    async def _attempt(self, model: type[Record], stored: Stored, entity: Entity, seen: _Seen) -> Outcome | None:
        """The outcome as things were seen; None where another was faster."""
        if seen.holder is None:
            return await self._begin(model, stored, entity)
        if seen.claim is None:
            return _found(entity, seen.holder)
        outcome = None if seen.there is None else _found(entity, seen.there)
        return outcome or await self._take_over(model, stored, entity, seen.claim, seen.there)

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
        is_settled = self._leftovers.is_settled(claim.written)
        fences = [moment for moment in claim.fences if moment not in {claim.timestamp, stored.timestamp}]
        if claim.timestamp != stored.timestamp:
            if not is_settled and not await self._fence(model, Key(claim.timestamp, stored.id), there):
                return None
            if not is_settled or there is not None:
                fences.append(claim.timestamp)
            there = None
        if is_own_claim(stored.key):
            etag = await self._replace(model, with_fences(entity, fences), claim.etag)
            return None if etag is None else _outcome(stored, version(etag, fences))
        ours = Claim(stored.timestamp, contended=not is_settled, fences=tuple(fences))
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
