"""`python -m bench.cosmos`: our backend against the bare SDK making the fewest possible calls, on one server, in one run.

The server is the tests' double in a process of its own; a proxy counts the HTTP calls in a run apart from the timed ones.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from azure.cosmos.aio import ContainerProxy, CosmosClient

from bench.versus import BAR, KEPT, MODEL, OPERATIONS, ROUNDS, Contender, Measured, Ours, alternate, made
from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.backend import CosmosBackend
from shared.backends.cosmosdb.documents import partition_key
from shared.query import Query, Stored
from shared.timestamps import from_ms
from tests.faults.proxy import Proxy
from tests.servers.cosmos.running import KEY, new_account
from tests.servers.cosmos.server import CosmosDouble

PARTITIONS = 2
BUCKETS = 4
_ROOT = Path(__file__).parents[1]
_TIMED_IMPORT = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"


class Bare:
    """The SDK as it comes, asked as sparingly as it can be."""

    def __init__(self, container: ContainerProxy) -> None:
        self._container = container

    async def create(self, records: Sequence[Stored]) -> None:
        await self._container.create_item(_item(records[0]), no_response=True)

    async def create_many(self, records: Sequence[Stored]) -> None:
        places: defaultdict[str, list[Any]] = defaultdict(list)
        for stored in records:
            item = _item(stored)
            places[item["pk"]].append(("create", (item,)))
        batches = [(key, all_[at : at + 100]) for key, all_ in places.items() for at in range(0, len(all_), 100)]
        await asyncio.gather(*(self._container.execute_item_batch(part, key, no_response=True) for key, part in batches))

    async def find(self, records: Sequence[Stored]) -> None:
        await self._container.read_item(records[0].id, partition_key(records[0].id, BUCKETS))

    async def newest(self, _: Sequence[Stored]) -> None:
        text = "SELECT TOP 51 * FROM c WHERE c.timestamp >= @p ORDER BY c.timestamp DESC, c.id DESC"
        parameters: list[dict[str, object]] = [{"name": "@p", "value": from_ms(int(time.time() * 1_000) - 86_400_000)}]

        async def ask(part: dict[str, Any]) -> list[Any]:
            return [row async for row in self._container.query_items(text, parameters=parameters, feed_range=part)]

        parts = await asyncio.gather(*[ask(part) async for part in self._container.read_feed_ranges()])
        rows = [row for part in parts for row in part]
        assert len(sorted(rows, key=lambda row: (row["timestamp"], row["id"]))[-50:]) == 50


def _item(stored: Stored) -> dict[str, Any]:
    return {**stored.record, "pk": partition_key(stored.id, BUCKETS)}


async def measure(rounds: int) -> Measured:
    """Median seconds of each operation; the server is a process of its own."""
    command = (sys.executable, "-m", "bench.cosmos", "--serve")
    server = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        async with _contenders(url) as contenders:
            return await alternate(contenders, rounds)
    finally:
        server.terminate()
        await server.wait()


@asynccontextmanager
async def _contenders(url: str) -> AsyncIterator[dict[str, Contender]]:
    backends = {name: CosmosBackend(Access(url, "BENCH", KEY), f"bench-{name}", BUCKETS) for name in ("bare", "ours")}
    for backend in backends.values():
        await backend.connect()
        await backend.count(Query(MODEL))
    async with CosmosClient(url, KEY, enable_endpoint_discovery=False) as client:
        container = client.get_database_client("bench-bare").get_container_client(MODEL.route)
        yield {"bare": Bare(container), "ours": Ours(backends["ours"])}
    for backend in backends.values():
        await backend.disconnect()


async def _calls() -> dict[str, dict[str, int]]:
    """How many HTTP calls each operation takes, once both know the account."""
    calls: defaultdict[str, dict[str, int]] = defaultdict(dict)
    async with (
        CosmosDouble(new_account(physical=PARTITIONS)).serve() as double,
        Proxy(double.url).serve() as proxy,
        _contenders(proxy.url) as contenders,
    ):
        for name, contender in contenders.items():
            known = made(KEPT)
            await contender.create_many(known)
            await contender.newest([])
            for operation, (size, _) in OPERATIONS.items():
                before = proxy.calls
                await getattr(contender, operation)(made(size) if size else known)
                calls[operation][name] = proxy.calls - before
    return calls


def _imports() -> tuple[float, float]:
    """Median seconds that importing the app on this backend takes, and importing what it can't do without."""
    environment = {
        **os.environ,
        "DATABASE_TYPE": "cosmosdb",
        "DATABASE_CONNECTION_STRING": f"AccountEndpoint=https://bench.documents.azure.com:443/;AccountKey={KEY}",
        "PRIVACY_SALT": "bench-bench-bench",
    }
    taken: dict[str, list[float]] = {"function_app": [], "azure.functions, pydantic, azure.cosmos.aio": []}
    for _ in range(9):
        for modules, seconds in taken.items():
            command = [sys.executable, "-c", _TIMED_IMPORT.format(modules)]
            done = subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout))
    ours, bare = map(median, taken.values())
    return ours, bare


async def _serve() -> None:
    async with CosmosDouble(new_account(physical=PARTITIONS)).serve() as double:
        print(double.url, flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """Print the table; exit code 1 where a bar is missed."""
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(_serve())
    calls = asyncio.run(_calls())
    timed = asyncio.run(measure(ROUNDS))
    met = True
    print("| work | bare, ms | ours, ms | ratio | calls, bare | calls, ours |\n| --- | --- | --- | --- | --- | --- |")
    for operation, (bare, ours, ratio) in timed.items():
        counted = calls[operation]
        met = met and ratio <= BAR and counted["ours"] == counted["bare"]
        cells = (f"{bare * 1e3:.2f}", f"{ours * 1e3:.2f}", f"{ratio:.2f}", str(counted["bare"]), str(counted["ours"]))
        print(f"| {operation} | {' | '.join(cells)} |")
    ours, bare = _imports()
    met = met and ours / bare <= BAR
    print(f"| import | {bare * 1e3:.0f} | {ours * 1e3:.0f} | {ours / bare:.2f} | | |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
