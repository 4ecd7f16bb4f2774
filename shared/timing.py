"""Timers for operations that take several steps, on a monotonic clock, and the deadline of the request in hand."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

Clock = Callable[[], float]

MAX_OPEN_TIMERS = 10_000


@dataclass(slots=True)
class Timer:
    """Times one operation. Durations are milliseconds since it started."""

    clock: Clock = time.monotonic
    started: float = field(init=False)
    checkpoints: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def checkpoint(self, name: str) -> None:
        """Note the time that has passed under a name; the same name again overwrites it."""
        self.checkpoints[name] = self.elapsed()

    def elapsed(self) -> float:
        """Milliseconds since the start, to the microsecond."""
        return round((self.clock() - self.started) * 1000, 3)

    def result(self) -> dict[str, object]:
        """`totalDuration` and `checkpoints`, in ms."""
        return {"totalDuration": self.elapsed(), "checkpoints": dict(self.checkpoints)}


class Timers:
    """Timers by operation id. The oldest is dropped when more than `limit` are open, so abandoned ones don't pile up."""

    def __init__(self, clock: Clock = time.monotonic, limit: int = MAX_OPEN_TIMERS) -> None:
        self._clock = clock
        self._limit = limit
        self._open: OrderedDict[str, Timer] = OrderedDict()

    def start(self, operation_id: str) -> None:
        """Start timing; an operation that is already timed starts anew."""
        self._open.pop(operation_id, None)
        self._open[operation_id] = Timer(self._clock)
        if len(self._open) > self._limit:
            self._open.popitem(last=False)

    def checkpoint(self, operation_id: str, name: str) -> None:
        """Note a checkpoint. Raises KeyError for an operation that was not started."""
        self._timer(operation_id).checkpoint(name)

    def end(self, operation_id: str) -> dict[str, object]:
        """Stop timing: `totalDuration` and `checkpoints` in ms. Raises KeyError for an operation that was not started."""
        timer = self._timer(operation_id)
        del self._open[operation_id]
        return timer.result()

    def _timer(self, operation_id: str) -> Timer:
        try:
            return self._open[operation_id]
        except KeyError:
            raise KeyError(f"no timer was started for operation {operation_id!r}") from None


_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_deadline(seconds: float) -> None:
    """Give the request in hand this many seconds from now."""
    _deadline.set(time.monotonic() + seconds)


def remaining_seconds() -> float | None:
    """What is left of the deadline, never below 0; None outside a request."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())
