"""Timers: NCRONTAB, what is past due, one run at a time."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.functions.timer import TimerRequest
from hypothesis import given
from hypothesis import strategies as st

from shared.cli.host.timers import Status, StatusFile, Timer, check_past_due
from shared.ncrontab import Schedule

HOURLY = Schedule("0 0 * * * *")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Recorder:
    """Stands for a timer function: notes its calls, and waits in each until it is released."""

    def __init__(self) -> None:
        self.calls: list[TimerRequest] = []
        self.running = 0
        self.most_running = 0
        self.called = asyncio.Semaphore(0)
        self.release = asyncio.Event()

    async def __call__(self, request: TimerRequest) -> None:
        self.calls.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.called.release()
        await self.release.wait()
        self.running -= 1


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 30 3 * * *", "2026-01-01T00:00:00", "2026-01-01T03:30:00"),
        ("0 30 3 * * *", "2026-01-01T03:30:00", "2026-01-02T03:30:00"),
        ("*/5 * * * * *", "2026-01-01T00:00:01.9", "2026-01-01T00:00:05"),
        ("0 */15 9-17 * * MON-FRI", "2026-01-02T17:50:00", "2026-01-05T09:00:00"),
        ("0 0 0 1 JAN,jul *", "2026-01-02T00:00:00", "2026-07-01T00:00:00"),
        ("0 0 0 1 January *", "2026-01-02T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 0 * * Sunday", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("10/20 * * * * *", "2026-01-01T00:00:00", "2026-01-01T00:00:10"),
        ("30 3 * * *", "2026-01-01T00:00:00", "2026-01-01T03:30:00"),
    ],
)
def test_the_next_occurrence(expression: str, after: str, expected: str) -> None:
    """Six fields, ranges, steps, lists and names in any case; five fields run at second 0."""
    assert Schedule(expression).after(at(after)) == at(expected)


def test_day_and_weekday_must_both_match() -> None:
    """The 13th and Friday means Friday the 13th, which cron would take as either."""
    schedule = Schedule("0 0 0 13 * FRI")
    moment = at("2026-01-01T00:00:00")
    found = []
    for _ in range(4):
        occurrence = schedule.after(moment)
        assert occurrence is not None
        found.append(moment := occurrence)
    assert [f"{day:%Y-%m-%d}" for day in found] == ["2026-02-13", "2026-03-13", "2026-11-13", "2027-08-13"]


@given(
    st.sampled_from(["0 0 0 1-7 * MON", "0 0 */6 10,20 * 1-5", "*/20 5 * 31 1-3 *", "0 0 12 28 * SAT"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - a zone follows
)
def test_an_occurrence_is_later_and_nothing_is_skipped(expression: str, moment: datetime) -> None:
    """An occurrence is later than the moment, and asked from just before it, it is found again."""
    moment = moment.replace(tzinfo=UTC)
    occurrence = Schedule(expression).after(moment)
    assert occurrence is not None
    assert occurrence > moment
    assert Schedule(expression).after(occurrence - timedelta(seconds=1)) == occurrence


def test_a_day_that_never_comes_has_no_occurrence() -> None:
    """A schedule that no date satisfies is answered, not searched for ever."""
    assert Schedule("0 0 0 31 4,6 MON").after(at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * * *", "60 * * * * *", "* * 24 * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 7"),
        *("* * * L * *", "* * * LW * *", "* * * * * 5L", "* * * * * MON#2", "* * ? * * *", "5-1 * * * * *", "*/0 * * * * *"),
        *("x * * * * *", "* * * * FOO *", "00:05:00", "@daily", "-1 * * * * *", "1,, * * * * *"),
    ],
)
def test_what_is_not_ncrontab_is_refused(expression: str) -> None:
    """An expression that the real host refuses, or reads another way, names itself in the error."""
    with pytest.raises(ValueError, match="is not"):
        Schedule(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/5 * * * * *", True),
        ("10,20 * * * * *", True),
        ("* * * * * *", True),
        ("0 * * * * *", False),
        ("* 1-5 * * * *", False),
    ],
)
def test_only_a_schedule_within_every_minute_is_sub_minute(expression: str, expected: bool) -> None:  # noqa: FBT001
    """The host keeps no status for a timer that always recurs within a minute."""
    assert Schedule(expression).is_sub_minute is expected


NOW = at("2026-01-01T12:30:00")
STATUSES = [
    pytest.param(None, False, "13:00", id="never seen"),
    pytest.param(Status(at("2026-01-01T12:00:01"), at("2026-01-01T13:00:00"), NOW), False, "13:00", id="on time"),
    pytest.param(Status(at("2026-01-01T10:00:01"), at("2026-01-01T11:00:00"), NOW), True, "11:00", id="missed"),
    pytest.param(Status(None, at("2026-01-01T11:00:00"), at("2026-01-01T10:10:00")), True, "11:00", id="missed its first"),
    pytest.param(Status(None, at("2026-01-01T13:00:00"), at("2026-01-01T12:10:00")), False, "13:00", id="waits for its first"),
    pytest.param(Status(at("2026-01-01T03:00:00"), at("2026-01-02T03:00:00"), NOW), False, "13:00", id="schedule changed"),
]


@pytest.mark.parametrize(("status", "past_due", "following"), STATUSES)
def test_past_due(status: Status | None, past_due: bool, following: str) -> None:  # noqa: FBT001
    """A run is past due where one was expected since the last; a new or changed schedule owes nothing."""
    found, is_past_due = check_past_due(status, HOURLY, NOW)
    assert (is_past_due, found.next) == (past_due, at(f"2026-01-01T{following}:00"))


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A status survives its file, for any function's name."""
    status = Status(NOW, at("2026-01-01T13:00:00"), NOW)
    StatusFile(tmp_path / "timers", "a/b é").write(status)
    assert StatusFile(tmp_path / "timers", "a/b é").read() == status


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"Last": 1, "Next": null, "LastUpdated": null}', "\xff"])
def test_a_broken_status_counts_as_none(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    """A status file that can't be read costs a warning."""
    (tmp_path / "tick.json").write_bytes(content.encode("latin-1"))
    assert StatusFile(tmp_path, "tick").read() is None
    assert "timer status can't be read" in caplog.text


async def test_a_missed_run_is_made_on_start_and_remembered(tmp_path: Path) -> None:
    """After a start past the expected time the function runs at once, told that it is past due, and once only."""
    file = StatusFile(tmp_path, "tick")
    file.write(Status(at("2026-01-01T10:00:00"), at("2026-01-01T11:00:00"), NOW))
    calls = Recorder()
    calls.release.set()
    timer = Timer("tick", HOURLY, calls, status_file=file, now=lambda: NOW)
    timer.start()
    await calls.called.acquire()
    await timer.stop()
    assert [(call.past_due, call.schedule_status["Next"]) for call in calls.calls] == [(True, "2026-01-01T11:00:00+00:00")]
    assert json.loads((tmp_path / "tick.json").read_text())["Next"] == "2026-01-01T13:00:00+00:00"


async def test_a_timer_seen_for_the_first_time_leaves_its_next_run(tmp_path: Path) -> None:
    """The first start writes a status, so that a first run which is missed is noticed."""
    calls = Recorder()
    timer = Timer("tick", HOURLY, calls, run_on_startup=True, status_file=StatusFile(tmp_path, "tick"), now=lambda: NOW)
    calls.release.set()
    timer.start()
    await calls.called.acquire()
    await timer.stop()
    assert [call.past_due for call in calls.calls] == [False]
    assert json.loads((tmp_path / "tick.json").read_text())["Next"] == "2026-01-01T13:00:00+00:00"


async def test_runs_of_a_timer_never_overlap() -> None:
    """Runs that are asked for while one is in hand follow it, one after the other."""
    calls = Recorder()
    timer = Timer("tick", HOURLY, calls)
    for _ in range(3):
        timer.run_now()
    await calls.called.acquire()
    assert len(calls.calls) == 1
    calls.release.set()
    await timer.stop()
    assert (len(calls.calls), calls.most_running) == (3, 1)


async def test_a_stop_waits_for_the_run_in_hand() -> None:
    """Stopping schedules nothing more, and is done when the run is."""
    calls = Recorder()
    timer = Timer("tick", Schedule("* * * * * *"), calls, run_on_startup=True)
    timer.start()
    await calls.called.acquire()
    stopping = asyncio.create_task(timer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=0.05)
    assert not done
    calls.release.set()
    await stopping
    assert calls.running == 0
    assert len(calls.calls) == 1


async def test_a_schedule_that_is_due_runs() -> None:
    """A timer runs at its occurrences and not between them: two of them are a second apart."""
    calls = Recorder()
    calls.release.set()
    timer = Timer("tick", Schedule("* * * * * *"), calls)
    started = datetime.now(UTC)
    timer.start()
    await calls.called.acquire()
    await calls.called.acquire()
    elapsed = datetime.now(UTC) - started
    await timer.stop()
    assert timedelta(seconds=1) <= elapsed < timedelta(seconds=10)
    assert not any(call.past_due for call in calls.calls)
