"""Azure Tables reached through a proxy that hurts, and past it."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiohttp import web

from shared.backends.tables.access import Access
from shared.backends.tables.backend import TablesBackend
from shared.models import SystemEventLog
from shared.query import Query
from tests.faults.line import Line
from tests.faults.proxy import Answer, Fault, Proxy, calm
from tests.servers.azurite import ACCOUNT, KEY, Azurite

TablesLine: TypeAlias = Line[TablesBackend, Proxy]


def is_call(request: web.Request) -> bool:
    return request.path != "/"


def is_write(request: web.Request) -> bool:
    return request.method != "GET"


def is_insert(request: web.Request) -> bool:
    """Whether the request inserts or changes entities, not tables."""
    return is_write(request) and not request.path.endswith("/Tables")


@asynccontextmanager
async def opened(
    server: Azurite, read_timeout: float, answers: Mapping[Fault, Answer] | None = None, **options: Any
) -> AsyncIterator[TablesLine]:
    """A line without faults yet; its table is there."""
    proxy = Proxy(f"http://127.0.0.1:{server.port}", slow_seconds=read_timeout * 1.5, answers=answers)
    async with proxy.serve():
        database = f"faults{uuid.uuid4().hex[:12]}"
        through = Access(f"{proxy.url}{ACCOUNT}", "TEST", ACCOUNT, KEY)
        backend = TablesBackend(through, database, read_timeout=read_timeout, **options)
        direct = TablesBackend(Access(server.endpoint, "TEST", ACCOUNT, KEY), database)
        await backend.connect()
        await direct.connect()
        await direct.count(Query(SystemEventLog))
        try:
            yield TablesLine(backend, direct, proxy)
        finally:
            proxy.plan = calm
            await backend.disconnect()
            await direct.disconnect()
