"""Tables of its own for each test, and a look at what stands in them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableClient

from shared.backends.tables.access import Access
from shared.backends.tables.backend import TablesBackend
from shared.backends.tables.client import table_name
from shared.models import Record
from tests.servers.azurite import ACCOUNT, KEY, Azurite


class Bench:
    """A database of its own, and as many backends as a test opens."""

    def __init__(self, endpoint: str, stack: AsyncExitStack) -> None:
        self.endpoint = endpoint
        self.database = f"test{uuid.uuid4().hex[:12]}"
        self._stack = stack

    async def open(self, *, key: str = KEY, **options: Any) -> TablesBackend:
        """A connected backend, disconnected after the test."""
        access = Access(options.pop("endpoint", self.endpoint), "DATABASE_CONNECTION_STRING", ACCOUNT, key)
        backend = TablesBackend(access, self.database, **options)
        await backend.connect()
        self._stack.push_async_callback(backend.disconnect)
        return backend

    async def table(self, model: type[Record]) -> TableClient:
        """The driver's own client of a model's table."""
        name = table_name(self.database, model)
        client = TableClient(self.endpoint, name, credential=AzureNamedKeyCredential(ACCOUNT, KEY))
        return await self._stack.enter_async_context(client)

    async def entities(self, model: type[Record]) -> list[dict[str, Any]]:
        """Everything that stands in a model's table."""
        table = await self.table(model)
        return [dict(entity) async for entity in table.list_entities()]


@pytest.fixture
async def bench(azurite: Azurite) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(azurite.endpoint, stack)


@pytest.fixture
async def backend(bench: Bench) -> TablesBackend:
    return await bench.open()
