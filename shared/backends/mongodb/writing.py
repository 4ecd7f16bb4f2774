"""Creates: one command for many records, each with its own outcome.

Each document carries an etag of its own from the beginning. So a document that is found under an id tells by its etag
whether it is the one that was sent, however often it was sent and whatever answers were lost.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from shared.backends.base import Outcome
from shared.backends.mongodb.calls import DUPLICATE, is_unacknowledged, write_codes
from shared.backends.mongodb.client import Connection
from shared.backends.mongodb.documents import ETAG, READ, Document, read_document, write_document
from shared.backends.repeats import first_of_each_id, with_repeats
from shared.errors import ServiceError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Stored

_MAX_ROUNDS = 20
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record on its way: where it stood in the call, and its document."""

    position: int
    stored: Stored
    document: Document

    def outcome(self, found: Stored | None = None) -> Outcome:
        """Its outcome: stored, or the one that was found in its place."""
        if found is None or found.etag == self.document[ETAG]:
            return Outcome(Stored(self.stored.record, self.stored.hidden, self.document[ETAG]))
        return Outcome(found, existed=True)


@dataclass(slots=True)
class _Insert:
    """One insert that may take several sends: only what is not settled goes again."""

    collection: AsyncCollection[Document]
    pending: list[_Entry]
    stored: list[_Entry] = field(default_factory=list)
    taken: list[_Entry] = field(default_factory=list)

    async def send(self) -> None:
        try:
            if len(self.pending) == 1:
                await self.collection.insert_one(self.pending[0].document)
            elif self.pending:
                await self.collection.insert_many([entry.document for entry in self.pending], ordered=False)
        except DuplicateKeyError:
            self._sort({0: DUPLICATE})
        except BulkWriteError as error:
            if is_unacknowledged(error):
                raise
            self._sort(write_codes(error))
            if self.pending:
                raise
        else:
            self.stored += self.pending
            self.pending = []

    def _sort(self, codes: dict[int, int]) -> None:
        rest: list[_Entry] = []
        for place, entry in enumerate(self.pending):
            code = codes.get(place)
            (self.stored if code is None else self.taken if code == DUPLICATE else rest).append(entry)
        self.pending = rest


class Writer:
    """Creates documents of a model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """An outcome for each record in the order given; an id twice finds the first."""
        outcomes: dict[int, Outcome] = {}
        entries: list[_Entry] = []
        for position, stored in first_of_each_id(records):
            try:
                entries.append(_Entry(position, stored, write_document(model, stored)))
            except ServiceError as error:
                outcomes[position] = Outcome(error=error)
        if entries:
            await self._store(model, entries, outcomes)
        return with_repeats(records, outcomes)

    async def _store(self, model: type[Record], entries: list[_Entry], outcomes: dict[int, Outcome]) -> None:
        """All at once; one by one what is left where there is one that the database refuses."""
        try:
            await self._create(model, entries, outcomes)
        except ServiceError as error:
            left = [entry for entry in entries if entry.position not in outcomes]
            if isinstance(error, TransientError) or len(entries) == 1:
                outcomes.update((entry.position, Outcome(error=error)) for entry in left)
                return
            for entry in left:
                await self._store(model, [entry], outcomes)

    async def _create(self, model: type[Record], entries: list[_Entry], outcomes: dict[int, Outcome]) -> None:
        collection = await self._connection.collection(model)
        for round_ in range(_MAX_ROUNDS):
            insert = _Insert(collection, entries)
            try:
                await self._connection.caller.call(insert.send)
            except ServiceError as error:
                if not isinstance(error, TransientError):
                    await self._settle(collection, insert.taken, outcomes)
                raise
            finally:
                outcomes.update((entry.position, entry.outcome()) for entry in insert.stored)
            entries = await self._settle(collection, insert.taken, outcomes)
            if not entries:
                return
            await asyncio.sleep(_PAUSE * round_)
        raise UnavailableError("The record was being created and deleted at the same time.")

    async def _settle(
        self, collection: AsyncCollection[Document], taken: list[_Entry], outcomes: dict[int, Outcome]
    ) -> list[_Entry]:
        """Give outcomes to the records whose ids exist, and the others back: they were deleted meanwhile."""
        existing = await self._existing(collection, [entry.stored.id for entry in taken])
        rest: list[_Entry] = []
        for entry in taken:
            if entry.stored.id not in existing:
                rest.append(entry)
                continue
            try:
                outcomes[entry.position] = entry.outcome(readable(existing[entry.stored.id]))
            except UnavailableError as error:
                outcomes[entry.position] = Outcome(error=error)
        return rest

    async def _existing(self, collection: AsyncCollection[Document], ids: list[str]) -> dict[str, Document]:
        if not ids:
            return {}
        wanted: Document = {"_id": ids[0] if len(ids) == 1 else {"$in": ids}}

        async def send() -> list[Document]:
            async with collection.find(wanted, READ, batch_size=len(ids) + 1) as cursor:
                return await cursor.to_list()

        return {document["_id"]: document for document in (await self._connection.caller.call(send)).value}


def readable(document: Document) -> Stored:
    """The record of a document that has the id we look for; what someone else put there is not one."""
    stored = read_document(document)
    if stored is None:
        raise UnavailableError("A document that this service did not write has the record's id.")
    return stored
