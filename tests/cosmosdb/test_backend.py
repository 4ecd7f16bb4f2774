"""What is particular to the Cosmos DB backend: access, place, expiry, foreign documents, consistency, charges and calls."""

import base64
import logging
import secrets
import ssl
import time
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient

from shared.charges import start_charge
from shared.errors import ConfigurationError, UnavailableError
from shared.ids import mint_id
from shared.models import ALL_MODELS, ImageGenerationTransaction, State, SystemEventLog, UserSession
from shared.query import Aggregation, Hidden, Query, Stored
from shared.sessions import derive
from shared.timestamps import from_ms, shift
from tests.contract.reference import aggregate, in_order
from tests.contract.steps import add, add_all, fetch, ids, walk
from tests.cosmosdb.conftest import DATABASE, Bench
from tests.servers.cosmos.account import Account
from tests.servers.cosmos.running import KEY
from tests.servers.cosmos.server import CosmosDouble
from tests.support.records import START, make

EVENTS = SystemEventLog.route


def items_of(account: Account, container: str = EVENTS) -> list[dict[str, Any]]:
    """What a container has, as it stands there."""
    found = account.databases[DATABASE][container]
    return [item for partition in found.partitions for item in account.items(found, partition, None, partition.lsn)]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver does not wait between its looks at the account."""
    monkeypatch.setenv("AZURE_COSMOS_HEALTH_CHECK_MAX_RETRIES", "0")


# Access


@pytest.mark.usefixtures("_impatient")
async def test_a_wrong_key(bench: Bench) -> None:
    """A key that the account refuses is told by its setting, without the key."""
    wrong = base64.b64encode(b"w" * 64).decode()
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING") as caught:
        await bench.open(key=wrong)
    assert wrong not in str(caught.value)


@pytest.mark.usefixtures("_impatient")
async def test_an_endpoint_where_nobody_listens(bench: Bench) -> None:
    """It is no setting that can be told wrong: the database is away, and may come back."""
    with pytest.raises(UnavailableError):
        await bench.make(url="http://127.0.0.1:1/").connect()


async def test_missing_containers_are_made_with_a_key(bench: Bench) -> None:
    """The first use of a model makes the database and its container, as the definitions say."""
    backend = await bench.open()
    assert bench.account.databases == {}
    await add(backend, SystemEventLog, make(SystemEventLog))
    container = bench.account.databases[DATABASE][EVENTS]
    assert container.definition["defaultTtl"] == -1
    assert container.key_path == "/pk"
    assert container.is_indexed("/eventType")
    assert not container.is_indexed("/message")
    assert not container.is_indexed("/logogen/record")


async def test_other_buckets_stop_the_start(bench: Bench) -> None:
    """COSMOS_BUCKETS is recorded with the containers, and another value is refused."""
    await add(await bench.open(buckets=4), SystemEventLog, make(SystemEventLog))
    other = await bench.open(buckets=8)
    with pytest.raises(ConfigurationError, match="COSMOS_BUCKETS is 8; must be 4"):
        await other.count(Query(SystemEventLog))


async def test_a_container_with_another_partition_key(bench: Bench) -> None:
    """A container that someone made otherwise is refused by name."""
    async with CosmosClient(bench.double.url, KEY, enable_endpoint_discovery=False) as client:
        database = await client.create_database(DATABASE)
        await database.create_container(EVENTS, PartitionKey("/id"))
    backend = await bench.open()
    with pytest.raises(ConfigurationError, match="'events' has the partition key /id, must be /pk"):
        await backend.count(Query(SystemEventLog))


class Identity:
    """A credential that always has the same token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3_600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_an_identity_uses_containers_but_makes_none(bench: Bench, certificate: ssl.SSLContext) -> None:
    """With a managed identity a missing container is named; once it is there, everything works."""
    bench.account.tokens = frozenset({"good"})
    async with CosmosDouble(bench.account).serve(certificate) as secure:
        backend = bench.make(url=secure.url, key=None, setting="COSMOS_ENDPOINT", credential=Identity("good"))
        await backend.connect()
        try:
            with pytest.raises(ConfigurationError, match="container 'events', which is missing"):
                await backend.count(Query(SystemEventLog))
            await (await bench.open()).count(Query(SystemEventLog))
            stored = await add(backend, SystemEventLog, make(SystemEventLog))
            assert await fetch(backend, SystemEventLog, stored.id) == stored
        finally:
            await backend.disconnect()


@pytest.mark.usefixtures("_impatient")
async def test_a_refused_identity(bench: Bench, certificate: ssl.SSLContext) -> None:
    """A token that the account refuses is told by its setting."""
    async with CosmosDouble(bench.account).serve(certificate) as secure:
        backend = bench.make(url=secure.url, key=None, setting="COSMOS_ENDPOINT", credential=Identity("bad"))
        with pytest.raises(ConfigurationError, match="COSMOS_ENDPOINT"):
            await backend.connect()


# Place and expiry


async def test_place(bench: Bench) -> None:
    """A UUIDv7 lies by its day and bucket, any other id by its hash."""
    backend = await bench.open()
    minted = mint_id(START, "s-1", bytes)
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name) for name in (minted, "own")])
    keys = {item["id"]: item["pk"] for item in items_of(bench.account)}
    assert keys == {minted: f"2024-01-01#{int(minted[-2:], 16) % 4}", "own": "h#5b3"}


async def test_ttl_follows_the_event_s_own_time(bench: Bench) -> None:
    """An item expires so many days after its timestamp, whenever it is written; nothing else expires."""
    now = float(int(time.time()))
    backend = await bench.open(retention_days={"SystemEventLog": 10, "UserSession": 10}, clock=lambda: now)
    day_old = make(SystemEventLog, timestamp=from_ms(int(now * 1_000) - 86_400_000))
    long_past = make(SystemEventLog, timestamp=START)
    await add_all(backend, SystemEventLog, [day_old, long_past])
    assert {item["id"]: item.get("ttl") for item in items_of(bench.account)} == {day_old.id: 9 * 86_400, long_past.id: 1}
    session = await add(backend, UserSession, make(UserSession))
    state = await add(backend, State, make(State))
    await backend.update(UserSession, make.changed(session, country="NL"), session.etag)
    assert all("ttl" not in item for name in ("sessions", "state") for item in items_of(bench.account, name))
    assert state.etag


async def test_an_expired_record_frees_its_id(bench: Bench) -> None:
    """An id whose record has expired can be created anew."""
    backend = await bench.open(retention_days={"SystemEventLog": 1})
    nearly_past = from_ms(int(time.time() * 1_000) - 86_400_000 + 60_000)
    await add(backend, SystemEventLog, make(SystemEventLog, id="again", timestamp=nearly_past))
    assert await backend.find_by_id(SystemEventLog, "again") is not None
    bench.account.clock = lambda: time.time() + 120
    assert await backend.find_by_id(SystemEventLog, "again") is None
    await add(backend, SystemEventLog, make(SystemEventLog, id="again"))


# Foreign documents


async def test_a_foreign_document_among_the_duplicates_of_a_batch(bench: Bench) -> None:
    """Only the record whose id such a document has is refused; the others of its partition are found or stored."""
    backend = await bench.open()
    minted = [mint_id(START, "visit", secrets.token_bytes) for _ in range(3)]
    given = [make(SystemEventLog, id=name, timestamp=START) for name in minted]
    there = await add(backend, SystemEventLog, given[0])
    async with CosmosClient(bench.double.url, KEY, enable_endpoint_discovery=False) as client:
        container = client.get_database_client(DATABASE).get_container_client(EVENTS)
        [item] = items_of(bench.double.account)
        await container.create_item({"id": minted[1], "pk": item["pk"]})
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [outcome.existed for outcome in outcomes] == [True, False, False]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), UnavailableError, type(None)]
    assert outcomes[0].stored == there


async def test_foreign_documents_are_left_out(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Documents of others are left out of lists with a warning, and pages are full all the same."""
    backend = await bench.open()
    given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 6))
    foreign: list[dict[str, Any]] = [
        {"id": "f1", "pk": "x", "timestamp": shift(given[5].timestamp, seconds=1)},
        {"id": "f2", "pk": "x", "timestamp": given[3].timestamp, "logogen": "no object"},
        {"id": "f3", "pk": "h#000", "timestamp": given[2].timestamp, "logogen": {"record": "{broken"}},
        {"id": "f4", "pk": "x"},
        {"id": "f5", "pk": "y", "timestamp": 5, "updatedAt": {"a": 1}},
    ]
    async with CosmosClient(bench.double.url, KEY, enable_endpoint_discovery=False) as client:
        container = client.get_database_client(DATABASE).get_container_client(EVENTS)
        for document in foreign:
            await container.create_item(document)
    with caplog.at_level(logging.WARNING):
        assert await walk(backend, Query(SystemEventLog, limit=2)) == given[::-1]
        assert (await backend.find(Query(SystemEventLog, descending=False, limit=10))).items == given
    assert "a foreign document is left out" in caplog.messages
    await backend.aggregate(Aggregation(SystemEventLog, group_by=("level",)))
    await backend.get_stats()


# Limits


@pytest.mark.parametrize("count", [1, 2])
async def test_a_full_partition(bench: Bench, caplog: pytest.LogCaptureFixture, count: int) -> None:
    """A record whose partition is full may be sent again later, the log says why, and the others are stored."""
    backend = await bench.open()
    full, other = "2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z"
    bench.account.logical_bytes = 21_000
    for bucket in range(4):
        await add(backend, SystemEventLog, make(SystemEventLog, id=_in_bucket(full, bucket), message="x" * 19_500))
    given = [make(SystemEventLog, timestamp=day, message="y" * 1_000) for day in [full] * count + [other]]
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [type(outcome.error) for outcome in outcomes] == [UnavailableError] * count + [type(None)]
    assert "a logical partition is full: COSMOS_BUCKETS is too small for this load" in caplog.messages


def _in_bucket(day: str, bucket: int) -> str:
    """An id of a day in a bucket."""
    return mint_id(day, None, lambda size: bytes([bucket]) * size)


# Consistency


@pytest.mark.parametrize("batch", [1, 30])
async def test_an_instance_sees_its_own_writes(bench: Bench, batch: int) -> None:
    """However far reads may lag, an instance reads what it wrote, in batches too."""
    bench.account.lag = 50
    backend = await bench.open()
    given = make.many(SystemEventLog, batch, sessionId="s-1")
    stored = await add_all(backend, SystemEventLog, given)
    assert await fetch(backend, SystemEventLog, given[0].id) == stored[0]
    assert await walk(backend, Query(SystemEventLog, descending=False, limit=100)) == stored
    updated = await backend.update(SystemEventLog, make.changed(stored[0], message="new"), stored[0].etag)
    assert await fetch(backend, SystemEventLog, given[0].id) == updated


async def test_another_instance_may_lag(bench: Bench) -> None:
    """A read on another instance may be behind, as session consistency has it."""
    first, second = await bench.open(), await bench.open()
    await first.count(Query(SystemEventLog))
    bench.account.lag = 50
    stored = await add(first, SystemEventLog, make(SystemEventLog))
    assert await second.find_by_id(SystemEventLog, stored.id) is None


async def test_a_conflict_that_can_t_be_seen_yet(bench: Bench) -> None:
    """What a conflict says is there is looked for again until it is seen."""
    first, second = await bench.open(), await bench.open()
    stored = await add(first, SystemEventLog, make(SystemEventLog, id="same"))
    bench.account.lag = 1
    for partition in bench.account.databases[DATABASE][EVENTS].partitions:
        partition.lsn += 1
    outcome = await second.create(SystemEventLog, make(SystemEventLog, id="same"))
    assert (outcome.existed, outcome.stored) == (True, stored)


# Charges and calls


async def test_the_charge_of_a_request(bench: Bench) -> None:
    """A request's units are those of its own calls, refused and batched ones included."""
    backend = await bench.open()
    given = make.many(SystemEventLog, 3, sessionId="s-1")
    await add_all(backend, SystemEventLog, given)
    charge = start_charge()
    await fetch(backend, SystemEventLog, given[0].id)
    assert charge.units == 1.0
    again = start_charge()
    await backend.create_many(SystemEventLog, given)
    assert again.units > 3
    assert charge.units == 1.0
    pool = (await backend.get_stats()).pool
    assert pool is not None
    assert pool["requestCharge"] > again.units


async def warm(bench: Bench) -> Any:
    """A backend that has used every container."""
    backend = await bench.open()
    for model in ALL_MODELS:
        await backend.count(Query(model))
    bench.proxy.calls = 0
    return backend


async def test_nothing_is_read_at_start(bench: Bench) -> None:
    """Opening asks for the account and for nothing in it."""
    await bench.open()
    assert bench.proxy.calls == 1


async def test_calls_of_writes_and_point_reads(bench: Bench) -> None:
    """One call for a create, a read, an update and a delete; one for each 100 records of a partition."""
    backend = await warm(bench)
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await fetch(backend, SystemEventLog, stored.id)
    stored = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    await backend.delete(SystemEventLog, stored.id, stored.etag)
    assert bench.proxy.calls == 4
    bench.proxy.calls = 0
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 250, sessionId="s-1"))
    assert bench.proxy.calls == 3


async def test_calls_of_a_list(bench: Bench) -> None:
    """The newest records cost one call a physical partition."""
    backend = await warm(bench)
    now = from_ms(int(time.time() * 1_000))
    recent = [make(SystemEventLog, timestamp=shift(now, seconds=-n)) for n in range(60)]
    await add_all(backend, SystemEventLog, recent)
    bench.proxy.calls = 0
    page = await backend.find(Query(SystemEventLog, limit=50))
    assert ids(page.items) == ids(recent[:50])
    assert bench.proxy.calls == 3


async def test_calls_of_a_page_of_sessions(bench: Bench) -> None:
    """The counters of a thousand sessions cost one call a model and physical partition."""
    backend = await warm(bench)
    sessions = [Stored({"id": f"s-{n}", "timestamp": START}, Hidden()) for n in range(1_000)]
    await add_all(
        backend, ImageGenerationTransaction, [make(ImageGenerationTransaction, sessionId=f"s-{n % 500}") for n in range(300)]
    )
    bench.proxy.calls = 0
    derived = await derive(backend, sessions, {})
    assert sum(fields["totalRequests"] for fields in derived) == 300
    assert bench.proxy.calls == 9


async def test_a_day_is_grouped_by_the_database(bench: Bench) -> None:
    """Records in the partitions of their days are grouped there; only those with ids from elsewhere are folded here."""
    backend = await warm(bench)
    model = ImageGenerationTransaction
    given = [
        make(model, status=("completed", "failed")[n % 2], totalDuration=n, sessionId=f"s-{n % 7}", success=n % 3 == 0)
        for n in range(200)
    ]
    given += [make(model, id=f"own-{n}", totalDuration=0.5) for n in range(5)]
    given += [make(model, id=mint_id("2031-01-01T00:00:00.000Z", None, bytes))]
    await add_all(backend, model, given)
    durations = ("totalDuration", "imageGenerationDuration")
    since, until = START, shift(START, days=1)
    asked = Aggregation(model, {}, since, until, ("status", "success"), durations, durations)
    assert in_order(await backend.aggregate(asked)) == in_order(aggregate(given, asked))
