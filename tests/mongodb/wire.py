"""A proxy that understands MongoDB's messages: it notes the commands that pass, and changes what the server answers.

What the server was asked, it does; only its answer is another, such as one that no server here would give.
https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import bson

_HEADER = struct.Struct("<iiii")
_REPLY, _QUERY, _MESSAGE = 1, 2004, 2013
_REPLY_FIELDS, _MESSAGE_FIELDS = 20, 5
"""Bytes between the header and the first document of an answer."""

Document = dict[str, Any]
Change = Callable[[Document], Awaitable[Document]]


def instead(**answer: Any) -> Change:
    """Another answer, whatever the server's was."""

    async def change(_: Document) -> Document:
        return answer

    return change


def refusal(code: int, message: str = "", **more: Any) -> Change:
    """The answer of a server that refuses."""
    return instead(ok=0.0, code=code, errmsg=message, **more)


def besides(**fields: Any) -> Change:
    """The server's answer with some fields of other values."""

    async def change(answer: Document) -> Document:
        return {**answer, **fields}

    return change


class WireProxy(AbstractAsyncContextManager["WireProxy"]):
    """Stands in front of a server on this machine. It runs in the test's own loop."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._changes: dict[str, list[Change]] = {}
        self._always: dict[str, Change] = {}
        self._lines: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0
        self.commands: list[Document] = []
        """What the server was asked, but for what the driver asks by itself."""

    def once(self, command: str, *changes: Change) -> None:
        """Change the next answers to a command, one each."""
        self._changes.setdefault(command, []).extend(changes)

    def always(self, command: str, change: Change) -> None:
        self._always[command.lower()] = change

    def sent(self, command: str) -> int:
        """How often the server was asked it."""
        return sum(next(iter(document)) == command for document in self.commands)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for line in tuple(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            while True:
                request = await _read(from_client)
                to_server.write(request)
                to_client.write(await self._changed(_first_document(request), await _read(from_server)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # one of the two has gone
        finally:
            to_server.close()
            to_client.close()
            self._lines.discard(task)

    async def _changed(self, asked: Document, answer: bytes) -> bytes:
        command = next(iter(asked))
        if command.lower() not in {"hello", "ismaster"}:
            self.commands.append(asked)
        changes = self._changes.get(command)
        change = changes.pop(0) if changes else self._always.get(command.lower())
        return answer if change is None else _with_document(answer, await change(_first_document(answer)))


async def _read(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    return header + await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


def _document_start(message: bytes) -> int:
    code = _HEADER.unpack_from(message)[3]
    if code == _QUERY:
        return message.index(b"\0", _HEADER.size + 4) + 1 + 8
    return _HEADER.size + {_REPLY: _REPLY_FIELDS, _MESSAGE: _MESSAGE_FIELDS}[code]


def _first_document(message: bytes) -> Document:
    start = _document_start(message)
    return bson.decode(message[start : start + int.from_bytes(message[start : start + 4], "little")])


def _with_document(message: bytes, document: Document) -> bytes:
    made = message[: _document_start(message)] + bson.encode(document)
    _, *rest = _HEADER.unpack_from(message)
    return _HEADER.pack(len(made), *rest) + made[_HEADER.size :]
