"""Real records from public data sets go in over real HTTP, and every answer agrees with the files.

The folder with them lies beside the repository where the project is worked on; elsewhere these tests are skipped.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from shared.privacy import Privacy
from tests.support.clients import Client, HttpClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve

DATA = REPOSITORY.parent / "shared" / "data"
FILES = {
    "transactions.ndjson": ("ImageGenerationTransaction", "transactions"),
    "requests-apache.ndjson": ("ApiRequestLog", "requests"),
    "requests-openstack.ndjson": ("ApiRequestLog", "requests"),
    "events-zookeeper.ndjson": ("SystemEventLog", "events"),
}
MODEL_OF_ROUTE = {route: model for model, route in FILES.values()}
TOTAL = 9_717
BATCH = 1_000
SALT = "a-salt-for-tests-only"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder with real records is not here")

Sent = dict[str, list[dict[str, Any]]]


def read_files() -> Sent:
    """What is sent, by route; each record with an id of its own."""
    sent: Sent = {}
    for name, (model, route) in FILES.items():
        for number, line in enumerate((DATA / name).read_text(encoding="utf-8").splitlines()):
            record = {"model": model, "id": f"{name.split('.')[0]}-{number:05d}", **json.loads(line)}
            sent.setdefault(route, []).append(record)
    return sent


@pytest.fixture(scope="module")
def sent() -> Sent:
    return read_files()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("real")
    environment = {"DATABASE_DATA_DIR": str(folder / "data"), "PRIVACY_SALT": SALT}
    with Serve(REPOSITORY, state=folder / "state", log=folder / "serve.log", environment=environment) as running:
        yield running


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Client]:
    async with HttpClient(serve.url) as connected:
        yield connected


async def walk(client: Client, route: str, **params: Any) -> list[dict[str, Any]]:
    """Every record of a list, page by page."""
    records: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = await client.get(f"/api/{route}", params={"limit": 1_000, **params, **cursor})
        assert answer.status == 200, answer.text
        page = answer.json()
        assert page["count"] == len(page[route])
        records += page[route]
        if "nextCursor" not in page:
            return records
        cursor = {"cursor": page["nextCursor"]}


async def load(client: Client, sent: Sent, status: int) -> int:
    """Send every record in batches; how many were acknowledged with that status."""
    acknowledged = 0
    records = [record for records in sent.values() for record in records]
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        body = "\n".join(json.dumps(record) for record in batch)
        answer = await client.post("/api/logs", body=body, headers={"content-type": "application/x-ndjson"})
        assert answer.status == 201, answer.text[:2_000]
        items = answer.json()["items"]
        assert [item["id"] for item in items] == [record["id"] for record in batch]
        acknowledged += sum(item["status"] == status for item in items)
    return acknowledged


def as_stored(record: dict[str, Any]) -> dict[str, Any]:
    """What a sent record reads like once it is stored, without what the server fills in."""
    return Privacy(SALT.encode()).clean({name: value for name, value in record.items() if name != "model"}).record


async def check_everything(client: Client, sent: Sent) -> None:
    for route, records in sent.items():
        stored = {record["id"]: as_stored(record) for record in records}
        expected = sorted(stored, key=lambda record_id: (stored[record_id]["timestamp"], record_id))
        ascending = await walk(client, route, order="asc")
        descending = await walk(client, route)
        assert [record["id"] for record in ascending] == expected
        assert descending == ascending[::-1]
        for record in ascending:
            assert record.items() >= stored[record["id"]].items()
    stats = (await client.get("/api/stats")).json()["stats"]["database"]["models"]
    counts = {model: stats[model]["recordCount"] for model, _ in FILES.values()}
    assert counts == Counter(MODEL_OF_ROUTE[route] for route, records in sent.items() for _ in records)


async def test_every_record_is_acknowledged(client: Client, sent: Sent) -> None:
    """All records of the four files are stored, and sent again they are duplicates."""
    assert sum(map(len, sent.values())) == TOTAL
    assert await load(client, sent, 201) == TOTAL
    assert await load(client, sent, 200) == TOTAL


async def test_lists_agree_with_the_files(client: Client, sent: Sent) -> None:
    """Counts, order in both directions and content are those of the files."""
    await check_everything(client, sent)


@pytest.mark.parametrize(
    ("route", "field", "value"),
    [
        ("transactions", "imageType", "icon"),
        ("transactions", "success", True),
        ("requests", "statusCode", 404),
        ("requests", "method", "POST"),
        ("requests", "errorOccurred", True),
        ("events", "level", "error"),
        ("events", "eventType", "E24"),
        ("events", "component", "188978561024:QuorumCnxManager$SendWorker"),
    ],
)
async def test_filters_agree_with_the_files(client: Client, sent: Sent, route: str, field: str, value: Any) -> None:
    """A filtered walk gives exactly the records of the file that have the value."""
    parameter = str(value).lower() if isinstance(value, bool) else value
    expected = {record["id"] for record in sent[route] if record.get(field) == value}
    assert expected
    assert {record["id"] for record in await walk(client, route, **{field: parameter})} == expected


async def test_a_window_agrees_with_the_file(client: Client, sent: Sent) -> None:
    """A window holds the records from its start on, up to and without its end."""
    since, until = "2015-07-30T00:00:00.000Z", "2015-08-07T07:00:00.000Z"
    expected = {record["id"] for record in sent["events"] if since <= record["timestamp"] < until}
    assert 0 < len(expected) < len(sent["events"])
    assert {record["id"] for record in await walk(client, "events", since=since, until=until)} == expected


async def test_sessions_count_their_requests(client: Client, sent: Sent) -> None:
    """The sessions derived from addresses and agents share out all requests that have either."""
    sessions = await walk(client, "sessions")
    assert sum(session["apiRequests"] for session in sessions) == sum("userIP" in record for record in sent["requests"])
    busiest = max(sessions, key=lambda session: session["apiRequests"])
    requests = await walk(client, "requests", sessionId=busiest["id"])
    assert len(requests) == busiest["apiRequests"]
    assert (requests[-1]["timestamp"], requests[0]["timestamp"]) == (busiest["startTime"], busiest["lastActivity"])


async def test_durations_agree_with_the_file(client: Client, sent: Sent) -> None:
    """The average is that of the file's durations, and percentiles are within 2 % of them."""
    durations = sorted(record["duration"] for record in sent["requests"] if "duration" in record)
    figures = (await client.get("/api/stats")).json()["stats"]["requests"]["duration"]
    assert figures["count"] == len(durations)
    assert figures["average"] == pytest.approx(sum(durations) / len(durations), abs=0.001)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert figures[name] == pytest.approx(durations[int(share * (len(durations) - 1))], rel=0.021)


async def test_everything_is_there_after_a_restart(serve: Serve, sent: Sent) -> None:
    """A restart changes no answer."""
    serve.restart()
    async with HttpClient(serve.url) as client:
        await check_everything(client, sent)


async def test_everything_is_there_after_a_kill(serve: Serve, sent: Sent) -> None:
    """SIGKILL changes no answer."""
    serve.kill()
    serve.start()
    async with HttpClient(serve.url) as client:
        await check_everything(client, sent)
