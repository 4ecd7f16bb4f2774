"""The Tables backend against the bare driver doing the same work on one emulator.

The bare driver writes the same entities with the same keys in the same transactions, and reads the same rows of the same
four buckets at once.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableClient

from bench.versus import MODEL, PAGE, Contender, Measured, Ours, alternate
from shared.backends.tables.access import Access
from shared.backends.tables.backend import TablesBackend
from shared.backends.tables.client import table_name
from shared.backends.tables.entities import read_record, write_record
from shared.backends.tables.keys import BUCKETS, record_place
from shared.query import Stored
from tests.servers.azurite import ACCOUNT, KEY, running


class Bare:
    """The driver as it comes."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def create(self, records: Sequence[Stored]) -> None:
        await self._table.create_entity(write_record(MODEL, records[0], "w"), response_preference="return-no-content")

    async def create_many(self, records: Sequence[Stored]) -> None:
        places: defaultdict[str, list[Any]] = defaultdict(list)
        for stored in records:
            entity = write_record(MODEL, stored, "w")
            places[entity["PartitionKey"]].append(("create", entity, {"response_preference": "return-no-content"}))
        batches = [all_[at : at + 100] for all_ in places.values() for at in range(0, len(all_), 100)]
        await asyncio.gather(*(self._table.submit_transaction(batch) for batch in batches))

    async def find(self, records: Sequence[Stored]) -> None:
        place = record_place(records[0].key)
        assert read_record(await self._table.get_entity(place.partition, place.row)) is not None

    async def newest(self, _: Sequence[Stored]) -> None:
        async def ask(bucket: int) -> list[Any]:
            keys = {"from": f"{bucket}_", "to": f"{bucket}_~"}
            rows = self._table.query_entities(
                "PartitionKey ge @from and PartitionKey lt @to", parameters=keys, results_per_page=PAGE + 1
            )
            return [row async for row in await anext(rows.by_page())]

        parts = await asyncio.gather(*map(ask, range(BUCKETS)))
        rows = sorted((row for part in parts for row in part), key=lambda row: str(row["RowKey"]))
        assert len([read_record(row) for row in rows[:PAGE]]) == PAGE


async def measure(rounds: int) -> Measured:
    """Median seconds of each operation, on Azurite; each contender has tables of its own."""
    names = {name: f"bench{uuid.uuid4().hex[:10]}" for name in ("bare", "ours")}
    with running() as server:
        backend = TablesBackend(Access(server.endpoint, "BENCH", ACCOUNT, KEY), names["ours"])
        await backend.connect()
        credential = AzureNamedKeyCredential(ACCOUNT, KEY)
        async with TableClient(server.endpoint, table_name(names["bare"], MODEL), credential=credential) as table:
            await table.create_table()
            contenders: dict[str, Contender] = {"bare": Bare(table), "ours": Ours(backend)}
            measured = await alternate(contenders, rounds)
        await backend.disconnect()
    return measured
