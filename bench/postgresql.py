"""The PostgreSQL backend against the bare driver doing the same work on one server.

Both write the same rows into tables with the same columns and indexes, and commit to disk.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from bench.versus import MODEL, Contender, Measured, Ours, alternate
from shared import jsontext
from shared.backends.postgresql.access import Access
from shared.backends.postgresql.backend import PostgresBackend
from shared.query import Stored
from tests.servers.postgresql import running

_COLUMNS = (
    "id, timestamp, updated_at, session_id, image_type, status, success, api_model, llm_model, total_duration, "
    "prompt_enhancement_duration, image_generation_duration, image_processing_duration, total_duration_bucket, "
    "prompt_enhancement_duration_bucket, image_generation_duration_bucket, image_processing_duration_bucket, "
    "content_hash, privacy_version, etag, record"
)
_FIELDS = ("updatedAt", "sessionId", "imageType", "status", "success", "apiModel", "llmModel")
_PLACES = ", ".join(["%s"] * (_COLUMNS.count(",") + 1))
_INSERT = f"INSERT INTO bare.transactions ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING"
_HIDDEN = (
    "content_hash, privacy_version, etag, total_duration_bucket, prompt_enhancement_duration_bucket, "
    "image_generation_duration_bucket, image_processing_duration_bucket"
)
_BY_ID = f"SELECT record, {_HIDDEN} FROM bare.transactions WHERE id = %s"
_NEWEST = f"SELECT record, {_HIDDEN} FROM bare.transactions ORDER BY timestamp DESC, id DESC LIMIT 51"


class Bare:
    """The driver as it comes: one connection, statements prepared by the driver itself."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def create(self, records: Sequence[Stored]) -> None:
        await self._connection.execute(_INSERT, _row(records[0]))

    async def create_many(self, records: Sequence[Stored]) -> None:
        cursor = self._connection.cursor()
        async with cursor.copy(f"COPY bare.transactions ({_COLUMNS}) FROM STDIN") as copy:
            for stored in records:
                await copy.write_row(_row(stored))

    async def find(self, records: Sequence[Stored]) -> None:
        cursor = await self._connection.execute(_BY_ID, (records[0].id,))
        assert await cursor.fetchone() is not None

    async def newest(self, _: Sequence[Stored]) -> None:
        assert len((await (await self._connection.execute(_NEWEST)).fetchall())[:50]) == 50


def _row(stored: Stored) -> tuple[Any, ...]:
    record, hidden = stored.record, stored.hidden
    return (
        stored.id,
        stored.timestamp,
        *[record.get(name) for name in _FIELDS],
        *[record.get(name) for name in MODEL.durations],
        *[hidden.buckets.get(name) for name in MODEL.durations],
        hidden.content_hash,
        hidden.privacy_version,
        1,
        jsontext.dumps(record),
    )


async def measure(rounds: int) -> Measured:
    """Median seconds of each operation, on a server of its own."""
    with running({"max_connections": "20"}) as server:
        backend = PostgresBackend(Access(server.conninfo(), "BENCH", "postgres"))
        await backend.connect()
        server.execute("CREATE SCHEMA bare; CREATE TABLE bare.transactions (LIKE logogen.transactions INCLUDING ALL)")
        async with await psycopg.AsyncConnection.connect(server.conninfo(), autocommit=True) as connection:
            set_json_loads(from_json, connection)
            contenders: dict[str, Contender] = {"bare": Bare(connection), "ours": Ours(backend)}
            measured = await alternate(contenders, rounds)
        await backend.disconnect()
    return measured
