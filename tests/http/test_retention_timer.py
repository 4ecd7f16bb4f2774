"""The retention timer, run by both hosts over files that hold records of years ago."""

import asyncio
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import ApiRequestLog, SystemEventLog
from tests.http.conftest import environment, needs_worker
from tests.support.clients import Client, HttpClient, WorkerClient
from tests.support.environment import REPOSITORY
from tests.support.records import make
from tests.support.serve import Serve
from tests.support.worker_process import WorkerConnection, WorkerProcess

DAYS = {"RETENTION_DAYS_REQUESTS": "90", "RETENTION_DAYS_EVENTS": "90"}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Files with three requests of 2020."""
    backend = FileBackend(tmp_path / "data")
    await backend.connect()
    await backend.put_raw(ApiRequestLog, make.many(ApiRequestLog, 3, timestamp="2020-01-01T00:00:00.000Z"))
    await backend.disconnect()
    return tmp_path


async def check(client: Client) -> None:
    """The timer has removed the requests and logged that it did."""
    [logged] = (await client.get("/api/events", params={"eventType": "retention"})).json()["events"]
    assert logged["details"]["removed"] == {ApiRequestLog.__name__: 3, SystemEventLog.__name__: 0}
    assert logged["details"]["left"] == []


@needs_worker
async def test_the_worker_runs_it(folder: Path) -> None:
    """A timer invocation through the worker's own library removes what is past its days."""
    settings = {**environment(folder), **DAYS}
    process = WorkerProcess(REPOSITORY, environment=settings, log=folder / "log").start()
    async with WorkerConnection(process) as connection:
        await connection.timer("retention", past_due=True)
        await check(WorkerClient(connection))
    process.stop()


async def test_the_local_host_runs_it_on_request(folder: Path) -> None:
    """`POST /admin/functions/retention` runs it now, as the real host does."""
    settings = {**environment(folder), **DAYS}
    with Serve(REPOSITORY, state=folder / "state", log=folder / "log", environment=settings) as serve:
        async with HttpClient(serve.url) as client:
            assert (await client.get("/api/requests")).json()["count"] == 0
            asked = await client.post("/admin/functions/retention", json={"input": ""})
            assert asked.status == 202
            await serve_is_done(client)
            await check(client)


async def serve_is_done(client: Client) -> None:
    """Ask until the run that was accepted is logged."""
    async with asyncio.timeout(20):
        while not (await client.get("/api/events", params={"eventType": "retention"})).json()["count"]:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)
