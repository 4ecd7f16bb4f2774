"""Timers and the request's deadline, on a clock that the test turns."""

from contextvars import copy_context

import pytest

from shared.timing import Timer, Timers, remaining_seconds, set_deadline


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_timer_counts_milliseconds_from_its_start() -> None:
    """Checkpoints and the total are milliseconds since the start."""
    clock = Clock()
    timers = Timers(clock)
    timers.start("one")
    clock.seconds += 0.25
    timers.checkpoint("one", "enhance")
    clock.seconds += 0.5
    assert timers.end("one") == {"totalDuration": 750.0, "checkpoints": {"enhance": 250.0}}


@pytest.mark.parametrize("use", [lambda timers: timers.checkpoint("x", "y"), lambda timers: timers.end("x")])
def test_an_operation_that_was_not_started_is_an_error(use: object) -> None:
    """Neither a checkpoint nor an end is taken for an operation nobody started."""
    with pytest.raises(KeyError, match="'x'"):
        use(Timers())  # type: ignore[operator]


def test_an_ended_timer_is_gone() -> None:
    """A second end is an error, so that no duration is reported twice."""
    timers = Timers()
    timers.start("one")
    timers.end("one")
    with pytest.raises(KeyError):
        timers.end("one")


def test_abandoned_timers_make_room() -> None:
    """The oldest open timer is dropped when there are too many."""
    timers = Timers(limit=2)
    for name in ("one", "two", "three"):
        timers.start(name)
    with pytest.raises(KeyError):
        timers.end("one")
    assert timers.end("three")["checkpoints"] == {}


def test_starting_again_starts_anew() -> None:
    """An operation that is started twice counts from the second start."""
    clock = Clock()
    timers = Timers(clock)
    timers.start("one")
    clock.seconds += 5
    timers.start("one")
    assert timers.end("one")["totalDuration"] == 0


def test_a_timer_by_itself_can_be_read_while_it_runs() -> None:
    """A running timer tells what has passed."""
    clock = Clock()
    timer = Timer(clock)
    clock.seconds += 0.001
    assert timer.elapsed() == 1.0


def remaining_after(seconds: float) -> float | None:
    """What is left of a deadline, in a context that ends with the call."""

    def ask() -> float | None:
        set_deadline(seconds)
        return remaining_seconds()

    return copy_context().run(ask)


def test_a_deadline_runs_out_at_zero() -> None:
    """What remains never falls below zero, and outside a request there is no deadline."""
    remaining = remaining_after(60)
    assert remaining is not None
    assert 59 < remaining <= 60
    assert remaining_after(-1) == 0.0
    assert remaining_seconds() is None
