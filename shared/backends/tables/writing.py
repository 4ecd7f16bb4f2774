"""The batch writer: many creates in few calls, each record with its own outcome.

A record that is its own claim is one insert. Any other is claimed first and stored then; what meets a claim of its id is
settled by itself.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from shared.backends.base import Outcome
from shared.backends.repeats import first_of_each_id, with_repeats
from shared.backends.tables.claims import Claims
from shared.backends.tables.client import Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import Claim, Entity, new_write, read_claim, text_of, write_claim, write_record
from shared.backends.tables.inserting import Inserter, Result
from shared.backends.tables.keys import claim_place, is_own_claim, record_place
from shared.backends.tables.leftovers import Leftovers
from shared.backends.tables.reading import Reader, stored_in
from shared.errors import ServiceError
from shared.models import Record
from shared.query import Key, Stored

_CONCURRENT_SETTLEMENTS = 8


@dataclass(slots=True)
class _Entry:
    """A record on its way: where it stood in the call, and its entity."""

    position: int
    stored: Stored
    entity: Entity


class Writer:
    """Creates records of a model."""

    def __init__(self, connection: Connection, reader: Reader, leftovers: Leftovers) -> None:
        self._inserter = Inserter(connection, reader)
        self._claims = Claims(connection, reader, self._inserter, leftovers)
        self._reader = reader
        self._gate = asyncio.Semaphore(_CONCURRENT_SETTLEMENTS)

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """An outcome for each record in the order given; an id twice finds the first."""
        outcomes: dict[int, Outcome] = {}
        own: list[_Entry] = []
        claimed: list[_Entry] = []
        for position, stored in first_of_each_id(records):
            try:
                entity = write_record(model, stored, new_write())
            except ServiceError as error:
                outcomes[position] = Outcome(error=error)
                continue
            entry = _Entry(position, stored._replace(record=json.loads(text_of(entity))), entity)
            (own if is_own_claim(stored.key) else claimed).append(entry)
        await together(self._create(model, own, outcomes), self._claim_and_create(model, claimed, outcomes))
        return with_repeats(records, outcomes)

    async def _create(self, model: type[Record], entries: list[_Entry], outcomes: dict[int, Outcome]) -> None:
        results = await self._inserter.insert(model, [entry.entity for entry in entries])
        pairs = zip(entries, results, strict=True)
        await together(*(self._conclude(model, entry, result, outcomes) for entry, result in pairs))

    async def _claim_and_create(self, model: type[Record], entries: list[_Entry], outcomes: dict[int, Outcome]) -> None:
        claims = [write_claim(claim_place(entry.stored.id), Claim(entry.stored.timestamp), new_write()) for entry in entries]
        results = await self._inserter.insert(model, claims)
        ours = [entry for entry, result in zip(entries, results, strict=True) if isinstance(result, str)]
        others = [pair for pair in zip(entries, results, strict=True) if not isinstance(pair[1], str)]
        await together(
            self._create(model, ours, outcomes),
            *(self._conclude(model, entry, result, outcomes) for entry, result in others),
        )

    async def _conclude(self, model: type[Record], entry: _Entry, result: Result, outcomes: dict[int, Outcome]) -> None:
        """Give the outcome of an insert; a record in the way is the one that exists, else the claim is settled."""
        if isinstance(result, str):
            outcomes[entry.position] = Outcome(entry.stored._replace(etag=result))
            return
        if isinstance(result, ServiceError):
            outcomes[entry.position] = Outcome(error=result)
            return
        found = stored_in(result)
        if found is not None:
            outcomes[entry.position] = Outcome(found, existed=True)
            return
        async with self._gate:
            try:
                outcomes[entry.position] = await self._claims.settle(model, entry.stored, entry.entity)
            except ServiceError as error:
                outcomes[entry.position] = Outcome(error=error)

    async def find(self, model: type[Record], record_id: str) -> Stored | None:
        """The record of an id: one point read where the id says its place, else two."""
        etag = None
        while True:
            claimed = await self._reader.entity(model, claim_place(record_id))
            claim = None if claimed is None else read_claim(claimed)
            if claim is None:
                return stored_in(claimed)
            found = stored_in(await self._reader.entity(model, record_place(Key(claim.timestamp, record_id))))
            if found is not None or claim.etag == etag:
                return found
            etag = claim.etag  # looked at again: the id may just have gone to another place
