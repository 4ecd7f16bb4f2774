"""What every function does alike: bodies, headers, conditions, problems."""

import gzip
import json
from typing import Any

import pytest

from tests.http.kinds import EVENT
from tests.support.clients import Client

PATH = "/api/events"
JSON = {"Content-Type": "application/json"}
BODY = json.dumps(EVENT.record).encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"eventType": "x", "eventType": "y", "message": "z"}', "stands twice"),
        (b'{"eventType": NaN}', "NaN"),
        (b"[" * 200_000, "nests too deeply"),
        (b'{"eventType": "x",}', "line 1 column"),
        (BODY.replace(b"ready", b"\xe9"), "not UTF-8"),
        (b"", "JSON body is required"),
        (b"  \n", "JSON body is required"),
    ],
)
async def test_a_body_that_is_not_strict_json_is_400(client: Client, body: bytes, says: str) -> None:
    """The answer says what is wrong and where."""
    refused = await client.post(PATH, body=body, headers=JSON)
    assert (refused.status, refused.json()["code"]) == (400, "invalid_json")
    assert says in refused.json()["details"][0]["message"]


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"Content-Type": "text/plain"}, "Content-Type"),
        ({"Content-Type": "application/json; charset=latin-1"}, "Content-Type"),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, "Content-Encoding"),
        ({"Content-Type": "application/x-ndjson"}, "Content-Type"),
    ],
)
async def test_a_body_of_another_kind_is_415(client: Client, headers: dict[str, str], names: str) -> None:
    """The answer names the header and what it may be."""
    refused = await client.post(PATH, body=BODY, headers=headers)
    assert (refused.status, refused.json()["code"]) == (415, "unsupported_media_type")
    assert [detail["field"] for detail in refused.json()["details"]] == [names]


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"', ""])
async def test_json_as_clients_call_it_is_taken(client: Client, content_type: str) -> None:
    """Case, charset=utf-8 and no content type at all are fine."""
    headers = {"Content-Type": content_type} if content_type else {}
    assert (await client.post(PATH, body=BODY, headers=headers)).status == 201


async def test_a_gzipped_body_is_read(client: Client, mark: str) -> None:
    """Content-Encoding: gzip is inflated."""
    body = gzip.compress(json.dumps({"id": mark, **EVENT.record}).encode())
    assert (await client.post(PATH, body=body, headers={**JSON, "Content-Encoding": "gzip"})).status == 201
    assert (await client.get(f"{PATH}/{mark}")).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b" " * (4 * 1024 * 1024 + 1)), 413),
        (gzip.compress(BODY)[:-9], 400),
        (gzip.compress(BODY) + b"more", 400),
        (b"not gzip", 400),
    ],
    ids=["inflates past the limit", "cut", "goes on", "no gzip at all"],
)
async def test_a_gzip_that_lies_is_refused(client: Client, body: bytes, status: int) -> None:
    """One that inflates past the limit is 413; one that is cut or goes on is 400."""
    assert (await client.post(PATH, body=body, headers={**JSON, "Content-Encoding": "gzip"})).status == status


async def test_a_body_of_more_than_4_mb_is_413(client: Client) -> None:
    """The limit of a request is 4 MB."""
    body = b'{"message": "' + b"x" * (4 * 1024 * 1024) + b'"}'
    refused = await client.post(PATH, body=body, headers=JSON)
    assert (refused.status, refused.json()["code"]) == (413, "too_large")


async def test_a_merge_patch_has_its_own_type(client: Client, mark: str) -> None:
    """PATCH takes merge patches and JSON, nothing else."""
    await client.post(PATH, json={"id": mark, **EVENT.record})
    for content_type, status in (
        ("application/merge-patch+json", 200),
        ("application/json", 200),
        ("application/json-patch+json", 415),
    ):
        headers = {"Content-Type": content_type}
        assert (await client.request("PATCH", f"{PATH}/{mark}", body=b"{}", headers=headers)).status == status
    assert (await client.patch(f"{PATH}/{mark}", json=[])).status == 400


async def test_a_request_keeps_its_id(client: Client) -> None:
    """The caller's request id comes back, in errors too; one that can't be an id is replaced."""
    answer = await client.get(f"{PATH}/none", headers={"x-request-id": "trace-1.a_b"})
    assert answer.headers["x-request-id"] == answer.json()["requestId"] == "trace-1.a_b"
    for bad in ("a b", "x" * 129, "é"):
        minted = (await client.get("/api/health", headers={"x-request-id": bad})).headers["x-request-id"]
        assert minted != bad
        assert 1 <= len(minted) <= 128


async def test_answers_carry_the_same_headers(client: Client) -> None:
    """JSON that is not guessed at nor kept, and how long it took."""
    for path in ("/api/health", f"{PATH}?limit=1", f"{PATH}/none"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["server-timing"].startswith("total;dur=")


async def test_an_error_is_a_problem_document(client: Client) -> None:
    """RFC 9457 with the original application's members."""
    answer = await client.get(f"{PATH}/none")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "success": False,
        "error": "There is no event with this id.",
        "type": "urn:logogen:problem:not_found",
        "title": "Not Found",
        "status": 404,
        "code": "not_found",
        "details": [],
        "requestId": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "GET"])
async def test_a_condition_that_can_not_be_read_is_400(client: Client, method: str, mark: str) -> None:
    """A malformed If-Match is no permission to write."""
    await client.post(PATH, json={"id": mark, **EVENT.record})
    name = "If-None-Match" if method == "GET" else "If-Match"
    body: Any = b"{}" if method == "PATCH" else None
    answer = await client.request(method, f"{PATH}/{mark}", body=body, headers={name: "unquoted", **JSON})
    assert (answer.status, answer.json()["details"][0]["field"]) == (400, name)


async def test_a_writer_learns_nothing_that_others_wrote(client: Client, mark: str) -> None:
    """Neither a duplicate nor a patch answers fields that the request did not name."""
    await client.post(PATH, json={"id": mark, **EVENT.record})
    await client.patch(f"{PATH}/{mark}", json={"details": {"for": "other eyes"}})
    again = await client.post(PATH, json={"id": mark, **EVENT.record})
    patched = await client.patch(f"{PATH}/{mark}", json={"metadata": {"mine": 1}, "details": {}})
    assert b"other eyes" not in again.body + patched.body
    assert patched.json()["event"]["details"] == {}
