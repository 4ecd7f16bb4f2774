"""The file backend against an SQLite table with the columns and indexes that its index has, and the record as JSON text."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.comparators import SqliteTable
from bench.versus import MODEL, PAGE, Contender, Measured, Ours, alternate
from shared.backends.file.backend import FileBackend
from shared.query import Stored


class Bare:
    """SQLite in a thread, as an asynchronous program has to call it."""

    def __init__(self, table: SqliteTable) -> None:
        self._table = table

    async def create(self, records: Sequence[Stored]) -> None:
        await asyncio.to_thread(self._table.create_many, records[:1])

    async def create_many(self, records: Sequence[Stored]) -> None:
        await asyncio.to_thread(self._table.create_many, records)

    async def find(self, records: Sequence[Stored]) -> None:
        assert await asyncio.to_thread(self._table.get, records[0].id) is not None

    async def newest(self, _: Sequence[Stored]) -> None:
        assert len(await asyncio.to_thread(self._table.newest, PAGE, {})) == PAGE


async def measure(rounds: int) -> Measured:
    """Median seconds of each operation, on one disk."""
    with TemporaryDirectory(prefix="bench-") as folder:
        table = SqliteTable(Path(folder, "records.sqlite"), MODEL)
        table.load([])
        backend = FileBackend(Path(folder, "data"))
        await backend.connect()
        contenders: dict[str, Contender] = {"bare": Bare(table), "ours": Ours(backend)}
        measured = await alternate(contenders, rounds)
        await backend.disconnect()
        table.close()
    return measured
