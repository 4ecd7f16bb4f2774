"""A server of MongoDB's protocol for these tests, a database for each, and the bare driver to look at what is stored."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.backend import MongoBackend
from shared.config import Settings
from tests.mongodb.wire import WireProxy
from tests.servers.ferretdb import FerretDB


@pytest.fixture(scope="session")
def server(ferretdb: FerretDB) -> FerretDB:
    return ferretdb


@dataclass
class Bench:
    """A database, what the bare driver sees of it, and as many backends as a test opens."""

    database: AsyncDatabase[dict[str, Any]]
    connection_string: str
    stack: AsyncExitStack

    async def open(self, **days: int) -> MongoBackend:
        """A connected backend with retention days by model name, disconnected after the test."""
        settings = Settings(database_type="mongodb", database_connection_string=self.connection_string)
        backend = MongoBackend(read_access(settings), self.database.name, retention_days=days)
        await backend.connect()
        self.stack.push_async_callback(backend.disconnect)
        return backend


@asynccontextmanager
async def bench_on(connection_string: str) -> AsyncIterator[Bench]:
    """A database of its own on a server, dropped afterwards."""
    async with AsyncExitStack() as stack:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(connection_string)
        stack.push_async_callback(client.close)
        name = f"test-{uuid.uuid4().hex[:12]}"
        stack.push_async_callback(client.drop_database, name)
        yield Bench(client[name], connection_string, stack)


@pytest.fixture
async def bench(server: FerretDB) -> AsyncIterator[Bench]:
    """An empty database."""
    async with bench_on(server.connection_string) as found:
        yield found


@pytest.fixture
async def proxy(server: FerretDB) -> AsyncIterator[WireProxy]:
    """A proxy in front of the server that changes its answers as it is told."""
    async with WireProxy(server.port) as found:
        yield found


@pytest.fixture
async def answered(proxy: WireProxy, bench: Bench) -> Bench:
    """An empty database whose backends go through the proxy; the bare driver does not."""
    return Bench(bench.database, f"mongodb://127.0.0.1:{proxy.port}/?maxPoolSize=1", bench.stack)


@pytest.fixture
async def real() -> AsyncIterator[Bench]:
    """An empty database on a server that groups and expires by itself, where one is named."""
    if "MONGODB_TEST_URI" not in os.environ:
        pytest.skip("MONGODB_TEST_URI names no server")
    async with bench_on(os.environ["MONGODB_TEST_URI"]) as found:
        yield found
