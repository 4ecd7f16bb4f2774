"""One suite over all hosts: real HTTP to `python -m shared serve`, the real worker's library, `func start` where there is one.

Each host runs once, on its own files, for all tests; so tests look at records that are theirs alone (`mark`).
"""

import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

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


def over_http(_: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    yield from served(folder, {})


def over_cosmosdb(request: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    """The same host on Cosmos DB: the real driver, over HTTP, to the strict double."""
    account = request.getfixturevalue("cosmos_account")
    with account.database() as name:
        yield from on_database("cosmosdb", account.connection_string, name, folder)


def over_tables(request: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    yield from on_database("tables", request.getfixturevalue("azurite").connection_string, new_name(), folder)


def over_postgresql(request: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    server = request.getfixturevalue("postgresql")
    with server.database() as name:
        yield from on_database("postgresql", server.conninfo(name), name, folder)


def over_mongodb(request: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    yield from on_database("mongodb", request.getfixturevalue("ferretdb").connection_string, new_name(), folder)


def on_database(database_type: str, connection_string: str, name: str, folder: Path) -> Iterator[Host]:
    settings = {"DATABASE_TYPE": database_type, "DATABASE_CONNECTION_STRING": connection_string, "DATABASE_NAME": name}
    yield from served(folder, settings)


def served(folder: Path, settings: Mapping[str, str]) -> Iterator[Host]:
    log = folder / "serve.log"
    with Serve(REPOSITORY, state=folder / "state", log=log, environment={**environment(folder), **settings}) as serve:
        yield Host(lambda: HttpClient(serve.url), log)


def new_name() -> str:
    return f"http-{uuid.uuid4().hex[:12]}"


def over_worker(_: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    log = folder / "worker.log"
    process = WorkerProcess(REPOSITORY, environment=environment(folder), log=log).start()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        async with WorkerConnection(process) as connection:
            yield WorkerClient(connection)

    yield Host(connect, log)
    process.stop()


def over_func(_: pytest.FixtureRequest, folder: Path) -> Iterator[Host]:
    log = folder / "func.log"
    with FuncStart(log=log, environment=environment(folder)) as func:
        yield Host(lambda: HttpClient(func.url), log)


HOSTS: Mapping[str, Callable[[pytest.FixtureRequest, Path], Iterator[Host]]] = {
    "http": over_http,
    "cosmosdb": over_cosmosdb,
    "tables": over_tables,
    "postgresql": over_postgresql,
    "mongodb": over_mongodb,
    "worker": over_worker,
    "func": over_func,
}
"""By the name of a host or of the database behind it."""
NEEDS = {"worker": needs_worker, "func": pytest.mark.skipif(core_tools() is None, reason="Core Tools are not on the path")}


@pytest.fixture(scope="session", params=[pytest.param(name, marks=NEEDS.get(name, ())) for name in HOSTS])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A running service."""
    yield from HOSTS[request.param](request, tmp_path_factory.mktemp(request.param))


@pytest.fixture
async def client(host: Host) -> AsyncIterator[Client]:
    async with host.connect() as connected:
        yield connected


@pytest.fixture
def mark() -> str:
    """A name that no other test uses, for ids and filters."""
    return f"mark{next(_marks)}"
