"""Limits of the system, and holders of the lock that die or hang: told with their cause, and over when they are over."""

import asyncio
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.errors import UnavailableError
from shared.query import Query
from tests.reliability.handmade import MODEL, answers, assert_writes_work, make_history, opened, segment
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY
from tests.support.records import START
from tests.support.serve import Serve


@pytest.mark.parametrize(
    ("limit", "causes"), [("size", "File too large|the disk failed"), ("files", "Too many open files|it can't be opened")]
)
async def test_a_limit_is_told_and_nothing_is_lost(folder: Path, limit: str, causes: str) -> None:
    """A process that may not write or open more refuses writes, keeps what it acknowledged, and goes on when it may."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.reliability.limited",
        str(folder / "data"),
        limit,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert re.match(f"storage_failed .*({causes})", output.decode())


@asynccontextmanager
async def held(root: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process holds the lock and has begun to write."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.reliability.holder",
        str(root),
        f"{MODEL.__name__}/{segment(root, 0).name}",
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_holder_of_the_lock_that_hangs_is_told_in_time(folder: Path) -> None:
    """Writes and starts are refused as busy when patience ends, reads go on, and all is well when the holder lets go."""
    root = folder / "data"
    await make_history(root)
    backend = FileBackend(root, patience=0.3)
    await backend.connect()
    before = said(root, MODEL)
    async with held(root) as holder:
        started = time.monotonic()
        writes = [backend.create(MODEL, proven(MODEL, f"busy-{number}", START)) for number in range(20)]
        refused = await asyncio.gather(*writes, backend.purge(MODEL, ["r001"]), return_exceptions=True)
        assert time.monotonic() - started < 5
        assert all(isinstance(error, UnavailableError) and error.error_code == "storage_busy" for error in refused)
        assert await answers(backend) == before
        with pytest.raises(UnavailableError, match="locked by another process"):
            await FileBackend(root, patience=0.1).connect()
        assert holder.stdin is not None
        holder.stdin.close()
        await holder.wait()
    assert await answers(backend) == before
    await assert_writes_work(backend, root)
    await backend.disconnect()


async def test_a_holder_of_the_lock_that_died_is_cleared_up_after(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its half line is set aside and told by whoever writes next, who neither waits nor loses anything."""
    root = folder / "data"
    await make_history(root)
    async with opened(root) as backend:
        before = await answers(backend)
        async with held(root) as holder:
            holder.send_signal(signal.SIGKILL)
            await holder.wait()
        await backend.create(MODEL, proven(MODEL, "after", START))
        assert "a torn line was set aside" in caplog.messages
        assert set(await answers(backend)) == {*before, "after"}
        assert segment(root, 0).with_name(segment(root, 0).name + ".torn").read_bytes() == b'{"id":"half","timest\n'
        await assert_writes_work(backend, root)


@pytest.fixture
async def serve(folder: Path) -> AsyncIterator[Serve]:
    """A server on an empty directory."""
    environment = {"DATABASE_DATA_DIR": str(folder / "data")}
    server = Serve(REPOSITORY, state=folder / "state", log=folder / "serve.log", environment=environment)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.kill)


async def test_a_full_disk_is_a_503_over_http(serve: Serve) -> None:
    """The answer is a problem document with the cause and Retry-After; reads go on; with room again the retry is stored."""
    async with HttpClient(serve.url) as client:
        event = {"id": "first", "eventType": "note", "message": "m" * 20_000}
        assert (await client.post("/api/events", json=event)).status == 201
        before = resource.prlimit(serve.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(serve.pid, resource.RLIMIT_FSIZE, (30_000, before[1]))
        refused = await client.post("/api/events", json={**event, "id": "second"})
        batch = await client.post("/api/logs", json=[{"model": "event", **event, "id": f"b{number}"} for number in range(3)])
        for answer in (refused, batch):
            assert answer.status == 503
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert int(answer.headers["Retry-After"]) >= 1
        assert refused.json()["code"] == "storage_failed"
        assert refused.json()["error"].endswith(("File too large.", "the disk failed."))
        assert (await client.get("/api/events/first")).status == 200
        assert [event["id"] for event in (await client.get("/api/events")).json()["events"]] == ["first"]
        resource.prlimit(serve.pid, resource.RLIMIT_FSIZE, before)
        assert (await client.post("/api/events", json={**event, "id": "second"})).status in {200, 201}
        assert (await client.get("/api/events")).json()["count"] == 2


async def test_a_directory_that_can_t_be_made_is_told(folder: Path) -> None:
    """Where a file is in the way of the directory, the start is refused with the cause, and works once it is gone."""
    (folder / "file").write_text("in the way")
    backend = FileBackend(folder / "file" / "data")
    with pytest.raises(UnavailableError, match=r"Not a directory|File exists"):
        await backend.connect()
    (folder / "file").unlink()
    await backend.connect()
    assert await backend.count(Query(MODEL)) == 0
    await backend.disconnect()
