"""Runs a step on a database in another process: `run_elsewhere` there, the module itself as that process."""

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from shared.backends.base import Backend
from tests.contract.stores import Store

T = TypeVar("T")

_ROOT = Path(__file__).parents[2]


async def run_elsewhere(store: Store, step: Callable[[Backend], Awaitable[T]], *, killed: bool = False) -> T:
    """What a picklable step gives on an instance in a process of its own, which may be killed right after the step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contract.elsewhere",
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate(pickle.dumps((store, step, killed)))
    assert process.returncode == (-signal.SIGKILL if killed else 0)
    result: T = pickle.loads(answer)
    return result


async def _main() -> None:
    store, step, killed = pickle.load(sys.stdin.buffer)
    async with store.open() as backend:
        pickle.dump(await step(backend), sys.stdout.buffer)
        sys.stdout.flush()
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_main())
