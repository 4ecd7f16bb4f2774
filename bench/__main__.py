"""`python -m bench`: runs the benchmarks, prints tables, and writes them and the figures to bench/results/."""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.forget import purge, retention
from bench.handler import handler
from bench.measure import Context, Result
from bench.others import others
from bench.reads import find, memory, page, stats
from bench.startup import import_app, open_directory, rebuild
from bench.tables import bars_table, growth_table
from bench.throughput import throughput
from bench.writes import batch, create, group

Benchmark = Callable[[Context], Awaitable[list[Result]]]

SIZES = (10_000, 100_000, 1_000_000)
LEAST = 4_000
"""What three purges of 1,000 records need."""
RESULTS = Path(__file__).parent / "results"
BENCHMARKS: Mapping[str, Benchmark] = {
    "open": open_directory,
    "rebuild": rebuild,
    "create": create,
    "group": group,
    "batch": batch,
    "others": others,
    "find": find,
    "page": page,
    "stats": stats,
    "memory": memory,
    "import": import_app,
    "handler": handler,
    "http": throughput,
    "retention": retention,
    "purge": purge,
}
_ONCE = frozenset({"import", "handler"})
"""What does not depend on how many records there are."""


def main() -> int:
    """Parse the command line, run, report."""
    options = _options()
    if not LEAST <= options.records <= SIZES[-1] * 10:
        raise SystemExit(f"--records must be {LEAST:,} to {SIZES[-1] * 10:,}")
    smaller = () if options.single else (size for size in SIZES if size < options.records)
    started = datetime.now(UTC)
    results = [
        result for size in (*smaller, options.records) for result in _run(size, options, is_last=size == options.records)
    ]
    machine = {
        "started": started.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    _report(machine, results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--records", type=int, default=SIZES[-1], help="how many records at most (default: %(default)s)")
    parser.add_argument("--single", action="store_true", help="that many only, without the smaller sizes before")
    parser.add_argument("--only", type=_names, default=tuple(BENCHMARKS), help=f"some of {','.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make the data, about 3 GB (default: a temporary folder)")
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(BENCHMARKS)}")
    return tuple(name for name in BENCHMARKS if name in names)


def _run(size: int, options: argparse.Namespace, *, is_last: bool) -> list[Result]:
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        context = Context(size, options.rounds, Path(folder))
        for name in options.only:
            if name in _ONCE and not is_last:
                continue
            started = time.monotonic()
            found = asyncio.run(_measure(BENCHMARKS[name], context))
            print(f"{name} with {size:,} records took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            for result in found:
                print(f"  {result.work}: {dict(result.figures)}", file=sys.stderr, flush=True)
            results += found
    return results


async def _measure(benchmark: Benchmark, context: Context) -> list[Result]:
    return await benchmark(context)


def _report(machine: Mapping[str, object], results: list[Result]) -> None:
    largest = max((result.records for result in results if result.records is not None), default=None)
    text = f"{bars_table(results, largest)}\n\n{growth_table(results)}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    name = str(machine["started"]).replace(":", "").removesuffix("+0000")
    content = json.dumps({"machine": machine, "results": [asdict(result) for result in results]}, indent=2)
    (RESULTS / f"{name}.json").write_text(content + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"Written to {RESULTS / name}.json and .md")


if __name__ == "__main__":
    sys.exit(main())
