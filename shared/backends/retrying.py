"""Calls that are sent again: the one loop that waits out what may pass, within the deadline of the request in hand.

No driver sends anything twice by itself: after a lost answer nobody knows what the server did, so whoever asked is told
(`Answer.lost`, `RefusalError.lost`) and settles what the next answer means. What a driver's errors mean is said in its
backend's `calls.py`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from shared.errors import ConfigurationError, DeadlineError, ServiceError
from shared.timing import remaining_seconds

_DEFAULT_SECONDS = 30.0
"""How long a call goes on where no request's deadline is set."""

T = TypeVar("T")


class Patience(NamedTuple):
    """How many faults are waited out, with pauses that double from the first to the longest, in seconds."""

    faults: int
    first_pause: float = 0.04
    longest_pause: float = 2.0

    def pause_after(self, faults: int, wait: float | None) -> float:
        """Seconds until the next attempt; `wait` as in Trouble."""
        if wait is not None:
            return max(self.first_pause, wait)
        return min(self.longest_pause, self.first_pause * 2.0 ** (faults - 1))


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a call gave; `lost` when the answer to an earlier attempt was lost."""

    value: T
    lost: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """One failed attempt: what to answer when it stays so.

    `wait` is how long the database asks to wait, in seconds (None: as our own pauses go). `lost` when the work may have been
    done after all, `final` when trying again does not help.
    """

    error: ServiceError | ConfigurationError
    wait: float | None = None
    lost: bool = False
    final: bool = False


class RefusalError(Exception):
    """The server refused a call for what it holds, so that trying again does not help. `lost` as in Answer."""

    lost = False


async def persist(
    send: Callable[[], Awaitable[T]],
    caught: tuple[type[Exception], ...],
    explain: Callable[[Any], Trouble],
    patience: Patience,
) -> Answer[T]:
    """What `send` gives, sent again after each of the errors `caught` that may pass.

    `explain` says what such an error means, or raises what trying again can't help. Raises DeadlineError, the error of the
    last trouble, and what `explain` raises.
    """
    remaining = remaining_seconds()
    end = time.monotonic() + (_DEFAULT_SECONDS if remaining is None else remaining)
    expected: tuple[type[Exception], ...] = (TimeoutError, *caught)
    lost, faults = False, 0
    while True:
        limit = asyncio.timeout(max(0.0, end - time.monotonic()))
        try:
            async with limit:
                return Answer(await send(), lost)
        except expected as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise DeadlineError("The database did not answer in time.") from error
            if not isinstance(error, caught):
                raise
            try:
                trouble = explain(error)
            except RefusalError as refusal:
                refusal.lost = lost
                raise
            lost = lost or trouble.lost
            faults += trouble.wait is None
            pause = patience.pause_after(faults, trouble.wait)
            if trouble.final or faults > patience.faults or time.monotonic() + pause >= end:
                raise trouble.error from error
        await asyncio.sleep(pause)
