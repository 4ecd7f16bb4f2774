"""The databases under test. A backend joins the contract with one entry in `STORES`."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from shared.backends import create_backend
from shared.backends.base import Backend
from shared.config import Settings


@dataclass(frozen=True, slots=True)
class Store:
    """One test's own database, empty at first, that any number of instances may open."""

    settings: Settings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Backend]:
        """One more instance of the backend over this database, connected."""
        backend = create_backend(self.settings)
        await backend.connect()
        try:
            yield backend
        finally:
            await backend.disconnect()


@asynccontextmanager
async def _file(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    folder: Path = request.getfixturevalue("tmp_path")
    yield Settings(database_type="file", database_data_dir=folder / "data")


@asynccontextmanager
async def _cosmosdb(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    account = request.getfixturevalue("cosmos_account")
    with account.database() as name:
        yield Settings(database_type="cosmosdb", database_connection_string=account.connection_string, database_name=name)


@asynccontextmanager
async def _cosmium(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    connection_string: str = request.getfixturevalue("cosmium")
    yield Settings(
        database_type="cosmosdb", database_connection_string=connection_string, database_name=f"test-{uuid.uuid4().hex[:12]}"
    )


@asynccontextmanager
async def _cosmos_account(_: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    endpoint, key = os.environ["COSMOS_TEST_ENDPOINT"], os.environ["COSMOS_TEST_KEY"]
    name = f"test-{uuid.uuid4().hex[:12]}"
    connection_string = f"AccountEndpoint={endpoint};AccountKey={key};"
    yield Settings(database_type="cosmosdb", database_connection_string=connection_string, database_name=name)
    async with import_module("azure.cosmos.aio").CosmosClient(endpoint, key, enable_endpoint_discovery=False) as client:
        await client.delete_database(name)


@asynccontextmanager
async def _ferretdb(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    async with _mongo_database(request.getfixturevalue("ferretdb").connection_string) as settings:
        yield settings


@asynccontextmanager
async def _mongo_server(_: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    async with _mongo_database(os.environ["MONGODB_TEST_URI"]) as settings:
        yield settings


@asynccontextmanager
async def _mongo_database(connection_string: str) -> AsyncIterator[Settings]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield Settings(database_type="mongodb", database_connection_string=connection_string, database_name=name)
    async with import_module("pymongo").AsyncMongoClient(connection_string) as client:
        await client.drop_database(name)


@asynccontextmanager
async def _postgresql(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    server = request.getfixturevalue("postgresql")
    with server.emptied() as name:
        yield Settings(database_type="postgresql", database_connection_string=server.conninfo(name), database_name=name)


@asynccontextmanager
async def _tables(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    server = request.getfixturevalue("azurite")
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield Settings(database_type="tables", database_connection_string=server.connection_string, database_name=name)


STORES: Mapping[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Settings]]] = {
    "file": _file,
    "cosmosdb": _cosmosdb,
    "cosmium": _cosmium,
    "tables": _tables,
    "postgresql": _postgresql,
    "mongodb": _ferretdb,
    **({"mongodb-server": _mongo_server} if "MONGODB_TEST_URI" in os.environ else {}),
    **({"cosmos-account": _cosmos_account} if "COSMOS_TEST_ENDPOINT" in os.environ else {}),
}
"""By database type: gives the settings of an empty database for one test, and removes it afterwards."""
