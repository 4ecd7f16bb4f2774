"""The MongoDB backend when its server goes away and when answers are lost: nothing missing, nothing doubled."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.backend import MongoBackend
from shared.config import Settings
from shared.errors import (
    ConfigurationError,
    DeadlineError,
    UnavailableError,
)
from shared.models import SystemEventLog
from shared.query import Query
from shared.timing import set_deadline
from tests.contract.steps import add, add_all
from tests.faults.lines import LosingLine, mongodb_line
from tests.faults.tcp import TcpProxy
from tests.servers.ferretdb import FerretDB, running
from tests.support.clients import Client, HttpClient
from tests.support.environment import REPOSITORY
from tests.support.records import make
from tests.support.serve import Serve

USER, PASSWORD = "logo", "p4ssw0rd-of-tests"


def make_backend(port: int, database: str, options: str = "maxPoolSize=1") -> MongoBackend:
    text = f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=800&{options}"
    return MongoBackend(read_access(Settings(database_type="mongodb", database_connection_string=text)), database)


@pytest.fixture
async def line(ferretdb: FerretDB) -> AsyncIterator[LosingLine]:
    """A line without faults yet."""
    async with mongodb_line(ferretdb) as found:
        yield found


async def test_no_more_connections_than_the_pool_has(ferretdb: FerretDB) -> None:
    """Many tasks share the pool's connections; besides there are the driver's two that watch the server."""
    async with TcpProxy("127.0.0.1", ferretdb.port) as proxy:
        backend = make_backend(proxy.port, f"faults-{uuid.uuid4().hex[:12]}", "maxPoolSize=3")
        await backend.connect()
        await add_all(backend, SystemEventLog, make.many(SystemEventLog, 3))
        await asyncio.gather(*(backend.count(Query(SystemEventLog)) for _ in range(60)))
        assert proxy.connections <= 3 + 2
        await backend.disconnect()


async def test_starting_while_the_server_is_away(ferretdb: FerretDB) -> None:
    """Connecting asks for nothing; all who ask first are told at once, and the same backend works when the server is there."""
    async with TcpProxy("127.0.0.1", ferretdb.port) as proxy:
        await proxy.refuse()
        backend = make_backend(proxy.port, f"faults-{uuid.uuid4().hex[:12]}")
        await backend.connect()
        started = time.monotonic()
        given = make.many(SystemEventLog, 20)
        calls = (backend.create(SystemEventLog, record) for record in given)
        assert {type(error) for error in await asyncio.gather(*calls, return_exceptions=True)} == {UnavailableError}
        assert time.monotonic() - started < 5
        await proxy.accept()
        await add_all(backend, SystemEventLog, given)
        await backend.disconnect()


async def test_one_deadline_is_not_another_s(ferretdb: FerretDB) -> None:
    """Who comes first to a collection, and has no time to wait for its indexes, does not end the wait of those behind."""

    async def count(seconds: float) -> int:
        set_deadline(seconds)
        return await backend.count(Query(SystemEventLog))

    async with TcpProxy("127.0.0.1", ferretdb.port) as proxy:
        text = f"mongodb://127.0.0.1:{proxy.port}/?serverSelectionTimeoutMS=9000&maxPoolSize=1"
        access = read_access(Settings(database_type="mongodb", database_connection_string=text))
        backend = MongoBackend(access, f"faults-{uuid.uuid4().hex[:12]}")
        await backend.connect()
        proxy.pause()
        hurried, patient = asyncio.create_task(count(0.3)), asyncio.create_task(count(20))
        with pytest.raises(DeadlineError):
            await hurried
        proxy.resume()
        assert await patient == 0
        await backend.disconnect()


async def test_a_server_that_hangs(line: LosingLine) -> None:
    """The request ends in time; once answers come again, so do ours."""
    line.proxy.pause()
    set_deadline(0.2)
    with pytest.raises(DeadlineError):
        await line.backend.create(SystemEventLog, make(SystemEventLog))
    line.proxy.resume()
    set_deadline(10)
    await line.backend.health()


def driver_texts(port: int) -> tuple[str, ...]:
    """What the driver's messages about a server are known by."""
    return (f"127.0.0.1:{port}", f"('127.0.0.1', {port})", "pymongo", "Traceback")


class Log(logging.Handler):
    """What a logger and those below it are given, as text with tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.first = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        self.first.set()


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of a program that logs everything, without pytest's own handlers: they pass over what loggers keep back."""
    log = Log()
    monkeypatch.setattr(logging.root, "handlers", [log])
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    return log


async def test_what_the_driver_logs(ferretdb: FerretDB, root: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It logs a traceback with host names when its upkeep of the pool fails; nothing of that gets into our log."""
    driver = Log()
    monkeypatch.setattr(logging.getLogger("pymongo.client"), "handlers", [driver])
    async with TcpProxy("127.0.0.1", ferretdb.port) as proxy:
        backend = make_backend(proxy.port, f"faults-{uuid.uuid4().hex[:12]}", "minPoolSize=2&maxPoolSize=3")
        await backend.connect()
        await backend.health()
        proxy.shut()
        async with asyncio.timeout(20):
            await driver.first.wait()
        await proxy.accept()
        await backend.health()
        await backend.disconnect()
    assert all(text in driver.lines[0] for text in driver_texts(proxy.port))
    assert not [line for line in root.lines if any(text in line for text in driver_texts(proxy.port))]


async def test_what_the_driver_says_of_cosmos_db(root: Log, recwarn: pytest.WarningsRecorder) -> None:
    """Its advertisement is no line of our log and no warning."""
    text = "mongodb://logos:key@logos.mongo.cosmos.azure.com:10255/?ssl=true&replicaSet=globaldb&retrywrites=false"
    backend = MongoBackend(read_access(Settings(database_type="mongodb", database_connection_string=text)), "faults")
    await backend.connect()
    await backend.disconnect()
    assert not [line for line in root.lines if "Cosmos" in line]
    assert not recwarn.list


async def test_a_password_that_is_wrong(tmp_path: Path) -> None:
    """The log names the setting, the client is told 503, and neither sees the password."""
    with running(USER, PASSWORD) as locked:
        wrong = f"mongodb://{USER}:{PASSWORD}x@{locked.address}/?maxPoolSize=1"
        async with _serving(wrong, tmp_path) as client:
            alone = await client.post("/api/events", json=_event("one"))
            assert (alone.status, "retry-after" in alone.headers) == (503, True)
            answer = await client.post("/api/events", json={**_event("two"), "sessionId": "visit-1"})
            assert (answer.status, "retry-after" in answer.headers) == (503, True)
            assert PASSWORD not in answer.text
            health = await client.get("/api/health")
            assert health.status == 503
            assert PASSWORD not in health.text
    log = (tmp_path / "serve.log").read_text()
    assert log.count("DATABASE_CONNECTION_STRING: the database does not know this user") >= 3
    assert "ERROR shared.api.endpoint: bug" not in log
    assert PASSWORD not in log


async def test_a_user_with_a_password(tmp_path: Path) -> None:
    """Host, port, user and password from the settings let the service in, and none let nobody in."""
    with running(USER, PASSWORD) as locked:
        named = Settings(database_type="mongodb", database_host="127.0.0.1", database_port=locked.port, database_pool_size=1)
        stranger = MongoBackend(read_access(named), "faults")
        await stranger.connect()
        with pytest.raises(ConfigurationError, match="DATABASE_USERNAME and DATABASE_PASSWORD: this user may not"):
            await stranger.count(Query(SystemEventLog))
        await stranger.disconnect()
        known = MongoBackend(read_access(replace(named, database_username=USER, database_password=PASSWORD)), "faults")
        await known.connect()
        await add(known, SystemEventLog, make(SystemEventLog))
        await known.disconnect()


@asynccontextmanager
async def _serving(connection_string: str, folder: Path) -> AsyncIterator[Client]:
    variables = {
        "DATABASE_TYPE": "mongodb",
        "DATABASE_NAME": f"faults-{uuid.uuid4().hex[:12]}",
        "DATABASE_CONNECTION_STRING": connection_string,
        "PRIVACY_SALT": "a-salt-for-tests-only",
    }
    with Serve(REPOSITORY, state=folder / "state", log=folder / "serve.log", environment=variables) as serve:
        async with HttpClient(serve.url) as client:
            yield client


def _event(record_id: str) -> dict[str, str]:
    return {"id": record_id, "eventType": "startup", "message": "ready"}
