"""One suite over two hosts: real HTTP to `python -m shared serve`, and the real worker's library.

Each host runs once, on its own files, for all tests; so tests look at records that are theirs alone (`mark`).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.support.clients import Client, HttpClient, WorkerClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve
from tests.support.worker_process import WorkerConnection, WorkerProcess

Connect = Callable[[], AbstractAsyncContextManager[Client]]
_marks = count(1)


def environment(folder: Path) -> dict[str, str]:
    return {"DATABASE_DATA_DIR": str(folder / "data"), "PRIVACY_SALT": "a-salt-for-tests-only"}


@pytest.fixture(scope="session", params=["http", "worker"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    """A running service and how to reach it."""
    folder = tmp_path_factory.mktemp(request.param)
    starter = over_http if request.param == "http" else over_worker
    yield from starter(folder)


def over_http(folder: Path) -> Iterator[Connect]:
    log = folder / "serve.log"
    with Serve(REPOSITORY, state=folder / "state", log=log, environment=environment(folder)) as serve:
        yield lambda: HttpClient(serve.url)


def over_worker(folder: Path) -> Iterator[Connect]:
    process = WorkerProcess(REPOSITORY, environment=environment(folder), log=folder / "worker.log").start()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        async with WorkerConnection(process) as connection:
            yield WorkerClient(connection)

    yield connect
    process.stop()


@pytest.fixture
async def client(host: Connect) -> AsyncIterator[Client]:
    async with host() as connected:
        yield connected


@pytest.fixture
def mark() -> str:
    """A name that no other test uses, for ids and filters."""
    return f"mark{next(_marks)}"
