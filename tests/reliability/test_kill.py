"""A server that is killed in the middle of traffic has lost nothing it acknowledged, and holds nothing that nobody sent."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import ApiRequestLog
from shared.service import utc_now
from shared.timestamps import format_timestamp, shift
from tests.reliability.conftest import Effort
from tests.reliability.ledger import everything
from tests.reliability.proven import proven
from tests.reliability.traffic import REQUEST_DAYS, SESSIONS, Book, Key, Record, Traffic, core
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve

_TASKS = 8
_ROUNDS_A_DIRECTORY = 10
_SECONDS = (0.02, 0.4)
_KINDS = ("create", "batch", "patch", "delete", "retention")
"""Each must have been acknowledged: on a busy machine that takes more rounds."""


class Servers:
    """One server after the other. The next one starts while this one is in use: it opens its data when it is first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._next = self._starting()

    def data_of(self, number: int) -> Path:
        """The directory of a round."""
        return self._folder / f"data-{number // _ROUNDS_A_DIRECTORY}"

    async def take(self) -> Serve:
        """The server of this round."""
        serve = await self._next
        self._number += 1
        self._next = self._starting()
        return serve

    async def close(self) -> None:
        """End the server that nobody has taken."""
        await asyncio.to_thread((await self._next).kill)

    def _starting(self) -> asyncio.Task[Serve]:
        name = self._number % 2
        environment = {"DATABASE_DATA_DIR": str(self.data_of(self._number)), "RETENTION_DAYS_REQUESTS": str(REQUEST_DAYS)}
        log = self._folder / f"serve-{name}.log"
        serve = Serve(REPOSITORY, state=self._folder / f"state-{name}", log=log, environment=environment)
        return asyncio.create_task(asyncio.to_thread(serve.start))


@pytest.fixture
async def servers(folder: Path) -> AsyncIterator[Servers]:
    servers = Servers(folder)
    yield servers
    await servers.close()


async def test_a_kill_loses_and_makes_up_nothing(servers: Servers, effort: Effort) -> None:
    """After SIGKILL the next server has each acknowledged record once and whole, no deleted one, and right counters."""
    rounds, done = effort.times(30, 1_000), Counter[str]()
    chance = effort.chance()
    book = Book()
    for number in range(3 * rounds):
        if number % _ROUNDS_A_DIRECTORY == 0:
            book = Book()
        data = servers.data_of(number)
        await add_expired(data, number)
        serve = await servers.take()
        try:
            done += await round_of(serve, book, chance, f"r{number}")
        finally:
            await asyncio.to_thread(serve.kill)
        if number % _ROUNDS_A_DIRECTORY == _ROUNDS_A_DIRECTORY - 1:
            await check_directory(data, book)
            if number >= rounds - 1 and all(done[kind] for kind in _KINDS):
                return
    pytest.fail(f"not every kind of call was ever acknowledged: {dict(done)}")


async def round_of(serve: Serve, book: Book, chance: random.Random, name: str) -> Counter[str]:
    """Check what the server before has left, and kill this one at some moment; how many calls were acknowledged."""
    async with HttpClient(serve.url) as client:
        await check(client, book)
        traffic = Traffic(client, book, chance, name)
        running = asyncio.create_task(traffic.run(_TASKS))
        await asyncio.wait({running}, timeout=chance.uniform(*_SECONDS))
        serve.send_signal(signal.SIGKILL)
        await running
    return traffic.acknowledged


async def add_expired(data: Path, number: int) -> None:
    """Requests past their retention, of whole days and of part of the last one: work for retention."""
    cutoff = shift(format_timestamp(utc_now()), days=-REQUEST_DAYS)
    moments = [shift(cutoff, minutes=-30 * (position + 1)) for position in range(60)]
    backend = FileBackend(data)
    await backend.connect()
    old = [proven(ApiRequestLog, f"expired-{number}-{position}", moment) for position, moment in enumerate(moments)]
    await backend.put_raw(ApiRequestLog, old)
    await backend.disconnect()


async def check(client: HttpClient, book: Book) -> None:
    """All that the server lists is as the book has it, and each session's counters are those of its records."""
    found: dict[Key, Record] = {}
    for route in ("transactions", "requests", "events"):
        records = await listed(client, route)
        assert len({record["id"] for record in records}) == len(records)
        found.update({(route, record["id"]): core(record) for record in records if record.get("eventType") != "retention"})
    book.settle(found)
    sessions = {session["id"]: session for session in await listed(client, "sessions")}
    assert book.sessions <= set(sessions) <= set(SESSIONS)
    for session_id, session in sessions.items():
        own = [(route, record) for (route, _), record in found.items() if record["sessionId"] == session_id]
        assert {name: session[name] for name in counters(own)} == counters(own), session_id


def counters(records: list[tuple[str, Record]]) -> Mapping[str, int]:
    routes = Counter(route for route, _ in records)
    statuses = Counter(record.get("status") for route, record in records if route == "transactions")
    return {
        "totalRequests": routes["transactions"],
        "apiRequests": routes["requests"],
        "successfulGenerations": statuses["completed"],
        "totalImagesGenerated": statuses["completed"],
        "failedGenerations": statuses["failed"],
    }


async def listed(client: HttpClient, route: str) -> list[dict[str, Any]]:
    """Every record of a list, page after page."""
    records: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(f"/api/{route}", params={"limit": 1000, **cursor})
        assert answer.status == 200, answer.text
        page = answer.json()
        records += page[route]
        if "nextCursor" not in page:
            return records
        cursor = {"cursor": page["nextCursor"]}


async def check_directory(data: Path, book: Book) -> None:
    """A plain instance finds the same in the files, and besides it only what was put in to expire."""
    backend = FileBackend(data)
    await backend.connect()
    everything_there = await everything(backend)
    await backend.disconnect()
    found = {
        (model.route, record_id): core(stored.record)
        for (model, record_id), stored in everything_there.items()
        if model.route in ("transactions", "requests", "events")
        and not record_id.startswith("expired-")
        and stored.record.get("eventType") != "retention"
    }
    book.settle(found)
