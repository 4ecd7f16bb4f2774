"""A database reached through a proxy that loses answers, and past it: for drivers that speak a protocol of their own."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.backends import create_backend
from shared.backends.base import Backend
from shared.config import Settings
from shared.models import SystemEventLog
from shared.query import Query
from shared.timing import set_deadline
from tests.faults.line import Line
from tests.faults.tcp import TcpProxy, Whole
from tests.servers.ferretdb import FerretDB
from tests.servers.postgresql import PostgresServer


@dataclass(frozen=True)
class Protocol:
    """How a request of each kind is known in what a driver sends, and when its answer is whole."""

    requests: Mapping[str, bytes]
    whole: Whole


def _says_ready(answer: bytes) -> bool:
    """Whether the server has said all and waits for the next statement, outside a transaction."""
    return answer.endswith(b"Z\x00\x00\x00\x05I")


def _has_its_length(answer: bytes) -> bool:
    """Whether a message has come to its end: it begins with its length."""
    return len(answer) >= 4 and len(answer) >= int.from_bytes(answer[:4], "little")


def _command(name: str) -> bytes:
    """How a command of that name begins: the first element of a BSON document, a string."""
    return b"\x02" + name.encode() + b"\x00"


POSTGRESQL = Protocol(
    {
        "create": b"INSERT",
        "create_many": b"c\x00\x00\x00\x04",
        "update": b"UPDATE",
        "delete": b"DELETE",
        "delete_where": b"COMMIT",
        "purge": b"COMMIT",
        "find": b"SELECT",
    },
    _says_ready,
)
MONGODB = Protocol(
    {
        "create": _command("insert"),
        "create_many": _command("insert"),
        "update": _command("update"),
        "delete": _command("delete"),
        "delete_where": _command("delete"),
        "purge": _command("delete"),
        "find": _command("find"),
    },
    _has_its_length,
)


@dataclass
class LosingLine(Line[Backend, TcpProxy]):
    """A line whose proxy loses the answers to requests that it knows."""

    protocol: Protocol

    def lose_answer(self, method: str) -> None:
        """Lose the answer to what a method of the backend sends last."""
        self.proxy.lose_answers(self.protocol.requests[method], self.protocol.whole)


@asynccontextmanager
async def postgresql_line(server: PostgresServer) -> AsyncIterator[LosingLine]:
    """A line to a database of its own; the schema is there."""
    with server.emptied() as database:
        async with TcpProxy("127.0.0.1", server.port) as proxy:
            through = f"host=127.0.0.1 port={proxy.port} dbname={database} user=postgres sslmode=disable"
            settings = [
                Settings(database_type="postgresql", database_connection_string=text)
                for text in (through, server.conninfo(database))
            ]
            backend, direct = map(create_backend, settings)
            async with _connected(LosingLine(backend, direct, proxy, POSTGRESQL)) as line:
                yield line


@asynccontextmanager
async def mongodb_line(server: FerretDB) -> AsyncIterator[LosingLine]:
    """A line to a database of its own; the collection is there."""
    database = f"faults-{uuid.uuid4().hex[:12]}"
    async with TcpProxy("127.0.0.1", server.port) as proxy:
        settings = [
            Settings(
                database_type="mongodb",
                database_connection_string=f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=800&maxPoolSize=1",
                database_name=database,
            )
            for port in (proxy.port, server.port)
        ]
        backend, direct = map(create_backend, settings)
        async with _connected(LosingLine(backend, direct, proxy, MONGODB)) as line:
            await backend.count(Query(SystemEventLog))
            yield line


@asynccontextmanager
async def _connected(line: LosingLine) -> AsyncIterator[LosingLine]:
    await line.direct.connect()
    await line.backend.connect()
    yield line
    set_deadline(30)
    await line.backend.disconnect()
    await line.direct.disconnect()


LINES: Mapping[str, Callable[[Any], AbstractAsyncContextManager[LosingLine]]] = {
    "postgresql": postgresql_line,
    "ferretdb": mongodb_line,
}
"""By the name of a server's fixture: what opens a line to it."""
