"""Deletes: one record, the records of a list, and purges that leave nothing of an id behind.

The record goes before its claim, and the claim only if nobody took it over meanwhile, so that no record is ever without its
claim. A claim that is left over is no record, and the next create of the id takes it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from azure.core import MatchConditions

from shared.backends.tables.calls import RefusalError
from shared.backends.tables.client import Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import MARK, Claim, etag_of, read_claim
from shared.backends.tables.inserting import MAX_OPERATIONS
from shared.backends.tables.keys import Place, claim_place, is_own_claim, key_of, record_place
from shared.backends.tables.reading import KEYS, Reader
from shared.backends.tables.scanning import Row
from shared.errors import NotFoundError, PreconditionFailedError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Key, Query

logger = logging.getLogger(__name__)

_CLAIM = (*KEYS, "Place", "Contended", "Fences")
_CONCURRENT_CALLS = 8
_MAX_ROUNDS = 50
_LOOKS = 7
"""How often a purge looks for the record of a claim that has none, about 1.3 s together: it may be on its way."""
_FIRST_PAUSE = 0.01

T = TypeVar("T")


class Remover:
    """Deletes entities of a model's table."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader
        self._gate = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def delete(self, model: type[Record], record_id: str, etag: str | None) -> None:
        """Delete the record of an id. Raises NotFoundError, and PreconditionFailedError when the etag is another."""
        for _ in range(_MAX_ROUNDS):
            place, seen, claim = await self._locate(model, record_id)
            if place is None or seen is None:
                raise not_found(model)
            if etag is not None and etag != seen:
                raise changed(model)
            try:
                await self._send(model, {place: seen})
            except RefusalError as refusal:
                if refusal.status != 404:
                    if etag is not None:
                        raise changed(model) from refusal
                    if refusal.lost:  # deleted and created anew, or never deleted and changed by another
                        raise UnavailableError("Whether the record was deleted is not known; it is another now.") from refusal
                    continue
                if not refusal.lost:
                    raise not_found(model) from refusal
            await self._release(model, record_id, claim)
            return
        raise UnavailableError("The record is being changed by too many at once.")

    async def _locate(self, model: type[Record], record_id: str) -> tuple[Place | None, str | None, Claim | None]:
        """Where the record of an id stands, its etag (None where there is no record), and the claim beside it."""
        place = claim_place(record_id)
        claimed = await self._reader.entity(model, place, _CLAIM)
        if claimed is None:
            return None, None, None
        claim = read_claim(claimed)
        if claim is not None:
            place = record_place(Key(claim.timestamp, record_id))
            claimed = await self._reader.entity(model, place, KEYS)
        is_record = claimed is not None and claimed.get(MARK) is not None
        return place, etag_of(claimed) if is_record and claimed is not None else None, claim

    async def _release(self, model: type[Record], record_id: str, claim: Claim | None) -> None:
        """Delete the claim of a record that is gone. The delete itself is done, whatever becomes of this."""
        if claim is None or claim.contended:
            return
        try:
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
        found = await self._reader.rows(query, KEYS)
        etags = {key_of(str(row["RowKey"])): etag_of(row) for row in found.rows}
        claims = await self._claims_of(query.model, [key for key in etags if not is_own_claim(key)])
        deleted = await self._delete_all(query.model, {record_place(key): etag for key, etag in etags.items()})
        gone = [key.id for key in etags if record_place(key) in deleted]
        await together(*(self._gated(self._release, query.model, record_id, claims.get(record_id)) for record_id in gone))
        return len(deleted), found.more or len(deleted) < len(etags)

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
            place, etag, claim = await self._locate_settled(model, record_id)
            if place is not None and etag is not None and not await self._delete_batch(model, {place: etag}):
                continue
            if claim is not None:
                for moment in {claim.timestamp, *claim.fences}:
                    await self._delete_fence(model, record_place(Key(moment, record_id)))
                try:
                    await self._send(model, {claim_place(record_id): claim.etag})
                except RefusalError:
                    logger.debug("the claim had been taken over")
            return int(etag is not None)
        raise UnavailableError("The record is being changed by too many at once.")

    async def _locate_settled(self, model: type[Record], record_id: str) -> tuple[Place | None, str | None, Claim | None]:
        """As `_locate`, after a moment for the create that a claim without a record may be of."""
        for look in range(_LOOKS):
            place, etag, claim = await self._locate(model, record_id)
            if claim is None or etag is not None:
                return place, etag, claim
            await asyncio.sleep(_FIRST_PAUSE * 2**look)
        return await self._locate(model, record_id)

    async def _delete_fence(self, model: type[Record], place: Place) -> None:
        """Delete what stands at a place unless it is a record."""
        fence = await self._reader.entity(model, place, KEYS)
        if fence is not None and fence.get(MARK) is None:
            await self._delete_batch(model, {place: etag_of(fence)})


def _if_match(etag: str | None) -> dict[str, Any]:
    return {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def not_found(model: type[Record]) -> NotFoundError:
    """The error where there is no record of an id."""
    return NotFoundError(f"There is no {model.singular} with this id.")


def changed(model: type[Record]) -> PreconditionFailedError:
    """The error where the record is another version."""
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
