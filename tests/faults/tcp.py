"""A small TCP proxy that hurts: it stands between a driver and its server, counts connections, and loses answers."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_HOST = "127.0.0.1"

Whole = Callable[[bytes], bool]


def any_answer(answer: bytes) -> bool:
    """The first bytes that come are taken for the answer."""
    return bool(answer)


@dataclass(frozen=True)
class _Plan:
    """Whose answer is lost: that of the request with these bytes (None: the next one), when it is whole."""

    after: bytes | None
    whole: Whole


@dataclass(eq=False)
class _Line:
    """One connection: both ends, and what is being lost on it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    plan: _Plan | None = None
    answer: bytearray = field(default_factory=bytearray)

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class TcpProxy(AbstractAsyncContextManager["TcpProxy"]):
    """Passes bytes to a host and port, or to a Unix socket where `target` is a path. It runs in the test's own loop."""

    def __init__(self, host: str, target: int | str | Path) -> None:
        self._host, self._target = host, target
        self._listener: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._plan: _Plan | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.connections = 0
        """How many were ever made."""
        self.lost = 0
        """How many answers were lost."""
        self.passed_on = 0
        """How many bytes of requests the server got."""

    @property
    def open_connections(self) -> int:
        return len(self._lines)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def accept(self) -> None:
        """Take connections, on the same port as before."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connected, _HOST, self.port)
            self.port = int(self._listener.sockets[0].getsockname()[1])

    def shut(self) -> None:
        """Take no more connections; those that are open go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def refuse(self) -> None:
        """Take no more connections, and cut those that are open."""
        self.shut()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Drop the connections that are open; new ones are taken."""
        for line in self._lines:
            line.cut()

    def pause(self) -> None:
        """Pass no more answers on until `resume`; requests still reach the server."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def lose_answers(self, after: bytes | None = None, whole: Whole = any_answer) -> None:
        """Once: pass the next request (with `after` in it) on, await its whole answer, and drop the connection instead."""
        self._plan = _Plan(after, whole)

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._serve(from_client, to_client)
        finally:
            to_client.close()
            self._pumps.discard(task)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._reach()
        except OSError:
            return  # as a server that is away: the connection just ends
        line = _Line(to_client, to_server)
        self._lines.add(line)
        pumps = [asyncio.create_task(work) for work in (self._requests(from_client, line), self._answers(from_server, line))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._lines.discard(line)
            to_server.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection(self._host, self._target)
        return await asyncio.open_unix_connection(str(self._target))

    async def _requests(self, reader: asyncio.StreamReader, line: _Line) -> None:
        seen = b""
        while chunk := await _read(reader):
            seen = seen[-_CHUNK:] + chunk
            if self._plan is not None and line.plan is None and (self._plan.after is None or self._plan.after in seen):
                line.plan, self._plan = self._plan, None
            self.passed_on += len(chunk)
            line.server.write(chunk)
            await line.server.drain()

    async def _answers(self, reader: asyncio.StreamReader, line: _Line) -> None:
        while chunk := await _read(reader):
            await self._flowing.wait()
            if line.plan is not None:
                line.answer += chunk
                if line.plan.whole(bytes(line.answer)):
                    self.lost += 1
                    line.cut()
                    return
                continue
            line.client.write(chunk)
            await line.client.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next bytes; none where the connection has ended, however it did."""
    try:
        return await reader.read(_CHUNK)
    except ConnectionError:
        return b""
