"""The service while its server is stopped, and once it is back: clients and timer are told in our words, nothing is lost."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import azurite, ferretdb, postgresql
from tests.support.clients import Client, HttpClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve


@dataclass(frozen=True)
class Server:
    """A running server, how it is stopped as a crash would, and started again on the same data and port."""

    connection_string: str
    port: int
    stop: Callable[[], object]
    start: Callable[[], object]


@contextmanager
def _tables(folder: Path) -> Iterator[Server]:
    with azurite.running(folder) as server:
        yield Server(server.connection_string, server.port, server.stop, server.start)


@contextmanager
def _postgresql(_: Path) -> Iterator[Server]:
    with postgresql.running() as server:
        yield Server(server.conninfo(), server.port, lambda: server.stop(crash=True), server.start)


@contextmanager
def _mongodb(_: Path) -> Iterator[Server]:
    with ferretdb.running() as server:
        yield Server(server.connection_string, server.port, server.stop, server.start)


SERVERS = {"tables": _tables, "postgresql": _postgresql, "mongodb": _mongodb}
DRIVERS = ("azure.", "aiohttp", "psycopg", "pymongo", "FATAL", "direct cause", "During handling", azurite.KEY)
"""What gives a driver's own words away in a log."""


@pytest.mark.parametrize("database_type", SERVERS)
async def test_a_server_that_is_stopped_and_started(database_type: str, tmp_path: Path) -> None:
    """Clients get 503 with Retry-After, the timer fails, and both go on without a restart; the log tells it in our words."""
    with SERVERS[database_type](tmp_path / "server") as server:
        settings = {"DATABASE_TYPE": database_type, "DATABASE_CONNECTION_STRING": server.connection_string}
        with _serving(settings, tmp_path) as serve:
            async with HttpClient(serve.url) as client:
                assert await _post(client, "before") == 201
                server.stop()
                try:
                    await _is_told_to_come_back(client)
                    await _has_its_timer_fail(client, serve)
                finally:
                    server.start()
                assert await _post(client, "while") == 201
                assert await _post(client, "before") == 200
        assert not [text for text in (*DRIVERS, f"127.0.0.1:{server.port}", f"{server.port})") if text in serve.output()]


def _serving(settings: Mapping[str, str], folder: Path) -> Serve:
    variables = {**settings, "PRIVACY_SALT": "a-salt-for-tests-only", "RETENTION_DAYS_EVENTS": "90"}
    return Serve(REPOSITORY, state=folder / "state", log=folder / "serve.log", environment=variables)


async def _is_told_to_come_back(client: Client) -> None:
    answer = await client.post("/api/events", json=_event("while"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (await client.get("/api/health")).status == 503


async def _has_its_timer_fail(client: Client, serve: Serve) -> None:
    assert (await client.post("/admin/functions/retention", json={"input": ""})).status == 202
    async with asyncio.timeout(40):
        while "UnavailableError: The database can't be reached." not in serve.output():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def _event(record_id: str) -> dict[str, str]:
    return {"id": record_id, "eventType": "startup", "message": "ready"}


async def _post(client: Client, record_id: str) -> int:
    return (await client.post("/api/events", json=_event(record_id))).status
