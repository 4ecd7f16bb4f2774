"""The work that a backend has in hand, which its disconnect waits for."""

import asyncio

from shared.errors import UnavailableError


class InHand:
    """Entered by each call of a backend, from `open` to `close`."""

    def __init__(self) -> None:
        self.is_open = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self) -> None:
        """Let work in."""
        self.is_open = True

    async def close(self) -> None:
        """Let no more in, and wait for what is in hand."""
        self.is_open = False
        await self._idle.wait()

    def __enter__(self) -> None:
        if not self.is_open:
            raise UnavailableError("The database is not connected.")
        self._count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()
