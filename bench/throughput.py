"""HTTP throughput of `serve` against a bare aiohttp handler, under the same load from a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from bench.data import mixture
from bench.measure import Context, Result, opened
from bench.writes import MIXED_DAYS
from tests.support.serve import Serve

_CONNECTIONS = 64
_SECONDS = 4.0


async def throughput(context: Context) -> list[Result]:
    """Creates and reads, mixed, on 64 connections; rounds of four seconds, in turn."""
    root = context.directory("mixed", mixture(context.records), MIXED_DAYS)
    await (await opened(root)).disconnect()
    with context.temporary() as folder:
        place = Path(folder)
        environment = {"DATABASE_DATA_DIR": str(root)}
        served, bare = [], []
        with Serve(Path.cwd(), state=place / "state", log=place / "log", environment=environment) as serve:
            async with _bare_server() as port:
                for number in range(context.rounds):
                    served.append(await _load(serve.port, number))
                    bare.append(await _load(port, number))
    rates = [ours["requests_per_s"] / theirs["requests_per_s"] for ours, theirs in zip(served, bare, strict=True)]
    figures = {
        "serve_per_s": median(one["requests_per_s"] for one in served),
        "bare_per_s": median(one["requests_per_s"] for one in bare),
        "ratio": median(rates),
        "serve_p50_ms": median(one["p50_ms"] for one in served),
        "serve_p99_ms": median(one["p99_ms"] for one in served),
        "bare_p99_ms": median(one["p99_ms"] for one in bare),
        "failures_count": sum(one["failures"] for one in served),
    }
    name = "HTTP throughput of serve, 64 connections"
    return [Result(name, context.records, figures, "a quarter of bare aiohttp", median(rates) >= 0.25)]


@asynccontextmanager
async def _bare_server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.bare", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def _load(port: int, number: int) -> dict[str, float]:
    seed = os.getpid() * 1_000 + number
    arguments = (str(port), str(_SECONDS), str(_CONNECTIONS), str(seed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, "the load generator failed"
    figures: dict[str, float] = json.loads(output)
    return figures
