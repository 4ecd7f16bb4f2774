"""The port on plain files. Reads run in a few threads, writes in the writer's; the event loop never waits for a disk."""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from shared.backends.base import Backend, BackendStats, Deleted, ModelStats, Outcome
from shared.backends.file.cache import RecordCache
from shared.backends.file.directory import Directory, translated_errors
from shared.backends.file.disk import Disk
from shared.backends.file.index import Index
from shared.backends.file.lock import PATIENCE_SECONDS
from shared.backends.file.maintenance import compact, is_expiry, purge, unlink_days
from shared.backends.file.store import Store
from shared.backends.file.writer import Writer
from shared.config import Settings
from shared.errors import UnavailableError
from shared.models import MODELS, Record
from shared.query import Aggregation, Group, Page, Query, Stored
from shared.timestamps import day_of, from_ms

T = TypeVar("T")

_READERS = 4
_SALT_BYTES = 32


def from_settings(settings: Settings) -> "FileBackend":
    """The backend of DATABASE_DATA_DIR."""
    capacity = settings.database_max_cache_size if settings.database_enable_cache else 0
    return FileBackend(settings.database_data_dir, cache_capacity=capacity)


class FileBackend(Backend):
    """JSON lines under a directory, which several processes may share; `patience` (seconds) is for their lock."""

    name = "file"

    def __init__(
        self,
        root: Path,
        *,
        cache_capacity: int = 1_000,
        disk: Disk | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._root = root
        self._patience = patience
        self._disk = disk or Disk()
        self._cache = RecordCache(cache_capacity)
        self._connecting = asyncio.Lock()
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None

    async def connect(self) -> None:
        async with self._connecting:
            if self._writer is None:
                readers = self._readers = self._readers or ThreadPoolExecutor(_READERS, "file-reader")
                self._store = await asyncio.get_running_loop().run_in_executor(readers, self._open)
                self._writer = Writer(self._store)

    def _open(self) -> Store:
        with translated_errors():
            directory = Directory(self._root, self._disk, self._patience)
            try:
                store = Store(directory, self._cache)
                store.open()
            except BaseException:
                directory.close()
                raise
        return store

    async def disconnect(self) -> None:
        async with self._connecting:
            writer, readers, store = self._writer, self._readers, self._store
            self._writer = self._readers = self._store = None
            if writer is not None:
                await asyncio.to_thread(writer.close)
            if readers is not None:
                await asyncio.to_thread(readers.shutdown)
            if store is not None:
                self._cache.clear()
                store.directory.close()

    async def make_salt(self) -> str:
        store = self._connected
        return await self._read(lambda: _make_salt(store.directory))

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        outcomes: list[Outcome] = await self._writing.submit(lambda group: group.create_many(model, records))
        return outcomes

    async def put_raw(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        return await self.create_many(model, records)

    async def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        store = self._connected
        return await self._read(lambda: store.find_by_id(model, record_id))

    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        updated: Stored = await self._writing.submit(lambda group: group.update(model, stored, etag))
        return updated

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        await self._writing.submit(lambda group: group.delete(model, record_id, etag))

    async def find(self, query: Query) -> Page:
        store = self._connected
        return await self._read(lambda: store.find(query))

    async def count(self, query: Query) -> int:
        store = self._connected
        return await self._read(lambda: store.reading(query.model, lambda index: index.count(query)))

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        store = self._connected
        return await self._read(lambda: store.aggregate(aggregation))

    async def delete_where(self, query: Query) -> Deleted:
        count = 0
        if is_expiry(query):
            store = self._connected
            count = await self._writing.submit_alone(lambda: unlink_days(store, query))
        if count < query.limit:
            count += await self._writing.submit(lambda group: group.delete_where(replace(query, limit=query.limit - count)))
        more = count >= query.limit and await self._has_any(query)
        if is_expiry(query) and not more and query.until is not None:
            await self._compact(query.model, day_of(query.until))
        return Deleted(count, more)

    async def _has_any(self, query: Query) -> bool:
        store = self._connected
        return await self._read(
            lambda: store.reading(query.model, lambda index: bool(index.rows(replace(query, after=None), 1)))
        )

    async def _compact(self, model: type[Record], day: str) -> None:
        store = self._connected
        await self._writing.submit_alone(lambda: compact(store, model, day))

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        store = self._connected
        count: int = await self._writing.submit_alone(lambda: purge(store, model, record_ids))
        return count

    async def get_stats(self) -> BackendStats:
        store = self._connected
        return await self._read(lambda: store.reading_all(lambda index: _stats(store, index)))

    async def health(self) -> None:
        store = self._connected
        await self._read(store.check)

    @property
    def _connected(self) -> Store:
        if self._store is None:
            raise UnavailableError("The data directory is not open.")
        return self._store

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise UnavailableError("The data directory is not open.")
        return self._writer

    async def _read(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with translated_errors():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)


def _stats(store: Store, index: Index) -> BackendStats:
    segments = index.segments()
    models = {}
    for name in MODELS:
        own = [segment for segment in segments if segment.model == name]
        updated = max((moment for segment in own if (moment := index.last_update(segment)) is not None), default=None)
        last_modified = None if updated is None else from_ms(updated)
        models[name] = ModelStats(sum(segment.live for segment in own), last_modified, sum(segment.size for segment in own))
    storage = {
        "segments": len(segments),
        "bytes": sum(segment.size for segment in segments),
        "deadBytes": sum(segment.dead_bytes for segment in segments),
    }
    return BackendStats(models, storage, store.cache.stats())


def _make_salt(directory: Directory) -> str:
    """The salt of a data directory, made by whoever needs it first."""
    path = directory.root / ".salt"
    with directory.lock.hold():
        if not path.exists():
            fresh = path.with_name(".salt.new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, secrets.token_hex(_SALT_BYTES).encode())
                directory.disk.sync(descriptor)
            finally:
                os.close(descriptor)
            directory.disk.rename(fresh, path)
            directory.disk.sync_directory(directory.root)
        return path.read_text().strip()
