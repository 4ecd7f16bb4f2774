"""Deletes: one record, the records of a list, and purges that leave nothing of an id behind.

The record goes before its claim, and the claim only if nobody took it over meanwhile, so that no record is ever without its
claim. A claim that is left over is no record, and the next create of the id takes it; one that a create may still be on its
way to stays, with the fences that it names.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from azure.core import MatchConditions

from shared.backends.tables.calls import RefusalError
from shared.backends.tables.claims import replace_entity
from shared.backends.tables.client import Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import (
    MARK,
    Claim,
    etag_of,
    fences_of,
    new_write,
    read_claim,
    version,
    write_claim,
    written_at,
)
from shared.backends.tables.inserting import MAX_OPERATIONS
from shared.backends.tables.keys import Place, claim_place, is_own_claim, key_of, record_place
from shared.backends.tables.leftovers import Leftovers, waited_for
from shared.backends.tables.reading import KEYS, Reader
from shared.backends.tables.scanning import Row
from shared.errors import NotFoundError, PreconditionFailedError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Key, Query

logger = logging.getLogger(__name__)

_RECORD = (*KEYS, "Timestamp", "Fences")
_CLAIM = (*_RECORD, "Place", "Contended")
_CONCURRENT_CALLS = 8
_MAX_ROUNDS = 50
_CONTESTED = "The record is being changed by too many at once."

T = TypeVar("T")


class _Located(NamedTuple):
    """Where the record of an id stands, its entity (None: there is none), and the claim that leads there."""

    place: Place
    record: Row | None
    claim: Claim | None


class Remover:
    """Deletes entities of a model's table."""

    def __init__(self, connection: Connection, reader: Reader, leftovers: Leftovers) -> None:
        self._connection = connection
        self._reader = reader
        self._leftovers = leftovers
        self._gate = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def delete(self, model: type[Record], record_id: str, etag: str | None) -> None:
        """Delete the record of an id. Raises NotFoundError, and PreconditionFailedError when the etag is another."""
        for _ in range(_MAX_ROUNDS):
            place, record, claim = await self._locate(model, record_id)
            if record is None:
                raise not_found(model)
            if etag is not None and etag != version(etag_of(record), fences_of(record)):
                raise changed(model)
            if fences_of(record):
                is_deleted = await self._retire(model, place, record)
            else:
                is_deleted = await self._delete(model, place, record, any_version=etag is None)
            if is_deleted:
                await self._release(model, record_id, claim)
                return
            if etag is not None:
                raise changed(model)
        raise UnavailableError(_CONTESTED)

    async def _delete(self, model: type[Record], place: Place, record: Row, *, any_version: bool) -> bool:
        """Whether the version that was seen is deleted. Raises UnavailableError where that can't be told any more."""
        try:
            await self._send(model, {place: etag_of(record)})
        except RefusalError as refusal:
            if refusal.status == 404 and not refusal.lost:
                raise not_found(model) from refusal
            if refusal.status != 404 and refusal.lost and any_version:  # created anew, or never deleted and changed
                raise UnavailableError("Whether the record was deleted is not known; it is another now.") from refusal
            return refusal.status == 404
        return True

    async def _locate(self, model: type[Record], record_id: str) -> _Located:
        place = claim_place(record_id)
        entity = await self._reader.entity(model, place, _CLAIM)
        claim = None if entity is None else read_claim(entity)
        if claim is not None:
            place = record_place(Key(claim.timestamp, record_id))
            entity = await self._reader.entity(model, place, _RECORD)
        is_record = entity is not None and entity.get(MARK) is not None
        return _Located(place, entity if is_record else None, claim)

    async def _retire(self, model: type[Record], place: Place, record: Row) -> bool:
        """Delete a record that took over the claim on its id, and its fences, unless it has changed.

        While a create may yet come that a fence keeps out, a claim that leads to the fence takes the record's place.
        """
        fences = fences_of(record)
        if self._leftovers.is_settled(written_at(record)):
            await self._leftovers.remove_fences(model, key_of(place.row).id, fences)
            return bool(await self._delete_batch(model, {place: etag_of(record)}))
        claim = write_claim(place, Claim(fences[-1], contended=True, fences=fences), new_write())
        return await replace_entity(self._connection, self._reader, model, claim, etag_of(record)) is not None

    async def _release(self, model: type[Record], record_id: str, claim: Claim | None) -> None:
        """Delete the claim of a record that is gone, and its fences. The delete itself is done, whatever becomes of this."""
        if claim is None or (claim.contended and not self._leftovers.is_settled(claim.written)):
            return
        try:
            await self._leftovers.remove_fences(model, record_id, claim.fences)
            await self._send(model, {claim_place(record_id): claim.etag})
        except RefusalError:
            logger.debug("the claim had been taken over")
        except TransientError:
            logger.warning("a claim is left over; the next create of its id takes it")

    async def _send(self, model: type[Record], etags: Mapping[Place, str | None]) -> None:
        """Delete entities of one partition together, any version of those that have no etag here."""
        operations: Any = [
            ("delete", {"PartitionKey": place.partition, "RowKey": place.row}, _if_match(etag)) for place, etag in etags.items()
        ]
        await self._connection.call(model, lambda table: table.submit_transaction(operations))

    async def delete_where(self, query: Query) -> tuple[int, bool]:
        """Delete the first records of a list, those that have not changed since: how many, and whether there may be more."""
        found = await self._reader.rows(query, _RECORD)
        rows = {key_of(str(row["RowKey"])): row for row in found.rows}
        fenced = {key: row for key, row in rows.items() if fences_of(row)}
        plain = {key: row for key, row in rows.items() if key not in fenced}
        claims = await self._claims_of(query.model, [key for key in plain if not is_own_claim(key)])
        deleted = await self._delete_all(query.model, {record_place(key): etag_of(row) for key, row in plain.items()})
        gone = [key.id for key in plain if record_place(key) in deleted]
        await together(*(self._gated(self._release, query.model, record_id, claims.get(record_id)) for record_id in gone))
        retiring = (self._gated(self._retire, query.model, record_place(key), row) for key, row in fenced.items())
        count = len(deleted) + sum(await together(*retiring))
        return count, found.more or count < len(rows)

    async def _claims_of(self, model: type[Record], keys: Sequence[Key]) -> dict[str, Claim]:
        """The claims that lead to these records."""

        async def look(key: Key) -> tuple[Key, Row | None]:
            return key, await self._gated(self._reader.entity, model, claim_place(key.id), _CLAIM)

        found = await together(*map(look, keys))
        claims = {key: read_claim(row) for key, row in found if row is not None}
        return {key.id: claim for key, claim in claims.items() if claim is not None and claim.timestamp == key.timestamp}

    async def _gated(self, work: Callable[..., Awaitable[T]], *given: Any) -> T:
        async with self._gate:
            return await work(*given)

    async def _delete_all(self, model: type[Record], etags: Mapping[Place, str | None]) -> set[Place]:
        """Delete what stands at places under these etags; where there was something that is gone now."""
        groups: defaultdict[str, list[Place]] = defaultdict(list)
        for place in etags:
            groups[place.partition].append(place)
        batches = [
            {place: etags[place] for place in group[start : start + MAX_OPERATIONS]}
            for group in groups.values()
            for start in range(0, len(group), MAX_OPERATIONS)
        ]
        return set().union(*await together(*(self._gated(self._delete_batch, model, batch) for batch in batches)))

    async def _delete_batch(self, model: type[Record], etags: Mapping[Place, str | None]) -> set[Place]:
        """All at once; where one is missing or changed, each by itself. After a lost answer those that are gone were ours."""
        try:
            await self._send(model, etags)
        except RefusalError as refusal:
            if len(etags) == 1:
                return set(etags) if refusal.lost and refusal.status == 404 else set()
            there = [place for place in etags if await self._reader.entity(model, place, KEYS) is not None]
            gone = etags.keys() - set(there) if refusal.lost else set()
            return gone.union(*[await self._delete_batch(model, {place: etags[place]}) for place in there])
        return set(etags)

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        """Delete records with their claims and fences. How many records there were."""
        counts = await together(*(self._gated(self._purge, model, record_id) for record_id in dict.fromkeys(record_ids)))
        return sum(counts)

    async def _purge(self, model: type[Record], record_id: str) -> int:
        """Everything only in the version that was seen: what a create puts there meanwhile came after the purge."""
        for _ in range(_MAX_ROUNDS):
            located = await waited_for(lambda: self._locate(model, record_id), self._is_clear)
            place, record, claim = located
            if record is not None:
                await self._leftovers.remove_fences(model, record_id, fences_of(record))
                if not await self._delete_batch(model, {place: etag_of(record)}):
                    continue
            if claim is not None:
                await self._leftovers.remove_fences(model, record_id, {claim.timestamp, *claim.fences})
                try:
                    await self._send(model, {claim_place(record_id): claim.etag})
                except RefusalError:
                    logger.debug("the claim had been taken over")
            return int(record is not None)
        raise UnavailableError(_CONTESTED)

    def _is_clear(self, found: _Located) -> bool:
        """Whether no create may be on its way to where a claim leads."""
        return found.claim is None or found.record is not None or self._leftovers.is_settled(found.claim.written)


def _if_match(etag: str | None) -> dict[str, Any]:
    return {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def not_found(model: type[Record]) -> NotFoundError:
    """The error where there is no record of an id."""
    return NotFoundError(f"There is no {model.singular} with this id.")


def changed(model: type[Record]) -> PreconditionFailedError:
    """The error where the record is another version."""
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
