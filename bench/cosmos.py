"""`python -m bench.cosmos`: our backend against the bare SDK making the fewest possible calls, on one server, in one run.

The server is the tests' double in a process of its own; a proxy counts the HTTP calls in a run apart from the timed ones.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from azure.cosmos.aio import ContainerProxy, CosmosClient

from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.backend import CosmosBackend
from shared.backends.cosmosdb.documents import partition_key
from shared.models import ImageGenerationTransaction
from shared.query import Query, Stored
from shared.timestamps import from_ms
from tests.faults.proxy import Proxy
from tests.servers.cosmos.running import KEY, new_account
from tests.servers.cosmos.server import CosmosDouble
from tests.support.records import make

MODEL = ImageGenerationTransaction
ROUNDS = 15
BATCH = 1_000
PARTITIONS = 2
BUCKETS = 4
DATABASE = "bench"
_BAR = 1.3
_ROOT = Path(__file__).parents[1]
_TIMED_IMPORT = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"

Work = Callable[[Sequence[Stored]], Awaitable[object]]


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


class Ours:
    """The backend."""

    def __init__(self, backend: CosmosBackend) -> None:
        self._backend = backend

    async def create(self, records: Sequence[Stored]) -> None:
        await self._backend.create(MODEL, records[0])

    async def create_many(self, records: Sequence[Stored]) -> None:
        await self._backend.create_many(MODEL, records)

    async def find(self, records: Sequence[Stored]) -> None:
        assert await self._backend.find_by_id(MODEL, records[0].id) is not None

    async def newest(self, _: Sequence[Stored]) -> None:
        assert len((await self._backend.find(Query(MODEL, limit=50))).items) == 50


def _item(stored: Stored) -> dict[str, Any]:
    return {**stored.record, "pk": partition_key(stored.id, BUCKETS)}


def _records(count: int) -> list[Stored]:
    now = int(time.time() * 1_000)
    return [make.full(MODEL, timestamp=from_ms(now - n), sessionId=f"s-{n % 40}") for n in range(count)]


async def _measure(url: str, rounds: int, count: Callable[[], int]) -> dict[str, dict[str, tuple[float, int]]]:
    """Median seconds and calls of one operation by its name and contender, in rounds that alternate."""
    backend = CosmosBackend(Access(url, "BENCH", KEY), DATABASE, BUCKETS)
    await backend.connect()
    async with CosmosClient(url, KEY, enable_endpoint_discovery=False) as client:
        await backend.count(Query(MODEL))
        bare = Bare(client.get_database_client(DATABASE).get_container_client(MODEL.route))
        ours = Ours(backend)
        taken: defaultdict[str, dict[str, list[float]]] = defaultdict(lambda: {"bare": [], "ours": []})
        calls: defaultdict[str, dict[str, int]] = defaultdict(dict)
        known = {"bare": _records(1), "ours": _records(1)}
        for name, contender in (("bare", bare), ("ours", ours)):
            await contender.create(known[name])
            await contender.create_many(_records(200))
            await contender.newest([])
        operations = {"create": (1, 20), "create_many": (BATCH, 1), "find": (0, 20), "newest": (0, 5)}
        for _ in range(rounds):
            for operation, (size, times) in operations.items():
                for name, contender in (("bare", bare), ("ours", ours)):
                    given = [_records(size) if size else known[name] for _ in range(times)]
                    work: Work = getattr(contender, operation)
                    before, started = count(), time.perf_counter()
                    for records in given:
                        await work(records)
                    taken[operation][name].append((time.perf_counter() - started) / times)
                    calls[operation][name] = (count() - before) // times
    await backend.disconnect()
    return {
        operation: {name: (median(seconds), calls[operation][name]) for name, seconds in contenders.items()}
        for operation, contenders in taken.items()
    }


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


async def _counted() -> dict[str, dict[str, tuple[float, int]]]:
    async with CosmosDouble(new_account(physical=PARTITIONS)).serve() as double, Proxy(double.url).serve() as proxy:
        return await _measure(proxy.url, 1, lambda: proxy.calls)


async def _serve() -> None:
    async with CosmosDouble(new_account(physical=PARTITIONS)).serve() as double:
        print(double.url, flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """Print the table; exit code 1 where a bar is missed."""
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(_serve())
    counted = asyncio.run(_counted())
    command = [sys.executable, "-m", "bench.cosmos", "--serve"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            timed = asyncio.run(_measure(server.stdout.readline().strip(), ROUNDS, lambda: 0))
        finally:
            server.terminate()
    met = True
    print("| work | bare, ms | ours, ms | ratio | calls, bare | calls, ours |\n| --- | --- | --- | --- | --- | --- |")
    for operation, contenders in timed.items():
        bare, ours = contenders["bare"][0], contenders["ours"][0]
        bare_calls, our_calls = (counted[operation][name][1] for name in ("bare", "ours"))
        met = met and ours / bare <= _BAR and our_calls == bare_calls
        print(f"| {operation} | {bare * 1e3:.2f} | {ours * 1e3:.2f} | {ours / bare:.2f} | {bare_calls} | {our_calls} |")
    ours, bare = _imports()
    met = met and ours / bare <= _BAR
    print(f"| import | {bare * 1e3:.0f} | {ours * 1e3:.0f} | {ours / bare:.2f} | | |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
