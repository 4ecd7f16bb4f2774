"""Deletes: one record, the records of a list, and purges that leave nothing of an id behind.

The record goes before its claim, and the claim only if nobody took it over meanwhile, so that no record is ever without its
claim. A claim that is left over is no record, and the next create of the id takes it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from azure.core import MatchConditions

from shared.backends.tables.calls import RefusalError
from shared.backends.tables.client import Connection
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
                await self._send(model, [place], seen)
            except RefusalError as refusal:
                if refusal.status != 404:
                    if etag is not None:
                        raise changed(model) from refusal
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
            await self._send(model, [claim_place(record_id)], claim.etag)
        except RefusalError:
            logger.debug("the claim had been taken over")
        except TransientError:
            logger.warning("a claim is left over; the next create of its id takes it")

    async def _send(self, model: type[Record], places: Sequence[Place], etag: str | None = None) -> None:
        """Delete entities of one partition together, any version of them where no etag is given."""
        condition: dict[str, Any] = {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        operations: Any = [("delete", {"PartitionKey": place.partition, "RowKey": place.row}, condition) for place in places]
        await self._connection.call(model, lambda table: table.submit_transaction(operations))

    async def delete_where(self, query: Query) -> tuple[int, bool]:
        """Delete the first records of a list: how many there were, and whether more follow."""
        found = await self._reader.rows(query, KEYS)
        keys = [key_of(str(row["RowKey"])) for row in found.rows]
        claims = await self._claims_of(query.model, [key for key in keys if not is_own_claim(key)])
        count = await self._delete_all(query.model, [record_place(key) for key in keys])
        free = [(record_id, claim) for record_id, claim in claims.items() if not claim.contended]
        await asyncio.gather(*(self._gated(self._release(query.model, record_id, claim)) for record_id, claim in free))
        return count, found.more

    async def _claims_of(self, model: type[Record], keys: Sequence[Key]) -> dict[str, Claim]:
        """The claims that lead to these records."""

        async def look(key: Key) -> tuple[Key, Row | None]:
            return key, await self._gated(self._reader.entity(model, claim_place(key.id), _CLAIM))

        found = await asyncio.gather(*map(look, keys))
        claims = {key: read_claim(row) for key, row in found if row is not None}
        return {key.id: claim for key, claim in claims.items() if claim is not None and claim.timestamp == key.timestamp}

    async def _gated(self, work: Any) -> Any:
        async with self._gate:
            return await work

    async def _delete_all(self, model: type[Record], places: Sequence[Place]) -> int:
        """Delete what stands at places, and say how much there was."""
        groups: defaultdict[str, list[Place]] = defaultdict(list)
        for place in places:
            groups[place.partition].append(place)
        batches = [
            group[start : start + MAX_OPERATIONS] for group in groups.values() for start in range(0, len(group), MAX_OPERATIONS)
        ]
        return sum(await asyncio.gather(*(self._gated(self._delete_batch(model, batch)) for batch in batches)))

    async def _delete_batch(self, model: type[Record], places: list[Place]) -> int:
        """All at once; where one is missing, each by itself, and after a lost answer those that are gone were ours."""
        try:
            await self._send(model, places)
        except RefusalError as refusal:
            if len(places) == 1:
                return int(refusal.lost)
            there = [place for place in places if await self._reader.entity(model, place, KEYS) is not None]
            gone = len(places) - len(there) if refusal.lost else 0
            return gone + sum([await self._delete_batch(model, [place]) for place in there])
        return len(places)

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        """Delete records with their claims and fences. How many records there were."""
        counts = await asyncio.gather(*(self._gated(self._purge(model, record_id)) for record_id in dict.fromkeys(record_ids)))
        return sum(counts)

    async def _purge(self, model: type[Record], record_id: str) -> int:
        place, etag, claim = await self._locate(model, record_id)
        count = 0
        if place is not None and etag is not None:
            count = await self._delete_batch(model, [place])
        if claim is not None:
            left = [record_place(Key(moment, record_id)) for moment in claim.fences]
            for other in (*left, claim_place(record_id)):
                await self._delete_batch(model, [other])
        return count


def not_found(model: type[Record]) -> NotFoundError:
    """The error where there is no record of an id."""
    return NotFoundError(f"There is no {model.singular} with this id.")


def changed(model: type[Record]) -> PreconditionFailedError:
    """The error where the record is another version."""
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
