"""One suite over all hosts: real HTTP to `python -m shared serve`, the real worker's library, `func start` where there is one.

Each host runs once, on its own files, for all tests; so tests look at records that are theirs alone (`mark`).
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path

import pytest

from tests.servers.tools import require
from tests.support.clients import Client, HttpClient, WorkerClient
from tests.support.core_tools import FuncStart, core_tools
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve
from tests.support.worker_process import WorkerConnection, WorkerProcess

Connect = Callable[[], AbstractAsyncContextManager[Client]]


@dataclass(frozen=True, slots=True)
class Host:
    """A running service: how to reach it, and the file of its log."""

    connect: Connect
    log: Path


_marks = count(1)
needs_worker = pytest.mark.skipif(sys.version_info < (3, 13), reason="the worker's library needs Python 3.13")


def environment(folder: Path) -> dict[str, str]:
    return {"DATABASE_DATA_DIR": str(folder / "data"), "PRIVACY_SALT": "a-salt-for-tests-only"}


@pytest.fixture(
    scope="session",
    params=[
        "http",
        "cosmosdb",
        "tables",
        "postgresql",
        "mongodb",
        pytest.param("worker", marks=needs_worker),
        pytest.param("func", marks=pytest.mark.skipif(core_tools() is None, reason="Core Tools are not on the path")),
    ],
)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A running service."""
    folder = tmp_path_factory.mktemp(request.param)
    yield from {
        "http": over_http,
        "cosmosdb": over_cosmosdb,
        "tables": over_tables,
        "postgresql": over_postgresql,
        "mongodb": over_mongodb,
        "worker": over_worker,
        "func": over_func,
    }[request.param](folder)


def over_http(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Host]:
    log = folder / "serve.log"
    variables = {**environment(folder), **(settings or {})}
    with Serve(REPOSITORY, state=folder / "state", log=log, environment=variables) as serve:
        yield Host(lambda: HttpClient(serve.url), log)


def over_cosmosdb(folder: Path) -> Iterator[Host]:
    """The same host on Cosmos DB: the real driver, over HTTP, to the strict double."""
    pytest.importorskip("azure.cosmos")
    double = import_module("tests.servers.cosmos.running")
    with double.running(double.new_account(physical=2)) as account:
        settings = {"DATABASE_TYPE": "cosmosdb", "DATABASE_CONNECTION_STRING": account.connection_string}
        yield from over_http(folder, settings)


def over_tables(folder: Path) -> Iterator[Host]:
    """The same host on a storage emulator of its own."""
    pytest.importorskip("azure.data.tables")
    server = import_module("tests.servers.azurite")
    require("Azurite", server.script)
    with server.running() as running:
        settings = {"DATABASE_TYPE": "tables", "DATABASE_CONNECTION_STRING": running.connection_string}
        yield from over_http(folder, settings)


def over_postgresql(folder: Path) -> Iterator[Host]:
    """The same host on a PostgreSQL server of its own."""
    pytest.importorskip("psycopg")
    module = import_module("tests.servers.postgresql")
    require("PostgreSQL", module.programs)
    with module.running() as server:
        yield from over_http(folder, {"DATABASE_TYPE": "postgresql", "DATABASE_CONNECTION_STRING": server.conninfo()})


def over_mongodb(folder: Path) -> Iterator[Host]:
    """The same host on a server of MongoDB's protocol of its own."""
    pytest.importorskip("pymongo")
    module = import_module("tests.servers.ferretdb")
    require("FerretDB", module.binary)
    with module.running() as server:
        yield from over_http(folder, {"DATABASE_TYPE": "mongodb", "DATABASE_CONNECTION_STRING": server.connection_string})


def over_worker(folder: Path) -> Iterator[Host]:
    log = folder / "worker.log"
    process = WorkerProcess(REPOSITORY, environment=environment(folder), log=log).start()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        async with WorkerConnection(process) as connection:
            yield WorkerClient(connection)

    yield Host(connect, log)
    process.stop()


def over_func(folder: Path) -> Iterator[Host]:
    log = folder / "func.log"
    with FuncStart(log=log, environment=environment(folder)) as func:
        yield Host(lambda: HttpClient(func.url), log)


@pytest.fixture
async def client(host: Host) -> AsyncIterator[Client]:
    async with host.connect() as connected:
        yield connected


@pytest.fixture
def mark() -> str:
    """A name that no other test uses, for ids and filters."""
    return f"mark{next(_marks)}"
