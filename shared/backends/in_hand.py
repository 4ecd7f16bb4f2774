"""The work that a backend has in hand, which its disconnect waits for."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.errors import UnavailableError


class InHand:
    """Entered by each call of a backend, from `open` to `close`."""

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        self._is_open = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Connect, unless that is done, and let work in."""
        async with self._changing:
            if not self._is_open:
                await connect()
                self._is_open = True

    async def close(self, disconnect: Callable[[], Awaitable[None]]) -> None:
        """Let no more in, wait for what is in hand, and disconnect, even when the wait is given up."""
        async with self._changing:
            if self._is_open:
                self._is_open = False
                try:
                    await self._idle.wait()
                finally:
                    await disconnect()

    def __enter__(self) -> None:
        if not self._is_open:
            raise UnavailableError("The database is not connected.")
        self._count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()
