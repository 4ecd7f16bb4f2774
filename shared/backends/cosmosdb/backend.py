"""The port on Azure Cosmos DB for NoSQL: a container a model. Place, writes, queries and charges live in the other modules."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from azure.core import MatchConditions

from shared.backends.base import Backend, BackendStats, Deleted, ModelStats, Outcome
from shared.backends.cosmosdb import queries
from shared.backends.cosmosdb.access import Access, read_access
from shared.backends.cosmosdb.aggregation import aggregate
from shared.backends.cosmosdb.calls import RefusalError
from shared.backends.cosmosdb.client import Connection
from shared.backends.cosmosdb.documents import Item, ItemFormat
from shared.backends.cosmosdb.reading import KEYS_ONLY, Reader
from shared.backends.cosmosdb.writing import Writer
from shared.backends.in_hand import InHand
from shared.backends.retrying import Answer
from shared.config import Settings
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import ALL_MODELS, Record, State
from shared.query import Aggregation, Group, Page, Query, Stored

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,128}"')
_USAGE = re.compile(r"(documentsCount|documentsSize)=(\d+)")


def from_settings(settings: Settings) -> "CosmosBackend":
    """The backend of DATABASE_CONNECTION_STRING or COSMOS_ENDPOINT. Raises ConfigurationError."""
    return CosmosBackend(
        read_access(settings), settings.database_name, settings.cosmos_buckets, retention_days=settings.retention_days
    )


class CosmosBackend(Backend):
    """A database of an account, which any number of instances share."""

    name = "cosmosdb"

    def __init__(
        self,
        access: Access,
        database: str,
        buckets: int,
        *,
        retention_days: Mapping[str, int] | None = None,
        credential: Any = None,
        clock: Callable[[], float] = time.time,
        read_timeout: float = 20.0,
    ) -> None:
        self._items = ItemFormat(buckets, retention_days or {})
        self._clock = clock
        self._connection = Connection(access, database, buckets, credential=credential, read_timeout=read_timeout)
        self._reader = Reader(self._connection)
        self._writer = Writer(self._connection, self._reader, self._items, clock)
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
            return await self._writer.find(model, record_id)

    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        with self._in_hand:
            if _ETAG.fullmatch(etag) is None:
                raise await self._refusal_of(model, stored.id)
            container = await self._connection.container(model)
            item = self._items.write(model, stored, self._clock())
            condition = MatchConditions.IfNotModified
            try:
                answer: Answer[Any] = await self._connection.caller.call(
                    lambda: container.replace_item(stored.id, item, etag=etag, match_condition=condition)
                )
            except RefusalError as refusal:
                return await self._settle_update(model, stored, refusal)
            replaced = answer.value
            return stored._replace(etag=str(replaced.get("_etag") or replaced.get_response_headers().get("etag")))

    async def _settle_update(self, model: type[Record], stored: Stored, refusal: RefusalError) -> Stored:
        """What a refused replace means: after a lost answer the stored record may be the one we sent."""
        if refusal.status == 404:
            raise _not_found(model) from refusal
        found = await self._writer.find(model, stored.id) if refusal.lost else None
        if found is not None and (found.record, found.hidden) == (stored.record, stored.hidden):
            return found
        raise _changed(model) from refusal

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        with self._in_hand:
            if etag is not None and _ETAG.fullmatch(etag) is None:
                raise await self._refusal_of(model, record_id)
            container = await self._connection.container(model)
            key = self._items.place(record_id)
            condition: Item = {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
            try:
                await self._connection.caller.call(lambda: container.delete_item(record_id, key, **condition))
            except RefusalError as refusal:
                if refusal.status == 404 and refusal.lost:
                    return
                raise (_not_found(model) if refusal.status == 404 else _changed(model)) from refusal

    async def _refusal_of(self, model: type[Record], record_id: str) -> NotFoundError | PreconditionFailedError:
        """Why a write under an etag that no item has is refused."""
        found = await self._writer.find(model, record_id)
        return _not_found(model) if found is None else _changed(model)

    async def find(self, query: Query) -> Page:
        with self._in_hand:
            return Page([], more=False) if queries.asks_nothing(query) else await self._reader.page(query)

    async def count(self, query: Query) -> int:
        with self._in_hand:
            if queries.asks_nothing(query):
                return 0
            return sum(await self._reader.first(query.model, queries.count_statement(query)))

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        with self._in_hand:
            return await aggregate(self._reader, aggregation, self._items.buckets, self._clock())

    async def delete_where(self, query: Query) -> Deleted:
        with self._in_hand:
            if queries.asks_nothing(query):
                return Deleted(0, more=False)
            rows, more = await self._reader.rows(query, KEYS_ONLY)
            etags = {row["id"]: row["_etag"] for row in rows[: query.limit]}
            count = await self._writer.delete_seen(query.model, etags)
            return Deleted(count, more or len(rows) > query.limit or count < len(etags))

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        with self._in_hand:
            return await self._writer.delete_many(model, record_ids)

    async def get_stats(self) -> BackendStats:
        with self._in_hand:
            figures = await asyncio.gather(*(self._model_stats(model) for model in ALL_MODELS))
            models = {model.__name__: stats for model, stats in zip(ALL_MODELS, figures, strict=True)}
            storage = {"bytes": sum(stats.size_bytes or 0 for stats in figures), "buckets": self._items.buckets}
            return BackendStats(models, storage, pool={"requestCharge": round(self._connection.charge, 2)})

    async def _model_stats(self, model: type[Record]) -> ModelStats:
        """Count and bytes as the container tells them, at a flat charge; items past their time to live may still count."""
        container = await self._connection.container(model)
        seen: list[str] = []

        async def read() -> None:
            seen.clear()
            await container.read(
                populate_quota_info=True,
                response_hook=lambda headers, _: seen.append(headers.get("x-ms-resource-usage") or ""),
            )

        await self._connection.caller.call(read)
        usage = {name: int(number) for name, number in _USAGE.findall(seen[-1] if seen else "")}
        count = usage.get("documentsCount")
        if count is None:
            count = sum(await self._reader.first(model, queries.count_statement(Query(model))))
        modified = await self._reader.first(model, queries.last_change_statement())
        size = usage.get("documentsSize")
        return ModelStats(
            count, max(modified, default=None), None if not size else size * 1024, approximate="documentsCount" in usage
        )

    async def health(self) -> None:
        with self._in_hand:
            await self._writer.find(State, "health")


def _not_found(model: type[Record]) -> NotFoundError:
    return NotFoundError(f"There is no {model.singular} with this id.")


def _changed(model: type[Record]) -> PreconditionFailedError:
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
