"""Traffic over real HTTP until the server dies, and a book of what was sent and what was acknowledged."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from shared.timestamps import format_timestamp
from tests.reliability.proven import text
from tests.support.clients import HttpClient, Response

REQUEST_DAYS = 2
"""The retention of requests, which all other requests of the traffic are younger than."""

Record = Mapping[str, Any]
Key = tuple[str, str]
_ROUTES = ("transactions", "requests", "events")
SESSIONS = tuple(f"visitor-{number}" for number in range(5))
_LARGE = 50_000
_JSON = {"Content-Type": "application/json"}


def core(record: Record) -> Record:
    """What a record says that its sender said."""
    names = ("id", "timestamp", "sessionId", "status", "originalPrompt", "endpoint", "message", "metadata")
    return {name: record[name] for name in names if name in record}


@dataclass(slots=True)
class Book:
    """`sure` is what each key was acknowledged to be (None: deleted); `open` is what a call without an answer makes of it.

    `sessions` are those of records whose creation was acknowledged.
    """

    sure: dict[Key, Record | None] = field(default_factory=dict)
    open: dict[Key, Record | None] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)

    def settle(self, found: Mapping[Key, Record]) -> None:
        """Check what was found: before or after for calls without an answer, else as acknowledged. It is sure from now on."""
        keys = set(self.sure) | set(self.open)
        assert not set(found) - keys, f"nobody sent {sorted(set(found) - keys)[:3]}"
        for key in keys:
            allowed = [self.sure.get(key), *([self.open[key]] if key in self.open else [])]
            assert found.get(key) in [record and core(record) for record in allowed], (
                f"{key} is not as acknowledged: {str(found.get(key))[:300]}"
            )
        self.sure = {**dict.fromkeys(keys), **found}
        self.open = {}


class Traffic:
    """Some tasks, each with records of its own. Ids are unique by `prefix`."""

    def __init__(self, client: HttpClient, book: Book, chance: random.Random, prefix: str) -> None:
        self._client = client
        self._book = book
        self._chance = chance
        self._prefix = prefix
        self._made = 0
        self.acknowledged: Counter[str] = Counter()

    async def run(self, tasks: int) -> None:
        """Until the connection breaks."""
        keys = [key for key, record in self._book.sure.items() if record is not None]
        self._chance.shuffle(keys)
        writers = [self._write(keys[number::tasks]) for number in range(tasks)]
        await asyncio.gather(self._retain(), *writers)

    async def _write(self, mine: list[Key]) -> None:
        kinds = {self._create: 4, self._batch: 2, self._patch: 6, self._delete: 2}
        try:
            while True:
                [kind] = self._chance.choices(list(kinds), list(kinds.values()))
                await kind(mine)
        except (aiohttp.ClientError, ConnectionError):
            return

    async def _retain(self) -> None:
        """Retention runs one after the other; each compacts what it leaves of a day."""
        try:
            while True:
                assert (await self._client.post("/admin/functions/retention", body="{}", headers=_JSON)).status == 202
                self.acknowledged["retention"] += 1
                await asyncio.sleep(self._chance.uniform(0.02, 0.2))
        except (aiohttp.ClientError, ConnectionError):
            return

    async def _create(self, mine: list[Key]) -> None:
        route, record = self._new()
        key = route, record["id"]
        await self._call("create", {key: record}, "POST", f"/api/{route}", record, {200, 201})
        mine.append(key)
        self._book.sessions.add(record["sessionId"])

    async def _batch(self, mine: list[Key]) -> None:
        made = [self._new() for _ in range(self._chance.randint(2, 25))]
        effects = {(route, record["id"]): record for route, record in made}
        items = [{"model": route, **record} for route, record in made]
        await self._call("batch", effects, "POST", "/api/logs", items, {201})
        mine += effects
        self._book.sessions |= {record["sessionId"] for _, record in made}

    async def _patch(self, mine: list[Key]) -> None:
        if not mine:
            return
        key = self._chance.choice(mine)
        before = self._book.sure[key]
        assert before is not None
        number = before["metadata"]["n"] + 1
        metadata = {**before["metadata"], "n": number, "text": text(key[1], number, before["metadata"]["size"])}
        patch = {"metadata": metadata}
        await self._call("patch", {key: {**before, **patch}}, "PATCH", f"/api/{key[0]}/{key[1]}", patch, {200})

    async def _delete(self, mine: list[Key]) -> None:
        if mine:
            key = mine.pop(self._chance.randrange(len(mine)))
            await self._call("delete", {key: None}, "DELETE", f"/api/{key[0]}/{key[1]}", None, {204})

    async def _call(
        self, name: str, effects: Mapping[Key, Record | None], method: str, path: str, body: object, good: set[int]
    ) -> Response:
        self._book.open.update(effects)
        sent = b"" if body is None else json.dumps(body).encode()
        answer = await self._client.request(method, path, headers=_JSON if sent else {}, body=sent)
        assert answer.status in good, f"{method} {path}: {answer.status} {answer.text[:500]}"
        self._book.sure.update(effects)
        for key in effects:
            del self._book.open[key]
        self.acknowledged[name] += 1
        return answer

    def _new(self) -> tuple[str, Record]:
        self._made += 1
        route, record_id = self._chance.choice(_ROUTES), f"{self._prefix}-{self._made}"
        size = _LARGE if route == "transactions" and self._chance.random() < 0.2 else 100
        record = {
            "id": record_id,
            "timestamp": self._moment(),
            "sessionId": self._chance.choice(SESSIONS),
            "metadata": {"n": 0, "size": size, "text": text(record_id, 0, size)},
        }
        own: Mapping[str, Record] = {
            "transactions": {"originalPrompt": record_id, "status": self._chance.choice(["completed", "failed", "pending"])},
            "requests": {"method": "POST", "endpoint": f"/{record_id}", "statusCode": 200},
            "events": {"eventType": "traffic", "message": record_id},
        }
        return route, {**record, **own[route]}

    def _moment(self) -> str:
        youngest, oldest = 0, REQUEST_DAYS * 86_400 - 1_800
        return format_timestamp(datetime.now(UTC) - timedelta(seconds=self._chance.randint(youngest, oldest)))
