"""Connecting and disconnecting: once each, whoever asks, and never under work in hand."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.backends.in_hand import InHand
from shared.errors import UnavailableError


class Steps:
    """What was done, each step of which takes a turn of the loop."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def step(self, name: str) -> Callable[[], Awaitable[None]]:
        async def take() -> None:
            await asyncio.sleep(0)
            self.done.append(name)

        return take


async def test_many_at_once() -> None:
    """All who connect share one connection, and all who disconnect one end."""
    steps, in_hand = Steps(), InHand()
    await asyncio.gather(*(in_hand.open(steps.step("connected")) for _ in range(3)))
    await asyncio.gather(*(in_hand.close(steps.step("disconnected")) for _ in range(3)))
    assert steps.done == ["connected", "disconnected"]


async def test_disconnecting_while_it_connects() -> None:
    """The one that came first is done first."""
    steps, in_hand = Steps(), InHand()
    await asyncio.gather(in_hand.open(steps.step("connected")), in_hand.close(steps.step("disconnected")))
    assert steps.done == ["connected", "disconnected"]


async def test_a_connection_that_fails() -> None:
    """No work is let in, and it may be tried again."""
    steps, in_hand = Steps(), InHand()

    async def fail() -> None:
        raise ConnectionError("nobody is there")

    with pytest.raises(ConnectionError, match="nobody"):
        await in_hand.open(fail)
    with pytest.raises(UnavailableError), in_hand:
        pass
    await in_hand.open(steps.step("connected"))
    with in_hand:
        assert steps.done == ["connected"]


async def test_work_in_hand() -> None:
    """Disconnecting lets no more in, and waits for what is."""
    steps, in_hand = Steps(), InHand()
    await in_hand.open(steps.step("connected"))
    with in_hand:
        leaving = asyncio.create_task(in_hand.close(steps.step("disconnected")))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError), in_hand:
            pass
        assert steps.done == ["connected"]
    await leaving
    assert steps.done == ["connected", "disconnected"]


async def test_a_disconnect_that_is_given_up() -> None:
    """It disconnects nonetheless, and work that was in hand does not hold up the next connection."""
    steps, in_hand = Steps(), InHand()
    await in_hand.open(steps.step("connected"))
    with in_hand:
        leaving = asyncio.create_task(in_hand.close(steps.step("disconnected")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert steps.done == ["connected", "disconnected"]
        await in_hand.open(steps.step("connected again"))
    with in_hand:
        assert steps.done[-1] == "connected again"
