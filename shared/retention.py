"""How long records are kept, and their removal afterwards in bounded batches. Reads apply the same rule at once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.backends.base import Backend
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import PUBLIC_MODELS, Record, State, UserSession
from shared.query import Hidden, Key, Page, Query, Stored
from shared.sessions import last_activities
from shared.timestamps import format_timestamp, shift

BATCH = 10_000
_SESSION_BATCH = 1_000
"""Sessions are looked at with an aggregate over their ids, which should stay of a reasonable size."""
BUDGET_SECONDS = 240.0
STATE_ID = "retention"


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days per model name; 0 or none keeps for ever."""

    days: Mapping[str, int]

    def cutoff(self, model: type[Record], now: str) -> str | None:
        """The first timestamp that is still kept; None where nothing expires."""
        days = self.days.get(model.__name__, 0)
        return shift(now, days=-days) if days else None

    def cutoffs(self, now: str) -> dict[type[Record], str | None]:
        """The cutoff of every public model."""
        return {model: self.cutoff(model, now) for model in PUBLIC_MODELS}

    @property
    def keeps_everything(self) -> bool:
        return not any(self.days.values())


@dataclass(slots=True)
class RetentionReport:
    """What a run removed and left, by model name. `duration_ms` is the run's own time."""

    past_due: bool
    removed: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    duration_ms: int = 0

    def as_event(self) -> dict[str, Any]:
        """The SystemEventLog that tells of the run."""
        total = sum(self.removed.values())
        rest = f"; more is left of {', '.join(self.left)}" if self.left else ""
        return {
            "eventType": "retention",
            "component": "retention",
            "level": "warn" if self.left else "info",
            "message": f"Removed {total} records past their retention{rest}.",
            "details": {
                "removed": self.removed,
                "left": self.left,
                "durationMs": self.duration_ms,
                "pastDue": self.past_due,
            },
        }


class RetentionRun:
    """One run: a batch of each model in turn, oldest first, until nothing is past its days or the budget is spent.

    What is left is found again by the next run, since the oldest come first. Old sessions that are still active are
    passed over with a cursor kept in `State`, so that a run starts where the last one stopped.
    """

    def __init__(
        self,
        backend: Backend,
        policy: RetentionPolicy,
        clock: Callable[[], datetime],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        budget_seconds: float = BUDGET_SECONDS,
        batch: int = BATCH,
    ) -> None:
        self._backend = backend
        self._policy = policy
        self._clock = clock
        self._monotonic = monotonic
        self._budget = budget_seconds
        self._batch = batch

    async def run(self, *, past_due: bool = False) -> RetentionReport:
        """Remove what is past its days. Raises what the backend raises; what was removed until then stays removed."""
        started = self._monotonic()
        now = format_timestamp(self._clock())
        cutoffs = {model: cutoff for model, cutoff in self._policy.cutoffs(now).items() if cutoff is not None}
        report = RetentionReport(past_due, {model.__name__: 0 for model in cutoffs})
        state = await self._backend.find_by_id(State, STATE_ID)
        cursor = _cursor_of(state)
        open_models = list(cutoffs)
        while open_models and self._monotonic() - started < self._budget:
            for model in tuple(open_models):
                if model is UserSession:
                    count, cursor = await self._remove_sessions(cutoffs[model], cursor, now)
                    more = cursor is not None
                else:
                    deleted = await self._backend.delete_where(self._past(model, cutoffs[model]))
                    count, more = deleted.count, deleted.more
                report.removed[model.__name__] += count
                if not more:
                    open_models.remove(model)
        report.left = [model.__name__ for model in open_models]
        report.duration_ms = round((self._monotonic() - started) * 1000)
        await self._remember(state, report, cursor, now)
        return report

    def _past(self, model: type[Record], cutoff: str, after: Key | None = None) -> Query:
        limit = min(self._batch, _SESSION_BATCH) if model is UserSession else self._batch
        return Query(model, until=cutoff, descending=False, after=after, limit=limit)

    async def _remove_sessions(self, cutoff: str, cursor: Key | None, now: str) -> tuple[int, Key | None]:
        """Purges rather than deletes: no file of the sessions' days need ever become old enough to go as a whole."""
        query = self._past(UserSession, cutoff, cursor)
        page, past = await self._past_sessions(query, cutoff, now)
        removed = 0
        if past:
            _, still_past = await self._past_sessions(query, cutoff, now)  # a record may have come meanwhile
            removed = await self._backend.purge(UserSession, sorted(past & still_past))
        return removed, page.next

    async def _past_sessions(self, query: Query, cutoff: str, now: str) -> tuple[Page, set[str]]:
        page = await self._backend.find(query)
        activities = await last_activities(self._backend, page.items, self._policy.cutoffs(now))
        return page, {session.id for session, activity in zip(page.items, activities, strict=True) if activity < cutoff}

    async def _remember(self, state: Stored | None, report: RetentionReport, cursor: Key | None, now: str) -> None:
        data = {"removed": report.removed, "left": report.left, "lastRun": now, "cursor": list(cursor) if cursor else None}
        record = {"id": STATE_ID, "timestamp": now, "category": "retention", "data": data, "metadata": {}}
        if state is None:
            await self._backend.create(State, Stored({**record, "createdAt": now, "updatedAt": now}, Hidden()))
            return
        record |= {"timestamp": state.timestamp, "createdAt": state.record["createdAt"], "updatedAt": now}
        try:
            await self._backend.update(State, Stored(record, state.hidden), state.etag)
        except (NotFoundError, PreconditionFailedError):
            return  # another run has told its own state since


def _cursor_of(state: Stored | None) -> Key | None:
    cursor = state.record["data"].get("cursor") if state is not None else None
    return Key(*cursor) if cursor else None
