"""The process's connections: psycopg's pool, with the patience of a request."""

import asyncio
import select
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar
from weakref import WeakSet

from psycopg import AsyncConnection, AsyncRawCursor, Error
from psycopg.rows import TupleRow
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool

from shared.backends.driver_logs import silence

_IDLE_SECONDS = 180.0
"""How long a process is idle until it holds no connection any more."""
_CLOSE_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0
_CANCEL_SECONDS = 1.0
_TAKE_SECONDS = 3_600.0
"""Longer than any deadline: whoever takes a connection has a timeout of its own."""
_SESSION = (
    "SELECT set_config('statement_timeout', $1, false), set_config('synchronous_commit', "
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)"
)

T = TypeVar("T")

silence("psycopg")


class Connection(AsyncConnection[TupleRow]):
    """A connection whose failure to be made is told at once to those who wait for one, and whose cancelling is short."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        report: Callable[[Exception], None] = options.pop("report")
        try:
            return await super().connect(conninfo, **options)
        except Exception as error:
            report(error)
            raise

    async def cancel_safe(self, *, timeout: float = _CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - the driver's
        """Have the server end the statement in hand, or give the connection up.

        The driver calls this when a task that waits for a statement is cancelled, and then waits for the statement's end
        for seconds that the request has not got.
        """
        try:
            async with asyncio.timeout(min(timeout, _CANCEL_SECONDS)):
                await super().cancel_safe(timeout=timeout)
                await _readable(self.fileno())
        except (Error, OSError):
            await self.close()


class Pool:
    """At most `size` connections, made when they are needed and closed when they have been idle.

    psycopg's pool goes on trying while a server is away and leaves its clients waiting; here they fail with the error of
    the attempt: at once, or a little later where a connection is in use that they may get.
    """

    def __init__(self, conninfo: str, size: int, statement_seconds: float) -> None:
        self._size = size
        self._statement_ms = round(statement_seconds * 1_000)
        self._waiting: set[asyncio.Future[Exception]] = set()
        self._in_use: set[Connection] = set()
        self._made: WeakSet[Connection] = WeakSet()
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._pool = AsyncConnectionPool(
            conninfo,
            connection_class=Connection,
            kwargs={"autocommit": True, "cursor_factory": AsyncRawCursor, "report": self._report},
            configure=self._configure,
            min_size=0,
            max_size=size,
            open=False,
            name="logogen",
            max_idle=_IDLE_SECONDS / size,  # each time that it has passed, the pool closes one
            reconnect_timeout=0,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close(timeout=_CLOSE_SECONDS)
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=_CLOSE_SECONDS)
        for connection in self._made - self._in_use:  # what is on its way back when it closes, psycopg's pool forgets
            await connection.close()

    async def take(self) -> Connection:
        """A connection that works as far as can be told without asking the server. Raises the driver's errors."""
        while True:
            connection = await self._next()
            self._in_use.add(connection)
            if not _is_stale(connection):
                return connection
            await connection.close()
            await self.give_back(connection)

    async def give_back(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        await asyncio.shield(self._start(self._pool.putconn(connection)))

    def figures(self) -> dict[str, int]:
        """What the pool has: connections in all, idle ones, requests that wait, and the most it opens."""
        stats = self._pool.get_stats()
        return {
            "size": stats["pool_size"],
            "available": stats["pool_available"],
            "waiting": stats["requests_waiting"],
            "max": self._size,
        }

    async def _next(self) -> Connection:
        getting = self._start(self._pool.getconn(_TAKE_SECONDS))
        if getting.done():
            return getting.result()
        failing: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._waiting.add(failing)
        try:
            await asyncio.wait((getting, failing), return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise failing.result()
        except BaseException:  # a cancel or the error of an attempt: whichever, nobody waits for `getting` any more
            self._start(self._give_up(getting))
            raise
        finally:
            self._waiting.discard(failing)
        return getting.result()

    async def _give_up(self, getting: asyncio.Task[Connection]) -> None:
        """A cancel may come too late, or get lost on Python 3.11: what is got all the same goes to the others."""
        getting.cancel()
        await asyncio.wait((getting,))
        if not getting.cancelled() and getting.exception() is None:
            await self._pool.putconn(getting.result())

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that outlives the cancelling of whoever waits for it. Done at once, mostly, from Python 3.12 on."""
        if sys.version_info >= (3, 12):
            task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        else:
            task = asyncio.create_task(work)
        if not task.done():
            self._unfinished.add(task)
            task.add_done_callback(self._unfinished.discard)
        return task

    def _report(self, error: Exception) -> None:
        waiting = tuple(self._waiting)
        if self._in_use:
            asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, _fail, waiting, error)
        else:
            _fail(waiting, error)

    async def _configure(self, connection: Connection) -> None:
        """A statement ends with the longest request at the latest; an acknowledged write is on disk; records stay text."""
        self._made.add(connection)
        connection.adapters.register_loader("json", TextLoader)
        try:
            await connection.execute(_SESSION, (str(self._statement_ms),))
        except Exception as error:
            await connection.close()
            self._report(error)
            raise


def _fail(waiting: Iterable[asyncio.Future[Exception]], error: Exception) -> None:
    for failing in waiting:
        if not failing.done():
            failing.set_result(error)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _is_stale(connection: Connection) -> bool:
    """Whether the server has closed an idle connection: there is something to read that nobody asked for."""
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return bool(poller.poll(0))
