"""The port on MongoDB: a collection a model. Documents, queries, writes and calls live in the other modules."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from shared.backends.base import Backend, BackendStats, Deleted, ModelStats, Outcome
from shared.backends.in_hand import InHand
from shared.backends.mongodb import queries
from shared.backends.mongodb.access import Access, read_access
from shared.backends.mongodb.aggregation import Aggregator
from shared.backends.mongodb.calls import UnsupportedError
from shared.backends.mongodb.client import Connection
from shared.backends.mongodb.documents import ETAG, OWN, READ, Document, collection_name, read_document, write_document
from shared.backends.mongodb.writing import Writer, readable
from shared.config import Settings
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import ALL_MODELS, Record
from shared.query import Aggregation, Group, Page, Query, Stored

logger = logging.getLogger(__name__)

_IDS_AT_ONCE = 1_000
_ROWS_AT_ONCE = 101
"""Documents that are taken from a batch before they are read: a page of the largest ones ends long before its limit."""


def from_settings(settings: Settings) -> "MongoBackend":
    """The backend of DATABASE_CONNECTION_STRING or DATABASE_HOST. Raises ConfigurationError."""
    return MongoBackend(read_access(settings), settings.database_name, retention_days=settings.retention_days)


class MongoBackend(Backend):
    """A database of a server, which any number of instances share."""

    name = "mongodb"

    def __init__(self, access: Access, database: str, *, retention_days: Mapping[str, int] | None = None) -> None:
        self._pool_size = access.pool_size
        self._connection = Connection(access, database, retention_days or {})
        self._writer = Writer(self._connection)
        self._aggregator = Aggregator(self._connection)
        self._in_hand = InHand()

    async def connect(self) -> None:
        await self._in_hand.open(self._connection.open)

    async def disconnect(self) -> None:
        await self._in_hand.close(self._connection.close)

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        with self._in_hand:
            return await self._writer.create_many(model, records)

    async def put_raw(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        return await self.create_many(model, records)

    async def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        with self._in_hand:
            return await self._find(model, record_id)

    async def _find(self, model: type[Record], record_id: str) -> Stored | None:
        collection = await self._connection.collection(model)
        document = (await self._connection.caller.call(lambda: collection.find_one({"_id": record_id}, READ))).value
        return None if document is None else readable(document)

    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        with self._in_hand:
            collection = await self._connection.collection(model)
            document = write_document(model, stored)
            condition = {"_id": stored.id, ETAG: etag}
            answer = await self._connection.caller.call(lambda: collection.replace_one(condition, document))
            if not answer.value.matched_count:
                found = await self._find(model, stored.id)
                if found is None or found.etag != document[ETAG]:
                    raise _refusal(model, found)
            return stored._replace(etag=document[ETAG])

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        with self._in_hand:
            collection = await self._connection.collection(model)
            condition = {"_id": record_id} if etag is None else {"_id": record_id, ETAG: etag}
            answer = await self._connection.caller.call(lambda: collection.delete_one(condition))
            if answer.value.deleted_count:
                return
            # Without an etag there was none when we looked, whoever has made one since.
            found = None if etag is None else await self._find(model, record_id)
            if found is not None or not answer.lost:
                raise _refusal(model, found)

    async def find(self, query: Query) -> Page:
        with self._in_hand:
            if queries.asks_nothing(query):
                return Page([], more=False)
            foreign = 0
            while True:
                page, seen = await self._page(query, foreign)
                if page.more or seen <= foreign:
                    return page
                foreign = seen * 2

    async def _page(self, query: Query, foreign: int) -> tuple[Page, int]:
        """A page, where `foreign` documents may not be ours, and how many of those there were if they cut it short."""
        collection = await self._connection.collection(query.model)
        wanted, top = queries.following(query, query.after), query.limit + 1 + foreign

        async def send() -> tuple[Page, int]:
            items: list[Stored] = []
            size = rows = 0
            async with collection.find(wanted, READ, sort=queries.order(query), limit=top, batch_size=top) as cursor:
                while documents := await cursor.to_list(_ROWS_AT_ONCE):
                    rows += len(documents)
                    for stored, length in _ours(query.model, documents):
                        size += length
                        if len(items) == query.limit or (items and size > query.max_bytes):
                            return Page(items, more=True), 0
                        items.append(stored)
            return Page(items, more=False), rows - len(items) if rows == top else 0

        return (await self._connection.caller.call(send)).value

    async def count(self, query: Query) -> int:
        with self._in_hand:
            if queries.asks_nothing(query):
                return 0
            collection = await self._connection.collection(query.model)
            return (await self._connection.caller.call(lambda: collection.count_documents(queries.matching(query)))).value

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        with self._in_hand:
            return await self._aggregator.aggregate(aggregation)

    async def delete_where(self, query: Query) -> Deleted:
        with self._in_hand:
            if queries.asks_nothing(query):
                return Deleted(0, more=False)
            collection = await self._connection.collection(query.model)
            ids = await self._ids(collection, query)
            wanted = queries.matching(query)
            count = sum([await self._delete_ids(collection, chunk, wanted) for chunk in _chunks(ids[: query.limit])])
            return Deleted(count, len(ids) > query.limit)

    async def _ids(self, collection: AsyncCollection[Document], query: Query) -> list[str]:
        """The ids of a list, one past its limit where there is one. The index alone answers."""
        wanted, top = queries.following(query, query.after), query.limit + 1

        async def send() -> list[Document]:
            columns = {"_id": 1}
            async with collection.find(wanted, columns, sort=queries.order(query), limit=top, batch_size=top) as cursor:
                return await cursor.to_list()

        return [row["_id"] for row in (await self._connection.caller.call(send)).value]

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        with self._in_hand:
            collection = await self._connection.collection(model)
            ids = list(dict.fromkeys(record_ids))
            return sum([await self._purge_ids(collection, chunk) for chunk in _chunks(ids)])

    async def _purge_ids(self, collection: AsyncCollection[Document], ids: list[str]) -> int:
        wanted = {"_id": {"$in": ids}}
        present = (await self._connection.caller.call(lambda: collection.count_documents(wanted))).value
        return min(present, await self._delete_ids(collection, ids, {}))

    async def _delete_ids(self, collection: AsyncCollection[Document], ids: list[str], wanted: queries.Filter) -> int:
        """Delete those of some ids that match, and say how many; after a lost answer nobody can tell whose they were."""
        condition = {**wanted, "_id": {"$in": ids}}
        answer = await self._connection.caller.call(lambda: collection.delete_many(condition))
        return len(ids) if answer.lost else answer.value.deleted_count

    async def get_stats(self) -> BackendStats:
        with self._in_hand:
            figures = [await self._model_stats(model) for model in ALL_MODELS]
            models = {model.__name__: stats for model, stats in zip(ALL_MODELS, figures, strict=True)}
            storage = {"bytes": sum(stats.size_bytes or 0 for stats in figures)}
            return BackendStats(models, storage, pool={"maxPoolSize": self._pool_size})

    async def _model_stats(self, model: type[Record]) -> ModelStats:
        """Count and bytes as the collection's own metadata tells them, at a flat cost."""
        collection = await self._connection.collection(model)
        caller = self._connection.caller
        count = (await caller.call(collection.estimated_document_count)).value
        newest = (await caller.call(lambda: collection.find_one({}, {"updatedAt": 1}, sort=[("updatedAt", -1)]))).value
        told: dict[str, Any] = {}
        with suppress(UnsupportedError):
            told = await self._connection.command("collStats", collection_name(model))
        size = int(told.get("totalSize") or told.get("size") or 0)
        modified = None if newest is None else newest.get("updatedAt")
        return ModelStats(count, modified, size or None, approximate=True)

    async def health(self) -> None:
        with self._in_hand:
            await self._connection.command("ping")


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]


def _ours(model: type[Record], documents: list[Document]) -> Iterator[tuple[Stored, int]]:
    """The records of documents with the bytes of their texts."""
    for document in documents:
        stored = read_document(document)
        if stored is None:
            logger.warning("a foreign document is left out", extra={"collection": collection_name(model)})
        else:
            text: str = document[OWN]["record"]
            yield stored, len(text) if text.isascii() else len(text.encode())


def _refusal(model: type[Record], found: Stored | None) -> NotFoundError | PreconditionFailedError:
    if found is None:
        return NotFoundError(f"There is no {model.singular} with this id.")
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
