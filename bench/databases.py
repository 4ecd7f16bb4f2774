"""`python -m bench.databases [names]`: each backend against the bare driver of its database, all five in one table.

Each on the server that the tests start, in one run. What stands against the file backend is an SQLite table with the
columns and indexes of its index.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

from bench.versus import BAR, OPERATIONS, ROUNDS, Compared, Measured

MODULES: Mapping[str, str] = {
    "file": "bench.files",
    "cosmosdb": "bench.cosmos",
    "tables": "bench.azure_tables",
    "postgresql": "bench.postgresql",
    "mongodb": "bench.mongodb",
}
BARS: Mapping[str, float] = {"file": 3.0}
"""Where it is not BAR: SQLite's table is no driver of the files."""
Measure = Callable[[int], Awaitable[Measured]]


def main() -> int:
    """Measure, print the table; exit code 1 where a database misses its bar."""
    names = sys.argv[1:] or list(MODULES)
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(MODULES)}")
    measured = {name: asyncio.run(_measure(name)) for name in names}
    print(f"| database | {' | '.join(OPERATIONS)} |\n|{' --- |' * (len(OPERATIONS) + 1)}")
    for name, figures in measured.items():
        print(f"| {name} | {' | '.join(_cell(figures[operation]) for operation in OPERATIONS)} |")
    return int(any(compared.ratio > BARS.get(name, BAR) for name, figures in measured.items() for compared in figures.values()))


async def _measure(name: str) -> Measured:
    measure: Measure = import_module(MODULES[name]).measure
    return await measure(ROUNDS)


def _cell(compared: Compared) -> str:
    return f"{compared.ratio:.2f} ({compared.ours * 1e3:.2f} against {compared.bare * 1e3:.2f} ms)"


if __name__ == "__main__":
    sys.exit(main())
