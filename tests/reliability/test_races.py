"""Four processes and two hundred tasks work on one directory: counts are exact and every read is right meanwhile."""

import asyncio
import pickle
import sys
from collections import Counter
from pathlib import Path

from shared.query import Stored
from shared.timestamps import shift
from tests.contract.steps import kept
from tests.reliability.conftest import Effort
from tests.reliability.handmade import answers, opened
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.reliability.racer import DAYS, MODEL, Plan, Report
from tests.support.environment import REPOSITORY
from tests.support.records import START, make

PROCESSES = 4
TASKS = 50


async def test_processes_that_race_keep_exact_accounts(folder: Path, effort: Effort) -> None:
    """What each process was told it left is there, nothing else is, and no count of a shared counter is lost."""
    for run in range(effort.times(1, 20)):
        root = folder / f"data-{run}"
        steady, counters = await prepared(root)
        seed = effort.chance(run).getrandbits(32)
        plans = [Plan(root, number, seed, TASKS, effort.times(5, 15), steady, counters) for number in range(PROCESSES)]
        reports = await raced(plans)
        await check(root, steady, counters, reports)
        assert all(report.walks and report.stale for report in reports)


async def prepared(root: Path) -> tuple[list[Stored], list[str]]:
    """Records that stay as they are, in the order of a list, and counters at zero."""
    steady = [proven(MODEL, f"steady-{n:03}", shift(START, days=n % DAYS, minutes=n), size=40 + n % 3 * 300) for n in range(60)]
    counters = [f"counter-{number}" for number in range(3)]
    async with opened(root) as backend:
        kept_steady = [kept(outcome) for outcome in await backend.create_many(MODEL, steady)]
        await backend.create_many(MODEL, [make(MODEL, id=name, timestamp=START, metadata={"n": 0}) for name in counters])
    return sorted(kept_steady, key=lambda stored: stored.key), counters


async def raced(plans: list[Plan]) -> list[Report]:
    """The reports of processes that started at the same time."""
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.reliability.racer",
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        for _ in plans
    ]
    for racer, plan in zip(racers, plans, strict=True):
        assert racer.stdin is not None
        racer.stdin.write(pickle.dumps(plan))
        await racer.stdin.drain()
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    answers_ = await asyncio.gather(*(racer.communicate(b"") for racer in racers))
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return [pickle.loads(output) for output, _ in answers_]


async def check(root: Path, steady: list[Stored], counters: list[str], reports: list[Report]) -> None:
    """The directory holds what the reports add up to, by every way of reading and in the lines themselves."""
    expected = {stored.id: stored.record for stored in steady}
    for report in reports:
        expected |= {name: stored.record for name, stored in report.left.items()}
    increments = sum((report.increments for report in reports), Counter[str]())
    async with opened(root) as backend:
        found = await answers(backend)
    for name in counters:
        assert found.pop(name)["metadata"] == {"n": increments[name]}
    assert found == expected
    lines = said(root, MODEL)
    assert {name: record for name, record in lines.items() if name not in counters} == expected
    assert not set().union(*(report.gone for report in reports)) & set(lines)
