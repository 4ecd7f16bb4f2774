"""Calls sent again: how long is waited, and what passes by itself."""

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from shared.backends.tables.calls import Caller
from shared.backends.tables.concurrency import together
from shared.errors import ConfigurationError, ThrottledError
from shared.timing import set_deadline


class Answer:
    """A refusal as the driver sees it."""

    status_code = 429
    reason = "Too Many Requests"

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def throttled(**headers: str) -> HttpResponseError:
    response: Any = Answer(**headers)
    return HttpResponseError(response=response)


class Sender:
    """Fails so many times with an error, or always."""

    def __init__(self, error: Exception, times: int | None = None) -> None:
        self.calls = 0
        self._error = error
        self._times = times

    async def __call__(self) -> str:
        self.calls += 1
        if self._times is None or self.calls <= self._times:
            raise self._error
        return "done"


@pytest.mark.parametrize("wait", ["0", "-1", "nan"])
async def test_no_time_to_wait(wait: str) -> None:
    """A server that asks for no pause gets one."""
    sender = Sender(throttled(Retry_After=wait))
    set_deadline(0.2)
    with pytest.raises(ThrottledError):
        await Caller("TEST").call(sender)
    assert sender.calls <= 11


@pytest.mark.parametrize(("wait", "told"), [("inf", 60.0), ("1e9", 60.0), ("soon", 1.0), ("7", 7.0)])
async def test_too_long_to_wait(wait: str, told: float) -> None:
    """The caller is told to wait for a time that passes."""
    set_deadline(0.5)
    with pytest.raises(ThrottledError) as raised:
        await Caller("TEST").call(Sender(throttled(Retry_After=wait)))
    assert raised.value.retry_after == told


async def test_an_identity_that_is_away_for_a_moment() -> None:
    """What hands out identities is asked again; where there is none, that is a matter of configuration."""
    assert await Caller("TEST").call(Sender(ClientAuthenticationError("away"), times=2)) == "done"
    set_deadline(0.3)
    with pytest.raises(ConfigurationError, match="TEST"):
        await Caller("TEST").call(Sender(ClientAuthenticationError("away")))


async def test_nothing_goes_on_after_an_error() -> None:
    """When one call fails, the others have ended before its error is raised."""
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await together(wait("a"), fail(), wait("b"))
    assert sorted(ended) == ["a", "b"]
