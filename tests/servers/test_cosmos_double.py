"""The double is as strict as the service, seen through the SDK."""

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosHttpResponseError

from tests.servers.cosmos.account import Account
from tests.servers.cosmos.server import CosmosDouble

KEY = base64.b64encode(b"k" * 64).decode()
INDEXING: Any = {
    "indexingMode": "consistent",
    "includedPaths": [{"path": "/time/?"}],
    "excludedPaths": [{"path": "/*"}],
    "compositeIndexes": [[{"path": "/time", "order": "descending"}, {"path": "/id", "order": "descending"}]],
}

large = pytest.mark.filterwarnings("ignore:Sending a large body")
"""The SDK hands bodies of more than 1 MB to aiohttp as bytes."""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A double with one container of two physical partitions."""

    def __init__(self, double: CosmosDouble, client: CosmosClient, container: ContainerProxy) -> None:
        self.double = double
        self.account = double.account
        self.client = client
        self.container = container

    async def query(self, text: str, **options: Any) -> list[Any]:
        parameters = [{"name": f"@{name}", "value": value} for name, value in options.pop("given", {}).items()]
        return [row async for row in self.container.query_items(text, parameters=parameters, **options)]

    async def everywhere(self, text: str, **options: Any) -> list[Any]:
        """The rows of every physical partition."""
        return [
            row
            async for feed_range in self.container.read_feed_ranges()
            for row in await self.query(text, feed_range=feed_range, **options)
        ]


async def open_bench(account: Account, *, key: str = KEY) -> AsyncIterator[Bench]:
    async with (
        CosmosDouble(account).serve() as double,
        CosmosClient(double.url, key, enable_endpoint_discovery=False, retry_throttle_total=-1, retry_total=0) as client,
    ):
        database = await client.create_database("db")
        container = await database.create_container("things", PartitionKey("/pk"), indexing_policy=INDEXING, default_ttl=-1)
        yield Bench(double, client, container)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for opened in open_bench(Account(KEY, physical=2)):
        yield opened


def item(name: str, key: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": name, "pk": key, **fields}


async def refused(call: Any) -> CosmosHttpResponseError:
    with pytest.raises(CosmosHttpResponseError) as caught:
        await call
    return caught.value


async def test_an_item_comes_back_with_its_system_properties(bench: Bench) -> None:
    """A created item is read by id and partition key, with ETag and timestamp."""
    created = await bench.container.create_item(item("1", text="ü🎨"))
    found = await bench.container.read_item("1", "a")
    assert found["text"] == "ü🎨"
    assert found["_etag"] == created["_etag"]


async def test_a_wrong_partition_key_finds_nothing(bench: Bench) -> None:
    """An item is not seen under another key: 404."""
    await bench.container.create_item(item("1"))
    assert (await refused(bench.container.read_item("1", "b"))).status_code == 404


async def test_ids_are_unique_in_a_partition_only(bench: Bench) -> None:
    """The same id is a conflict under one key and free under another."""
    await bench.container.create_item(item("1"))
    assert (await refused(bench.container.create_item(item("1")))).status_code == 409
    await bench.container.create_item(item("1", "b"))


async def test_a_replace_needs_the_etag(bench: Bench) -> None:
    """A stale If-Match is 412, for a replace and for a delete."""
    created = await bench.container.create_item(item("1"))
    await bench.container.replace_item(
        "1", item("1", n=1), etag=created["_etag"], match_condition=MatchConditions.IfNotModified
    )
    stale: Any = {"etag": created["_etag"], "match_condition": MatchConditions.IfNotModified}
    assert (await refused(bench.container.replace_item("1", item("1", n=2), **stale))).status_code == 412
    assert (await refused(bench.container.delete_item("1", "a", **stale))).status_code == 412


async def test_replacing_what_is_not_there(bench: Bench) -> None:
    """A replace never creates: 404."""
    assert (await refused(bench.container.replace_item("1", item("1")))).status_code == 404


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a?b", "a#b", "x" * 1_024])
async def test_ids_that_no_item_may_have(bench: Bench, name: str) -> None:
    """Slashes, question marks, hashes and more than 1,023 bytes are refused."""
    error = pytest.raises((CosmosHttpResponseError, ValueError))
    with error:
        await bench.container.create_item(item(name))


@large
async def test_an_item_of_more_than_two_megabytes(bench: Bench) -> None:
    """An item has at most 2 MB: 413."""
    assert (await refused(bench.container.create_item(item("1", text="x" * 2_097_152)))).status_code == 413


async def test_a_batch_is_all_or_nothing(bench: Bench) -> None:
    """The failing operation has its code, every other one 424, and nothing is stored."""
    await bench.container.create_item(item("2"))
    operations: list[Any] = [("create", (item("1"),)), ("create", (item("2"),)), ("create", (item("3"),))]
    with pytest.raises(CosmosBatchOperationError) as caught:
        await bench.container.execute_item_batch(operations, "a")
    assert caught.value.error_index == 1
    assert [result["statusCode"] for result in caught.value.operation_responses] == [424, 409, 424]
    assert (await refused(bench.container.read_item("1", "a"))).status_code == 404


async def test_a_batch_of_more_than_a_hundred(bench: Bench) -> None:
    """A batch has at most 100 operations: 400."""
    operations: list[Any] = [("create", (item(str(n)),)) for n in range(101)]
    assert (await refused(bench.container.execute_item_batch(operations, "a"))).status_code == 400


@large
async def test_a_batch_of_more_than_two_megabytes(bench: Bench) -> None:
    """A batch has at most 2 MB: 413."""
    operations: list[Any] = [("create", (item(str(n), text="x" * 1_100_000),)) for n in range(2)]
    assert (await refused(bench.container.execute_item_batch(operations, "a"))).status_code == 413


async def test_a_batch_has_one_partition_key(bench: Bench) -> None:
    """An operation on another key fails with 400."""
    with pytest.raises(CosmosBatchOperationError) as caught:
        await bench.container.execute_item_batch([("create", (item("1"),)), ("create", (item("2", "b"),))], "a")
    assert caught.value.status_code == 400


async def test_ttl_counts_from_the_last_write() -> None:
    """An item is gone `ttl` seconds after its last change; 0 is refused."""
    clock = Clock()
    account = Account(KEY, clock=clock)
    clock.now = time.time()
    async for bench in open_bench(account):
        await bench.container.create_item(item("1", ttl=10))
        clock.now += 9
        assert (await bench.container.read_item("1", "a"))["ttl"] == 10
        clock.now += 2
        assert (await refused(bench.container.read_item("1", "a"))).status_code == 404
        assert await bench.query("SELECT VALUE COUNT(1) FROM c", partition_key="a") == [0]
        assert (await refused(bench.container.create_item(item("2", ttl=0)))).status_code == 400


async def test_order_by_two_properties_needs_a_composite_index(bench: Bench) -> None:
    """The index serves its own order and the exact reverse; any other is 400."""
    for name in ("1", "2", "3"):
        await bench.container.create_item(item(name, time=int(name) // 2))
    select = "SELECT VALUE c.id FROM c ORDER BY c.time {}, c.id {}"
    assert await bench.query(select.format("DESC", "DESC"), partition_key="a") == ["3", "2", "1"]
    assert await bench.query(select.format("ASC", "ASC"), partition_key="a") == ["1", "2", "3"]
    assert (await refused(bench.query(select.format("ASC", "DESC"), partition_key="a"))).status_code == 400


async def test_order_by_what_is_not_indexed(bench: Bench) -> None:
    """ORDER BY of an excluded path is 400."""
    assert (await refused(bench.query("SELECT * FROM c ORDER BY c.text", partition_key="a"))).status_code == 400


async def test_order_by_gives_items_without_the_property(bench: Bench) -> None:
    """What an index names has a place for items that lack it; one property that only a wildcard covers has none."""
    await bench.container.create_item(item("1", time=1, kind="x"))
    await bench.container.create_item(item("2"))
    bench.account.databases["db"]["things"].definition["indexingPolicy"]["includedPaths"].append({"path": "/kind/*"})
    for order, found in (("time DESC", ["1", "2"]), ("time DESC, c.id DESC", ["1", "2"]), ("kind", ["1"])):
        assert await bench.query(f"SELECT VALUE c.id FROM c ORDER BY c.{order}", partition_key="a") == found


async def test_a_logical_partition_is_full(bench: Bench) -> None:
    """A create that a logical partition has no room for is 403 with sub-status 1014; other partitions go on."""
    bench.account.logical_bytes = 200
    await bench.container.create_item(item("1", text="x" * 150))
    error = await refused(bench.container.create_item(item("2", text="x" * 150)))
    assert (error.status_code, error.sub_status) == (403, 1014)
    await bench.container.create_item(item("2", "b", text="x" * 150))


async def test_values_of_different_types_do_not_compare(bench: Bench) -> None:
    """A comparison with another type, or with what is not there, is neither true nor false."""
    for name, value in (("1", 1), ("2", "1"), ("3", None), ("4", True)):
        await bench.container.create_item(item(name, value=value))
    await bench.container.create_item(item("5"))
    given = {"v": 1}
    assert await bench.query("SELECT VALUE c.id FROM c WHERE c.value = @v", partition_key="a", given=given) == ["1"]
    assert await bench.query("SELECT VALUE c.id FROM c WHERE NOT (c.value = @v)", partition_key="a", given=given) == []
    assert await bench.query("SELECT VALUE c.id FROM c WHERE c.value >= @v", partition_key="a", given=given) == ["1"]
    assert await bench.query("SELECT VALUE c.id FROM c WHERE NOT (c.value IN (@v, 2))", partition_key="a", given=given) == []
    assert await bench.query("SELECT VALUE c.id FROM c WHERE IS_DEFINED(c.value)", partition_key="a") == ["1", "2", "3", "4"]


async def test_groups_within_a_partition(bench: Bench) -> None:
    """GROUP BY works where one partition key is named."""
    for name, kind in (("1", "x"), ("2", "x"), ("3", "y")):
        await bench.container.create_item(item(name, kind=kind, n=int(name)))
    rows = await bench.query("SELECT c.kind AS k, COUNT(1) AS n, SUM(c.n) AS s FROM c GROUP BY c.kind", partition_key="a")
    assert rows == [{"k": "x", "n": 2, "s": 3}, {"k": "y", "n": 1, "s": 3}]


@pytest.mark.parametrize(
    "text", ["SELECT c.k, COUNT(1) AS n FROM c GROUP BY c.k", "SELECT COUNT(1) AS n, MAX(c.time) AS m FROM c"]
)
async def test_no_groups_and_no_several_aggregates_over_partitions(bench: Bench, text: str) -> None:
    """Across partitions this SDK has neither: 400, and 400 on a feed range too."""
    assert (await refused(bench.query(text))).status_code == 400
    assert (await refused(bench.everywhere(text))).status_code == 400


async def test_feed_ranges_cover_everything_once(bench: Bench) -> None:
    """Asking each physical partition gives every item once, and each holds its own keys."""
    for number in range(20):
        await bench.container.create_item(item(str(number), f"key-{number}"))
    assert sorted(await bench.everywhere("SELECT VALUE c.id FROM c"), key=int) == [str(number) for number in range(20)]
    assert len([part async for part in bench.container.read_feed_ranges()]) == 2
    assert sum(await bench.everywhere("SELECT VALUE COUNT(1) FROM c")) == 20


async def test_pages_end_at_a_hundred_items(bench: Bench) -> None:
    """Without a page size a page has 100 items, and the continuation gives the rest."""
    for start in range(0, 250, 50):
        await bench.container.execute_item_batch([("create", (item(str(n)),)) for n in range(start, start + 50)], "a")
    pages = bench.container.query_items("SELECT VALUE c.id FROM c", partition_key="a").by_page()
    assert [len([row async for row in page]) async for page in pages] == [100, 100, 50]


@pytest.mark.parametrize("text", ["SELECT * FROM c WHERE c.a LIKE 'x%'", "SELECT * FROM c OFFSET 1 LIMIT 1", "SELECT *", "x"])
async def test_what_it_does_not_know_it_refuses(bench: Bench, text: str) -> None:
    """A clause or function that the grammar has not is 400, never a guess."""
    assert (await refused(bench.query(text, partition_key="a"))).status_code == 400


async def test_a_read_without_the_token_may_be_stale() -> None:
    """A client that did not write may see an earlier state; one that did sees its own writes."""
    async for bench in open_bench(Account(KEY, lag=5)):
        await bench.container.create_item(item("1"))
        assert (await bench.container.read_item("1", "a"))["id"] == "1"
        async with CosmosClient(bench.double.url, KEY, enable_endpoint_discovery=False) as other:
            container = other.get_database_client("db").get_container_client("things")
            assert (await refused(container.read_item("1", "a"))).status_code == 404


async def test_a_used_up_budget_is_throttled() -> None:
    """Past the provisioned request units of a second calls are 429 with the time to wait."""
    clock = Clock()
    clock.now = float(int(time.time()))
    async for bench in open_bench(Account(KEY, throughput=20, clock=clock)):
        error = None
        for number in range(10):
            try:
                await bench.container.create_item(item(str(number)))
            except CosmosHttpResponseError as caught:
                error = caught
                break
        assert error is not None
        assert error.status_code == 429
        assert 0 < int(error.headers["x-ms-retry-after-ms"]) <= 1_000
        clock.now += 1
        await bench.container.create_item(item("later"))


async def test_every_answer_has_its_charge(bench: Bench) -> None:
    """A point read of a small item is 1 request unit, and a write more."""
    charges: list[float] = []

    def note(headers: Any, _: Any) -> None:
        charges.append(float(headers["x-ms-request-charge"]))

    await bench.container.create_item(item("1"), response_hook=note)
    await bench.container.read_item("1", "a", response_hook=note)
    assert charges[0] > 5
    assert charges[1] == 1.0


async def test_a_wrong_key_is_unauthorized(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature by another key is 401."""
    monkeypatch.setenv("AZURE_COSMOS_HEALTH_CHECK_MAX_RETRIES", "0")
    wrong = base64.b64encode(b"w" * 64).decode()
    client = CosmosClient(bench.double.url, wrong)
    try:
        assert (await refused(client.__aenter__())).status_code == 401
    finally:
        await client.close()


async def test_a_clock_that_is_off_is_unauthorized(bench: Bench) -> None:
    """A request dated more than 15 minutes away is 401."""
    bench.account.clock = lambda: time.time() + 16 * 60
    assert (await refused(bench.container.read_item("1", "a"))).status_code == 401


async def test_a_missing_container_says_so(bench: Bench) -> None:
    """What is asked of a container that is not there is 404 with sub-status 1003."""
    container = bench.client.get_database_client("db").get_container_client("nothing")
    error = await refused(container.read())
    assert (error.status_code, error.sub_status) == (404, 1003)


async def test_the_container_tells_its_size(bench: Bench) -> None:
    """A read of the container with quota information has the number of items at a flat charge."""
    await bench.container.create_item(item("1"))
    seen: list[str] = []
    await bench.container.read(
        populate_quota_info=True, response_hook=lambda headers, _: seen.append(headers["x-ms-resource-usage"])
    )
    assert "documentsCount=1;" in seen[0]
