"""The loop in which a database's faults are waited out."""

import asyncio
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest

from shared.backends.retrying import Answer, Patience, RefusalError, Trouble, persist
from shared.errors import DeadlineError, UnavailableError
from shared.timing import set_deadline

QUICK = Patience(faults=3, first_pause=0.001, longest_pause=0.002)


class Fault(Exception):  # noqa: N818 - what a driver raises
    """A driver's error."""


class Sender:
    """Raises errors one by one, then gives a value."""

    def __init__(self, *errors: Exception) -> None:
        self._errors: Iterator[Exception] = iter(errors)
        self.sent = 0

    async def __call__(self) -> str:
        self.sent += 1
        for error in self._errors:
            raise error
        return "value"


def away(_: Exception) -> Trouble:
    return Trouble(UnavailableError("away"), lost=True)


def refused(_: Exception) -> NoReturn:
    raise RefusalError


async def test_faults_that_pass() -> None:
    """The call is sent again, and the answer says that one may have been lost."""
    assert await persist(Sender(), (Fault,), away, QUICK) == Answer("value", lost=False)
    send = Sender(Fault(), Fault())
    assert await persist(send, (Fault,), away, QUICK) == Answer("value", lost=True)
    assert send.sent == 3


async def test_a_fault_that_stays() -> None:
    """It is raised as ours, from the driver's, after as many attempts as there is patience for."""
    send = Sender(*[Fault()] * 9)
    with pytest.raises(UnavailableError) as caught:
        await persist(send, (Fault,), away, QUICK)
    assert send.sent == 4
    assert isinstance(caught.value.__cause__, Fault)


async def test_a_fault_that_is_final() -> None:
    """Nothing is sent again."""
    send = Sender(Fault())
    with pytest.raises(UnavailableError):
        await persist(send, (Fault,), lambda _: Trouble(UnavailableError("away"), final=True), QUICK)
    assert send.sent == 1


async def test_a_wait_past_the_deadline() -> None:
    """It is not begun."""
    set_deadline(5)
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        await persist(Sender(Fault()), (Fault,), lambda _: Trouble(UnavailableError("busy"), wait=60), QUICK)
    assert time.monotonic() - started < 2


async def test_a_refusal_after_a_lost_answer() -> None:
    """Whoever asked is told that an answer was lost."""
    meanings = iter([away, refused])

    def explain(error: Exception) -> Trouble:
        return next(meanings)(error)

    with pytest.raises(RefusalError) as caught:
        await persist(Sender(Fault(), Fault()), (Fault,), explain, QUICK)
    assert caught.value.lost


async def test_the_deadline() -> None:
    """What takes longer is ended; a driver's own time-out is a fault like others."""
    set_deadline(0.05)
    with pytest.raises(DeadlineError):
        await persist(lambda: asyncio.sleep(30), (Fault,), away, QUICK)
    set_deadline(30)
    assert (await persist(Sender(TimeoutError("theirs")), (OSError,), away, QUICK)).value == "value"
    with pytest.raises(TimeoutError, match="theirs"):
        await persist(Sender(TimeoutError("theirs")), (Fault,), away, QUICK)


def test_pauses() -> None:
    """They double from the first to the longest; the database's own wish stands before them."""
    patience = Patience(faults=9, first_pause=0.5, longest_pause=3)
    assert [patience.pause_after(faults, None) for faults in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert [patience.pause_after(1, wait) for wait in (0.1, 7)] == [0.5, 7]
