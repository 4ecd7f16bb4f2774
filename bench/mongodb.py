"""The MongoDB backend against the bare driver doing the same work on one server.

Both write the same documents into collections with the same indexes, under the same write concern, and read the records out
of them. FerretDB's lists read the whole collection, so what a round adds is removed after it.
"""

import os
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from bench.versus import MODEL, PAGE, Contender, Measured, Ours, alternate
from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.backend import MongoBackend
from shared.backends.mongodb.documents import READ, collection_name, write_document
from shared.config import Settings
from shared.query import Query, Stored
from tests.servers.ferretdb import running

_NEWEST = [("timestamp", -1), ("_id", -1)]

Collection = AsyncCollection[dict[str, Any]]


class Bare:
    """The driver as it comes."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def create(self, records: Sequence[Stored]) -> None:
        await self._collection.insert_one(write_document(MODEL, records[0]))

    async def create_many(self, records: Sequence[Stored]) -> None:
        await self._collection.insert_many([write_document(MODEL, stored) for stored in records], ordered=False)

    async def find(self, records: Sequence[Stored]) -> None:
        row = await self._collection.find_one({"_id": records[0].id}, READ)
        assert row is not None
        assert from_json(row["logogen"]["record"])["id"] == records[0].id

    async def newest(self, _: Sequence[Stored]) -> None:
        rows = await self._collection.find({}, READ, sort=_NEWEST, limit=PAGE + 1, batch_size=PAGE + 1).to_list()
        assert len([from_json(row["logogen"]["record"]) for row in rows[:PAGE]]) == PAGE


async def measure(rounds: int) -> Measured:
    """Median seconds of each operation, on the server that MONGODB_TEST_URI names or on FerretDB."""
    if "MONGODB_TEST_URI" in os.environ:
        return await _measure(os.environ["MONGODB_TEST_URI"], rounds)
    with running() as server:
        return await _measure(server.connection_string, rounds)


async def _measure(connection_string: str, rounds: int) -> Measured:
    access = read_access(Settings(database_type="mongodb", database_connection_string=connection_string))
    names = {name: f"bench-{name}-{os.getpid()}" for name in ("bare", "ours")}
    backends = {name: MongoBackend(access, database) for name, database in names.items()}
    async with AsyncMongoClient[dict[str, Any]](access.address, **access.options) as client:
        collections = {name: client[database][collection_name(MODEL)] for name, database in names.items()}

        async def remove(name: str, kept: Sequence[Stored]) -> None:
            await collections[name].delete_many({"_id": {"$nin": [stored.id for stored in kept]}})

        try:
            for backend in backends.values():
                await backend.connect()
                await backend.count(Query(MODEL))
            contenders: dict[str, Contender] = {"bare": Bare(collections["bare"]), "ours": Ours(backends["ours"])}
            return await alternate(contenders, rounds, after=remove)
        finally:
            for name, backend in backends.items():
                await backend.disconnect()
                await client.drop_database(names[name])
