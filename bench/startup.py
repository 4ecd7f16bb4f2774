"""Starts: opening a directory, building its index anew, importing the app."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from statistics import median

from bench.data import mixture
from bench.measure import MS, Context, Result, interleaved, least, opened
from bench.writes import MIXED_DAYS

_IMPORTS = 15
_CODE = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"


async def open_directory(context: Context) -> list[Result]:
    """Opening a directory whose index is up to date."""
    root = context.directory("mixed", mixture(context.records), MIXED_DAYS)
    await (await opened(root)).disconnect()
    taken = []
    for _ in range(max(context.rounds, 5)):
        started = asyncio.get_running_loop().time()
        backend = await opened(root)
        taken.append(asyncio.get_running_loop().time() - started)
        await backend.disconnect()
    figures = {"ms": median(taken) * MS}
    return [Result("open with a fresh index", context.records, figures, "300 ms", median(taken) < 0.3)]


async def rebuild(context: Context) -> list[Result]:
    """Building the index from all lines."""
    root = context.directory("mixed", mixture(context.records), MIXED_DAYS)
    rates = []
    for _ in range(1 if context.records >= 1_000_000 else 3):
        shutil.rmtree(root / ".index", ignore_errors=True)
        started = asyncio.get_running_loop().time()
        backend = await opened(root)
        rates.append(context.records / (asyncio.get_running_loop().time() - started))
        await backend.disconnect()
    figures = {"lines_per_s": max(rates), "s": context.records / max(rates)}
    return [Result("rebuild of the index", context.records, figures, "50,000 lines a second", max(rates) >= 50_000)]


async def import_app(context: Context) -> list[Result]:
    """Importing the app in a new process against importing what it can't do without."""

    async def app() -> float:
        return await _import_seconds("function_app")

    async def libraries() -> float:
        return await _import_seconds("azure.functions, pydantic")

    await app()
    await libraries()
    measured = await interleaved(max(context.rounds, _IMPORTS), {"app": app, "libraries": libraries})
    ratio = median(measured["app"]) / median(measured["libraries"])
    figures = {
        "function_app_ms": median(measured["app"]) * MS,
        "libraries_ms": median(measured["libraries"]) * MS,
        "ratio": ratio,
        "least_disturbed_ratio": least(measured["app"]) / least(measured["libraries"]),
    }
    return [Result("import of function_app", None, figures, "1.3 times", ratio <= 1.3)]


async def _import_seconds(modules: str) -> float:
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path.cwd())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CODE.format(modules), stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, "the import failed"
    return float(output)
