"""A small HTTP proxy that hurts: it stands between a driver and its server, counts what passes and injects faults."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

Fault = str
NO_FAULT = "none"
REFUSALS: dict[Fault, int] = {"429": 429, "449": 449, "408": 408, "503": 503}
"""Answered by the proxy; the server never sees the request."""
AFTER_THE_WORK: dict[Fault, int] = {"408-after": 408, "503-after": 503}
"""Answered in place of the server's answer, after it did the work."""
FAULTS: tuple[Fault, ...] = (*REFUSALS, *AFTER_THE_WORK, "dropped-before", "dropped-after", "truncated", "slow")

WRITES_ELSEWHERE: Fault = "writes-elsewhere"
"""How Cosmos DB refuses a write while the account's region of writes changes: 403 with sub-status 3."""

RETRY_AFTER_MS = 5
_HOP_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding"})
_QUERY_TYPE = "application/query+json"

Plan = Callable[[web.Request], Fault]
Answer = Callable[[], web.Response]


def calm(_: web.Request) -> Fault:
    """No faults."""
    return NO_FAULT


def at_random(rate: float, seed: int) -> Plan:
    """Any fault at so many of all calls on items, the same at every run."""
    dice = random.Random(seed)

    def plan(request: web.Request) -> Fault:
        return dice.choice(FAULTS) if is_on_items(request) and dice.random() < rate else NO_FAULT

    return plan


def once(fault: Fault, wanted: Callable[[web.Request], bool]) -> Plan:
    """One fault at the first call that is wanted."""
    left = [fault]

    def plan(request: web.Request) -> Fault:
        return left.pop() if left and wanted(request) else NO_FAULT

    return plan


def always(fault: Fault, wanted: Callable[[web.Request], bool]) -> Plan:
    """A fault at every call that is wanted."""
    return lambda request: fault if wanted(request) else NO_FAULT


def is_on_items(request: web.Request) -> bool:
    return "/docs" in request.path


def is_write(request: web.Request) -> bool:
    """Whether the request changes items."""
    return is_on_items(request) and request.method != "GET" and request.content_type != _QUERY_TYPE


def _refusal(status: int) -> web.Response:
    headers = {"x-ms-substatus": "3" if status == 403 else "0", "x-ms-request-charge": "0.5"}
    if status == 429:
        headers["x-ms-retry-after-ms"] = str(RETRY_AFTER_MS)
    return web.json_response({"code": str(status), "message": "injected"}, status=status, headers=headers)


_REFUSALS: dict[Fault, Answer] = {
    fault: partial(_refusal, status) for fault, status in {**REFUSALS, WRITES_ELSEWHERE: 403}.items()
}


class Proxy:
    """Passes requests on, but for faults; `answers` are those that a test brings, given in place of the server's.

    `calls` counts all requests, `writes` those by the id that the driver gives each of our own sends, and `connections` the
    most that were open at once.
    """

    def __init__(self, target: str, *, slow_seconds: float = 0.0, answers: Mapping[Fault, Answer] | None = None) -> None:
        self.plan: Plan = calm
        self.url = ""
        self.calls = 0
        self.connections = 0
        self.faults: Counter[Fault] = Counter()
        self.writes: Counter[str] = Counter()
        self._target = target.rstrip("/")
        self._slow_seconds = slow_seconds
        self._answers = {**_REFUSALS, **(answers or {})}
        self._open: set[asyncio.Transport] = set()
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Proxy"]:
        """Listen on a free port of this machine; `url` says which."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        assert request.transport is not None
        self._open = {transport for transport in (*self._open, request.transport) if not transport.is_closing()}
        self.connections = max(self.connections, len(self._open))
        body = await request.read()
        if is_write(request):
            self.writes[request.headers["x-ms-activity-id"]] += 1
        fault = self.plan(request)
        self.faults[fault] += 1
        if fault in self._answers:
            return self._answers[fault]()
        if fault == "dropped-before":
            return _drop(request)
        status, headers, content = await asyncio.shield(self._forward(request, body))
        if fault in AFTER_THE_WORK:
            return _refusal(AFTER_THE_WORK[fault])
        if fault == "dropped-after":
            return _drop(request)
        if fault == "truncated":
            return await _truncated(request, status, headers, content)
        if fault == "slow":
            await asyncio.sleep(self._slow_seconds)
        return web.Response(status=status, headers=headers, body=content)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        sent: Any = {"headers": headers, "data": body or None, "allow_redirects": False}
        async with self._session.request(request.method, f"{self._target}{request.raw_path}", **sent) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS}
            return answer.status, kept, content


def _drop(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _truncated(request: web.Request, status: int, headers: dict[str, str], content: bytes) -> web.StreamResponse:
    """All the headers and half of the body."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(content) + 1
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    _drop(request)
    return response
