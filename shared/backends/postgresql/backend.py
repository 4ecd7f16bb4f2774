"""The port on PostgreSQL: a table a model. Access, pool, calls, schema, queries and writes live in the other modules."""

from collections.abc import Iterator, Sequence

from shared.backends.base import Backend, BackendStats, Deleted, ModelStats, Outcome
from shared.backends.in_hand import InHand
from shared.backends.postgresql import queries, schema
from shared.backends.postgresql.access import Access, read_access
from shared.backends.postgresql.calls import Caller
from shared.backends.postgresql.folding import groups_of
from shared.backends.postgresql.pool import Connection, Pool
from shared.backends.postgresql.queries import Statement
from shared.backends.postgresql.removal import remove
from shared.backends.postgresql.tables import TABLES, Row, Table, is_etag, new_etag, size_of_text
from shared.backends.postgresql.writing import Writer
from shared.backends.retrying import Answer
from shared.config import Settings
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import Record
from shared.query import Aggregation, Group, Page, Query, Stored

MOST_COUNTED = 100_000
"""Tables with more rows than these are counted by the planner's estimate: counting costs time that grows with them."""


def from_settings(settings: Settings) -> "PostgresBackend":
    """The backend of DATABASE_CONNECTION_STRING or DATABASE_HOST. Raises ConfigurationError."""
    return PostgresBackend(
        read_access(settings), size=settings.database_pool_size, statement_seconds=settings.request_deadline_seconds
    )


class PostgresBackend(Backend):
    """A database of a server, which any number of instances share."""

    name = "postgresql"

    def __init__(self, access: Access, *, size: int = 10, statement_seconds: float = 100.0) -> None:
        self._access = access
        self._size = size
        self._statement_seconds = statement_seconds
        self._in_hand = InHand()

    async def connect(self) -> None:
        await self._in_hand.open(self._open)

    async def _open(self) -> None:
        self._pool = Pool(self._access.conninfo, self._size, self._statement_seconds)
        await self._pool.open()
        self._caller = Caller(self._pool, self._access.setting)
        self._writer = Writer(self._caller)
        try:
            await self._caller.call(self._prepare)
        except BaseException:  # a start that is cancelled leaves no connections either
            await self._pool.close()
            raise

    async def _prepare(self, connection: Connection) -> None:
        await schema.prepare(connection, self._access)

    async def disconnect(self) -> None:
        await self._in_hand.close(self._close)

    async def _close(self) -> None:
        await self._pool.close()

    async def create(self, model: type[Record], stored: Stored) -> Outcome:
        with self._in_hand:
            return await self._writer.create(model, stored)

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        with self._in_hand:
            return await self._writer.create_many(model, records)

    async def put_raw(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        return await self.create_many(model, records)

    async def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        with self._in_hand:
            return await _find(self._caller, model, record_id)

    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        with self._in_hand:
            table, after = TABLES[model], stored._replace(etag=new_etag())
            values = (*table.row(after), etag)
            if is_etag(etag) and (await _written(self._caller, queries.replacement(table), values)).value:
                return after
            found = await _find(self._caller, model, stored.id)
            if found is None:
                raise _not_found(model)
            if found.etag != after.etag:  # else it is ours, and its answer was lost
                raise _changed(model)
            return found

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        with self._in_hand:
            name = TABLES[model].name
            lost = False
            if etag is None or is_etag(etag):
                condition, values = ("", ()) if etag is None else (' AND "etag" = $2', (etag,))
                answer = await _written(self._caller, f'DELETE FROM {name} WHERE "id" = $1{condition}', (record_id, *values))
                if answer.value:
                    return
                lost = answer.lost
            if etag is not None and await _find(self._caller, model, record_id) is not None:
                raise _changed(model)
            if not lost:
                raise _not_found(model)

    async def find(self, query: Query) -> Page:
        with self._in_hand:
            if queries.asks_nothing(query):
                return Page([], more=False)
            rows = await _rows(self._caller, queries.page(query))
            items = TABLES[query.model].stored(_fitting(rows[: query.limit], query.max_bytes))
            return Page(items, more=len(rows) > len(items))

    async def count(self, query: Query) -> int:
        with self._in_hand:
            return 0 if queries.asks_nothing(query) else int((await _rows(self._caller, queries.count(query)))[0][0])

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        with self._in_hand:
            if queries.asks_nothing(aggregation):
                return []
            statement, columns = queries.aggregate(aggregation)
            return groups_of(await _rows(self._caller, statement), columns)

    async def delete_where(self, query: Query) -> Deleted:
        with self._in_hand:
            if queries.asks_nothing(query):
                return Deleted(0, more=False)
            return await remove(self._caller, TABLES[query.model], queries.removal(query), query.limit)

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        with self._in_hand:
            table = TABLES[model]
            return (await remove(self._caller, table, queries.removal_of_ids(table, record_ids))).count

    async def get_stats(self) -> BackendStats:
        with self._in_hand:
            models = {table.model.__name__: await _figures(self._caller, table) for table in TABLES.values()}
            size = sum(stats.size_bytes or 0 for stats in models.values())
            extra = {"bytes": size, "schemaVersion": schema.VERSION}
            return BackendStats(models, extra, pool=self._pool.figures())

    async def health(self) -> None:
        with self._in_hand:
            await _rows(self._caller, queries.health())


async def _rows(caller: Caller, statement: Statement) -> list[Row]:
    async def work(connection: Connection) -> list[Row]:
        return await (await connection.execute(statement.text, statement.values)).fetchall()

    return (await caller.call(work)).value


def _fitting(rows: Sequence[Row], max_bytes: int) -> Iterator[Row]:
    """The rows of a page that those before leave room for."""
    size = 0
    for row in rows:
        if size > max_bytes or row[0] is None:
            return
        size += size_of_text(row[0])
        yield row


async def _written(caller: Caller, text: str, values: Row) -> Answer[int]:
    """How many rows a statement wrote."""

    async def work(connection: Connection) -> int:
        return (await connection.execute(text, values)).rowcount

    return await caller.call(work)


async def _find(caller: Caller, model: type[Record], record_id: str) -> Stored | None:
    table = TABLES[model]

    async def work(connection: Connection) -> list[Row]:
        return await (await connection.execute(queries.by_id(table), (record_id,))).fetchall()

    found = table.stored((await caller.call(work)).value)
    return found[0] if found else None


async def _figures(caller: Caller, table: Table) -> ModelStats:
    [(counted, estimate, last_modified, size)] = await _rows(caller, queries.figures(table, MOST_COUNTED))
    approximate = counted > MOST_COUNTED
    return ModelStats(max(counted, estimate) if approximate else counted, last_modified, size, approximate)


def _not_found(model: type[Record]) -> NotFoundError:
    return NotFoundError(f"There is no {model.singular} with this id.")


def _changed(model: type[Record]) -> PreconditionFailedError:
    return PreconditionFailedError(f"The {model.singular} is no longer the version that the caller named.")
