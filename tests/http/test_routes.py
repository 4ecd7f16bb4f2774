"""Lists, batches, sessions, statistics, health and the API's own description."""

import json

import pytest

from shared.config import DATABASE_TYPES
from tests.http.kinds import EVENT, REQUEST, TRANSACTION
from tests.support.clients import Client


async def test_lists_are_paged_in_both_orders(client: Client, mark: str) -> None:
    """Pages follow each other, newest first or oldest first, and the last has no cursor."""
    items = [{"model": "events", "id": f"{mark}.{n}", **EVENT.record, "component": mark} for n in range(5)]
    await client.post("/api/logs", json=items)
    for order, ids in (("asc", range(5)), ("desc", range(4, -1, -1))):
        seen: list[str] = []
        parameters = {"component": mark, "limit": "2", "order": order, "fields": "id"}
        while True:
            page = (await client.get("/api/events", params=parameters)).json()
            assert page["count"] == len(page["events"])
            seen += [record["id"] for record in page["events"]]
            if "nextCursor" not in page:
                break
            parameters["cursor"] = page["nextCursor"]
        assert seen == [f"{mark}.{number}" for number in ids]


async def test_a_batch_answers_in_the_order_sent(client: Client, mark: str) -> None:
    """NDJSON or an array, kinds mixed: 207 when some are stored, with an outcome for each."""
    lines = [
        json.dumps({"model": "ImageGenerationTransaction", "id": f"{mark}.t", **TRANSACTION.record}),
        "",
        "{broken",
        json.dumps({"model": "request", "id": f"{mark}.r"}),
        json.dumps({"model": "ImageGenerationTransaction", "id": f"{mark}.t", **TRANSACTION.record}),
    ]
    answer = await client.post("/api/logs", body="\n".join(lines), headers={"Content-Type": "application/x-ndjson"})
    assert answer.status == 207
    body = answer.json()
    assert (body["success"], body["stored"], body["duplicates"], body["failed"], body["redactions"]) == (True, 1, 1, 2, 0)
    assert [(item["index"], item["id"], item["status"]) for item in body["items"]] == [
        (0, f"{mark}.t", 201),
        (1, None, 400),
        (2, f"{mark}.r", 400),
        (3, f"{mark}.t", 200),
    ]
    assert body["items"][1]["code"] == "invalid_json"


async def test_a_batch_of_which_nothing_is_stored_is_a_problem(client: Client) -> None:
    """400 when no item can be sent again, with the items' own errors beside the problem's members."""
    answer = await client.post("/api/logs", json=[{"model": "events"}, 1])
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    body = answer.json()
    assert (body["success"], body["code"], body["failed"], len(body["items"])) == (False, "invalid", 2, 2)


@pytest.mark.parametrize(("body", "status"), [("[]", 400), ("{}", 400), ("[" + ",".join(["{}"] * 1_001) + "]", 413)])
async def test_a_batch_has_1_to_1000_items(client: Client, body: str, status: int) -> None:
    """An empty one is invalid and a larger one too large."""
    assert (await client.post("/api/logs", body=body, headers={"Content-Type": "application/json"})).status == status


async def test_a_visitor_s_records_make_a_session_with_counters(client: Client, mark: str) -> None:
    """The session is derived, counts its records and lists its transactions."""
    visitor = {"userIP": "198.51.100.7:5000", "userAgent": mark}
    created = (await client.post("/api/transactions", json={**TRANSACTION.record, **visitor, "success": True})).json()
    await client.post("/api/requests", json={**REQUEST.record, **visitor})
    session_id = created["transaction"]["sessionId"]
    session = (await client.get(f"/api/sessions/{session_id}")).json()["session"]
    assert (session["userIP"], session["totalRequests"], session["apiRequests"]) == ("198.51.100.0", 1, 1)
    listed = (await client.get(f"/api/sessions/{session_id}/transactions")).json()
    assert [record["id"] for record in listed["transactions"]] == [created["transaction"]["id"]]
    refused = await client.delete(f"/api/sessions/{session_id}")
    assert (refused.status, "erasure" in refused.json()["details"][0]["message"]) == (409, True)


async def test_statistics_answer_in_the_original_s_shape(client: Client) -> None:
    """Counts by model under stats.database."""
    await client.post("/api/events", json=EVENT.record)
    stats = (await client.get("/api/stats", params={"since": "24h"})).json()["stats"]
    models = stats["database"]["models"]
    assert stats["database"]["totalRecords"] == sum(model["recordCount"] for model in models.values())
    assert set(models) == {"ImageGenerationTransaction", "ApiRequestLog", "SystemEventLog", "UserSession"}
    assert stats["instance"]["latency"]["create_event"]["count"] >= 1
    assert (await client.get("/api/stats", params={"since": "soon"})).status == 400


async def test_health_is_open_and_tells_no_counts(client: Client) -> None:
    """The database's kind and latency; a live probe asks no database."""
    body = (await client.get("/api/health")).json()
    assert (body["success"], body["status"]) == (True, "healthy")
    assert body["database"]["type"] in DATABASE_TYPES
    assert set(body["database"]) == {"type", "latencyMs"}
    live = (await client.get("/api/health", params={"probe": "live"})).json()
    assert "database" not in live
    assert (await client.get("/api/health", params={"probe": "deep"})).status == 400


async def test_the_api_describes_itself(client: Client) -> None:
    """An OpenAPI 3.1 document that may be kept for a while."""
    answer = await client.get("/api/openapi.json")
    assert answer.json()["openapi"] == "3.1.0"
    assert "max-age" in answer.headers["cache-control"]
