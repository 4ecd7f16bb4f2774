"""One record over HTTP: created, read, changed, deleted."""

import pytest

from tests.http.kinds import KINDS, Kind
from tests.support.clients import Client

pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.route)


async def test_a_record_goes_through_its_whole_life(client: Client, kind: Kind, mark: str) -> None:
    """201 with Location and ETag, then 200, then changed, then 204, then 404."""
    created = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    assert created.status == 201
    assert created.json()["success"] is True
    location = created.headers["Location"]
    assert location == f"/api/{kind.route}/{mark}"
    read = await client.get(location)
    assert (read.status, read.json()["success"]) == (200, True)
    assert kind.record.items() <= read.json()[kind.singular].items()
    patched = await client.patch(location, json={"metadata": {"seen": True}})
    assert (patched.status, patched.json()[kind.singular]["metadata"]) == (200, {"seen": True})
    assert patched.headers["ETag"] != created.headers["ETag"]
    assert (await client.delete(location)).status == 204
    assert (await client.delete(location)).status == 404
    assert (await client.get(location)).status == 404


async def test_the_same_again_is_a_duplicate_and_other_content_a_conflict(client: Client, kind: Kind, mark: str) -> None:
    """A retry is 200 with `duplicate`, another record under the same id 409."""
    first = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    again = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    assert (again.status, again.json()["duplicate"]) == (200, True)
    assert again.headers["ETag"] == first.headers["ETag"]
    assert "duplicate" not in first.json()
    other = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record, "metadata": {"other": 1}})
    assert (other.status, other.json()["code"]) == (409, "conflict")


async def test_an_idempotency_key_is_the_id(client: Client, kind: Kind, mark: str) -> None:
    """A record without id takes the header's."""
    headers = {"Idempotency-Key": mark}
    first = await client.post(f"/api/{kind.route}", json=kind.record, headers=headers)
    assert first.json()[kind.singular]["id"] == mark
    assert (await client.post(f"/api/{kind.route}", json=kind.record, headers=headers)).status == 200


async def test_a_reader_who_has_the_version_gets_304(client: Client, kind: Kind, mark: str) -> None:
    """If-None-Match answers without a body while the version is the same."""
    await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    tag = (await client.get(f"/api/{kind.route}/{mark}")).headers["ETag"]
    for condition in (tag, f'"x", W/{tag}', "*"):
        unchanged = await client.get(f"/api/{kind.route}/{mark}", headers={"If-None-Match": condition})
        assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", tag)
    assert (await client.get(f"/api/{kind.route}/{mark}", headers={"If-None-Match": '"x"'})).status == 200


async def test_a_writer_of_an_old_version_gets_412(client: Client, kind: Kind, mark: str) -> None:
    """If-Match keeps a change from falling on another version."""
    created = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    path, tag = f"/api/{kind.route}/{mark}", created.headers["ETag"]
    assert (await client.patch(path, json={"metadata": {"a": 1}}, headers={"If-Match": tag})).status == 200
    for request in (
        client.patch(path, json={"metadata": {"a": 2}}, headers={"If-Match": tag}),
        client.delete(path, headers={"If-Match": tag}),
    ):
        refused = await request
        assert (refused.status, refused.json()["code"]) == (412, "precondition_failed")
    current = (await client.get(path)).headers["ETag"]
    assert (await client.delete(path, headers={"If-Match": current})).status == 204


async def test_an_equal_patch_changes_nothing(client: Client, kind: Kind, mark: str) -> None:
    """The version stays."""
    created = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    patched = await client.patch(f"/api/{kind.route}/{mark}", json={})
    assert (patched.status, patched.headers["ETag"]) == (200, created.headers["ETag"])


async def test_head_answers_like_get_without_a_body(client: Client, kind: Kind, mark: str) -> None:
    """Status and headers are those of GET."""
    await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record})
    for path in (f"/api/{kind.route}/{mark}", f"/api/{kind.route}?limit=1"):
        head, get = await client.request("HEAD", path), await client.get(path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers.get("ETag") == get.headers.get("ETag")


async def test_secrets_are_taken_out_and_counted(client: Client, kind: Kind, mark: str) -> None:
    """The answer tells how many redactions were made."""
    created = await client.post(f"/api/{kind.route}", json={"id": mark, **kind.record, "metadata": {"password": "hunter2"}})
    assert created.json()["redactions"] == 1
    read = await client.get(f"/api/{kind.route}/{mark}")
    assert b"hunter2" not in read.body


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "POST"])
async def test_a_method_that_no_function_serves_is_404(client: Client, kind: Kind, method: str) -> None:
    """As the real host answers."""
    assert (await client.request(method, f"/api/{kind.route}/x", body=b"{}")).status == 404
