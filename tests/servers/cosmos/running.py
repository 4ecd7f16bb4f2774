"""The double in a thread of its own, for tests whose backends live on other event loops and in other processes."""

import asyncio
import base64
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.servers.cosmos.account import Account
from tests.servers.cosmos.server import CosmosDouble

KEY = base64.b64encode(b"the double's own key, of 64 bytes".ljust(64, b".")).decode()


def new_account(**properties: Any) -> Account:
    """An account with the double's key."""
    return Account(KEY, **properties)


@dataclass(frozen=True, slots=True)
class RunningAccount:
    """An account that listens."""

    url: str
    account: Account

    @property
    def connection_string(self) -> str:
        return f"AccountEndpoint={self.url};AccountKey={KEY};"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of a database that nobody else uses, dropped afterwards."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        try:
            yield name
        finally:
            self.account.databases.pop(name, None)


@contextmanager
def running(account: Account) -> Iterator[RunningAccount]:
    """Serve an account until the block ends."""
    loop = asyncio.new_event_loop()
    started: list[str] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with CosmosDouble(account).serve() as double:
            started.append(double.url)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="cosmos-double", daemon=True)
    thread.start()
    ready.wait()
    assert started, "the double did not start"
    try:
        yield RunningAccount(started[0], account)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
