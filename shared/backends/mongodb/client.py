"""The one client of a process, and the collections with their indexes, each made sure of on its first use."""

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from shared.backends.driver_logs import silence
from shared.backends.mongodb.access import Access
from shared.backends.mongodb.calls import Caller
from shared.backends.mongodb.documents import Document, collection_name
from shared.backends.mongodb.indexes import IN_LINE, Indexes
from shared.errors import ConfigurationError, DeadlineError
from shared.models import Record
from shared.timing import remaining_seconds

silence("pymongo", level=logging.INFO)  # above it, the driver warns on stderr of what it would have logged


class Connection:
    """A client that connects when it is first needed. `retention_days` by model name (0: no expiry)."""

    def __init__(self, access: Access, database: str, retention_days: Mapping[str, int]) -> None:
        self.caller = Caller(access.setting, access.pool_size)
        self._access = access
        self._name = database
        self._days = retention_days
        self._client: AsyncMongoClient[Document] | None = None
        self._collections: dict[type[Record], AsyncCollection[Document]] = {}
        self._making: dict[type[Record], asyncio.Task[AsyncCollection[Document]]] = {}

    async def open(self) -> None:
        """Make the client; the network is not touched. Raises ConfigurationError."""
        try:
            self._client = AsyncMongoClient(self._access.address, **self._access.options)
        except Exception:  # noqa: BLE001 - its text may show a part of the password
            raise ConfigurationError(f"{self._access.setting} has options that do not go together") from None

    async def close(self) -> None:
        for making in tuple(self._making.values()):
            making.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        client, self._client = self._client, None
        self._collections.clear()
        if client is not None:
            await client.close()

    @property
    def database(self) -> AsyncDatabase[Document]:
        assert self._client is not None, "the connection is open"
        return self._client[self._name]

    async def collection(self, model: type[Record]) -> AsyncCollection[Document]:
        """The model's collection, with its indexes. Those who ask at once share one attempt, and its failure."""
        known = self._collections.get(model)
        if known is not None:
            return known
        making = self._making.get(model)
        if making is None:
            # Nobody's deadline: those who come later share it.
            making = self._making[model] = asyncio.create_task(self._make(model), context=contextvars.Context())
            making.add_done_callback(lambda done: self._made(model, done))
        try:
            async with asyncio.timeout(remaining_seconds()):
                return await asyncio.shield(making)
        except TimeoutError as error:
            raise DeadlineError("The database did not answer in time.") from error

    async def _make(self, model: type[Record]) -> AsyncCollection[Document]:
        await self.make_indexes(model, IN_LINE)
        return self.database[collection_name(model)]

    async def make_indexes(self, model: type[Record], at_most: float) -> list[str]:
        """As `Indexes.make`."""
        collection = self.database[collection_name(model)]
        return await Indexes(self.caller, collection, model, self._days.get(model.__name__, 0)).make(at_most)

    def _made(self, model: type[Record], done: asyncio.Task[AsyncCollection[Document]]) -> None:
        self._making.pop(model, None)
        if not done.cancelled() and done.exception() is None:
            self._collections[model] = done.result()

    async def command(self, name: str, value: Any = 1) -> Document:
        """The answer to a command on the database."""
        return (await self.caller.call(lambda: self.database.command(name, value))).value
