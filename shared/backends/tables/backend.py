"""The port on Azure Tables: a table a model. Keys, reads, claims and deletes live in the other modules."""

from collections.abc import Sequence

from shared.backends.base import Backend, BackendStats, Deleted, Outcome
from shared.backends.in_hand import InHand
from shared.backends.tables import aggregation as figures
from shared.backends.tables.access import Access, read_access
from shared.backends.tables.claims import replace_entity
from shared.backends.tables.client import READ_TIMEOUT_SECONDS, Connection
from shared.backends.tables.concurrency import together
from shared.backends.tables.entities import new_write, read_version, version, with_fences, write_record
from shared.backends.tables.estimating import model_stats
from shared.backends.tables.filters import asks_nothing
from shared.backends.tables.leftovers import SETTLED_SECONDS, Leftovers
from shared.backends.tables.reading import MAX_CALLS, Reader
from shared.backends.tables.removal import Remover, changed, not_found
from shared.backends.tables.writing import Writer
from shared.config import Settings
from shared.models import ALL_MODELS, Record, State
from shared.query import Aggregation, Group, Page, Query, Stored


def from_settings(settings: Settings) -> "TablesBackend":
    """The backend of DATABASE_CONNECTION_STRING or TABLES_ENDPOINT. Raises ConfigurationError."""
    return TablesBackend(read_access(settings), settings.database_name, connections=settings.database_pool_size)


class TablesBackend(Backend):
    """The tables of an account whose names begin with DATABASE_NAME, which any number of instances share.

    `max_calls` bounds a page: it ends after so many calls, and tells where to go on. After `settled_seconds` no create that was
    begun before can still be on its way.
    """

    name = "tables"
    counts_by_reading = True

    def __init__(
        self,
        access: Access,
        database: str,
        *,
        connections: int = 10,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        max_calls: int = MAX_CALLS,
        settled_seconds: float = SETTLED_SECONDS,
    ) -> None:
        self._connection = Connection(access, database, connections=connections, read_timeout=read_timeout)
        self._connections = connections
        self._reader = Reader(self._connection, max_calls)
        leftovers = Leftovers(self._connection, self._reader, settled_seconds)
        self._writer = Writer(self._connection, self._reader, leftovers)
        self._remover = Remover(self._connection, self._reader, leftovers)
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
            seen = read_version(etag)
            if seen is not None:
                entity = with_fences(write_record(model, stored, new_write()), seen.fences)
                new_etag = await replace_entity(self._connection, self._reader, model, entity, seen.etag)
                if new_etag is not None:
                    return stored._replace(etag=version(new_etag, seen.fences))
            found = await self._writer.find(model, stored.id)
            raise not_found(model) if found is None else changed(model)

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        with self._in_hand:
            await self._remover.delete(model, record_id, etag)

    async def find(self, query: Query) -> Page:
        with self._in_hand:
            return Page([], more=False) if asks_nothing(query) else await self._reader.page(query)

    async def count(self, query: Query) -> int:
        with self._in_hand:
            return await figures.count(self._reader, query)

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        with self._in_hand:
            return await figures.aggregate(self._reader, aggregation)

    async def delete_where(self, query: Query) -> Deleted:
        with self._in_hand:
            if asks_nothing(query):
                return Deleted(0, more=False)
            count, more = await self._remover.delete_where(query)
            return Deleted(count, more)

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        with self._in_hand:
            return await self._remover.purge(model, record_ids)

    async def get_stats(self) -> BackendStats:
        with self._in_hand:
            found = await together(*(model_stats(self._reader, model) for model in ALL_MODELS))
            models = {model.__name__: stats for model, stats in zip(ALL_MODELS, found, strict=True)}
            return BackendStats(models, pool={"size": self._connections})

    async def health(self) -> None:
        with self._in_hand:
            await self._writer.find(State, "health")
