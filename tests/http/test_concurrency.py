"""Many requests for one record at once, over HTTP: what each is answered, and what is there afterwards."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from tests.support.clients import Client, Response

COUNT = 50


def event(record_id: str, message: str = "at once") -> dict[str, str]:
    return {"id": record_id, "eventType": "tried", "message": message}


def statuses(answers: Iterable[Response]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


async def test_fifty_equal_creates(client: Client, mark: str) -> None:
    """One is answered 201 and the others 200; one record is there."""
    sent = await asyncio.gather(*(client.post("/api/events", json=event(mark)) for _ in range(COUNT)))
    assert statuses(sent) == {201: 1, 200: COUNT - 1}
    assert all(answer.json().get("duplicate", False) == (answer.status == 200) for answer in sent)
    assert (await client.get(f"/api/events/{mark}")).status == 200


async def test_fifty_different_creates(client: Client, mark: str) -> None:
    """One is answered 201 and the others 409; the one that was stored is there."""
    sent = await asyncio.gather(*(client.post("/api/events", json=event(mark, f"number {n}")) for n in range(COUNT)))
    assert statuses(sent) == {201: 1, 409: COUNT - 1}
    [stored] = [f"number {n}" for n, answer in enumerate(sent) if answer.status == 201]
    assert (await client.get(f"/api/events/{mark}")).json()["event"]["message"] == stored


async def test_fifty_patches(client: Client, mark: str) -> None:
    """Without If-Match all are made, and what each has set is there."""
    await client.post("/api/events", json=event(mark))
    patches = [{"metadata": {f"k{n}": n}} for n in range(COUNT)]
    sent = await asyncio.gather(*(client.patch(f"/api/events/{mark}", json=patch) for patch in patches))
    assert statuses(sent) == {200: COUNT}
    found = (await client.get(f"/api/events/{mark}")).json()["event"]
    assert found["metadata"] == {f"k{n}": n for n in range(COUNT)}


async def test_fifty_patches_of_one_version(client: Client, mark: str) -> None:
    """With If-Match one is made and the others are answered 412."""
    created = await client.post("/api/events", json=event(mark))
    condition = {"If-Match": created.headers["etag"]}
    patches = [{"message": f"number {n}"} for n in range(COUNT)]
    sent = await asyncio.gather(*(client.patch(f"/api/events/{mark}", json=patch, headers=condition) for patch in patches))
    assert statuses(sent) == {200: 1, 412: COUNT - 1}
    [made] = [patch["message"] for patch, answer in zip(patches, sent, strict=True) if answer.status == 200]
    assert (await client.get(f"/api/events/{mark}")).json()["event"]["message"] == made
