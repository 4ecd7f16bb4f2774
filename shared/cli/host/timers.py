"""Runs timer functions on their schedules, one run of a timer at a time, and one that was missed when the host starts.

When a timer ran last is kept in one small JSON file a function below the state folder, where the real host has the
`azure-webjobs-hosts` container. The rules of what is past due are those of its schedule monitor.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from azure.functions.timer import TimerRequest

from shared.ncrontab import Schedule

logger = logging.getLogger("shared.host.timers")

Clock = Callable[[], datetime]
LONGEST_SLEEP_SECONDS = 30.0


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Status:
    """What is remembered of a timer; `last` is None until it has run."""

    last: datetime | None
    next: datetime | None
    updated: datetime

    def to_json(self) -> dict[str, str | None]:
        return {
            "Last": self.last.isoformat() if self.last else None,
            "Next": self.next.isoformat() if self.next else None,
            "LastUpdated": self.updated.isoformat(),
        }


def check_past_due(status: Status | None, schedule: Schedule, now: datetime) -> tuple[Status, bool]:
    """The status to go on from, and whether an occurrence was missed. A changed schedule starts anew."""
    if status is None:
        return Status(None, schedule.after(now), now), False
    expected = schedule.after(status.last or status.updated)
    if status.next != expected:
        if expected is not None and expected < now:
            return Status(None, schedule.after(now), now), False
        status = Status(None, expected, status.updated)
    return status, status.next is not None and status.next < now


class StatusFile:
    """One timer's status on disk. A file that can't be read or written costs a warning, never a run."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{quote(name, safe='')}.json"

    def read(self) -> Status | None:
        try:
            data = json.loads(self._path.read_bytes())
            return Status(_moment(data["Last"]), _moment(data["Next"]), datetime.fromisoformat(data["LastUpdated"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("timer status can't be read", extra={"path": str(self._path), "reason": str(error)})
            return None

    def write(self, status: Status) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(status.to_json()) + "\n", encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            logger.warning("timer status can't be written", extra={"path": str(self._path), "reason": str(error)})


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


Invoke = Callable[[TimerRequest], Awaitable[None]]


class Timer:
    """One timer function. `invoke` runs it and raises nothing; without a `status_file` missed runs are not made up for."""

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        invoke: Invoke,
        *,
        run_on_startup: bool = False,
        status_file: StatusFile | None = None,
        now: Clock = utc_now,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self._invoke = invoke
        self._run_on_startup = run_on_startup
        self._status_file = status_file
        self._status: Status | None = None
        self._now = now
        self._one_at_a_time = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self._runs: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run_for_ever())

    def run_now(self) -> None:
        """Run once beside the schedule, after the run in hand if there is one. Returns at once."""
        self._spawn(past_due=False)

    async def stop(self) -> None:
        """Schedule nothing more and wait for the runs in hand."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait({self._loop})
        if self._runs:
            await asyncio.wait(self._runs)

    async def _run_for_ever(self) -> None:
        moment = self._now()
        past_due = self._recall(moment)
        if past_due or self._run_on_startup:
            await self._scheduled(moment, past_due=past_due)
        while (due := self.schedule.after(max(moment, self._now()))) is not None:
            await self._sleep_until(due)
            moment = due
            await self._scheduled(due, past_due=False)

    def _recall(self, now: datetime) -> bool:
        if self._status_file is None:
            return False
        before = self._status_file.read()
        self._status, past_due = check_past_due(before, self.schedule, now)
        if self._status != before:
            self._status_file.write(self._status)
        return past_due

    async def _sleep_until(self, due: datetime) -> None:
        """In short naps, for the wall clock may jump and a laptop may sleep."""
        while (seconds := (due - self._now()).total_seconds()) > 0:  # noqa: ASYNC110 - nothing else tells the time
            await asyncio.sleep(min(seconds, LONGEST_SLEEP_SECONDS))

    async def _scheduled(self, due: datetime, *, past_due: bool) -> None:
        await asyncio.shield(self._spawn(past_due=past_due, due=due))

    def _spawn(self, *, past_due: bool, due: datetime | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(past_due=past_due, due=due))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return task

    async def _run(self, *, past_due: bool, due: datetime | None) -> None:
        async with self._one_at_a_time:
            if past_due:
                logger.info("timer is past due", extra={"function": self.name})
            started = self._now()
            await self._invoke(
                TimerRequest(
                    past_due=past_due,
                    schedule_status=self._status.to_json() if self._status else None,
                    schedule={"AdjustForDST": True},
                )
            )
            if due is not None and self._status_file is not None:
                last = max(started, due)
                self._status = Status(last, self.schedule.after(last), self._now())
                self._status_file.write(self._status)
