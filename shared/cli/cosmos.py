"""`cosmos check`: what a Cosmos DB account has against what the code expects. Reads definitions only, never an item."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from shared.cli.needs import require, settings_for

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else


def add_parser(commands: "Subparsers") -> argparse.ArgumentParser:
    parser = commands.add_parser("cosmos", help="look after the Cosmos DB account of the settings", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("check", help="compare containers with what the code expects; exit code 1 when they differ")
    return parser


def run(_: argparse.Namespace) -> int:
    settings = settings_for("cosmosdb")
    require("azure.cosmos", "requirements.txt")
    from shared.backends.cosmosdb.check import check  # noqa: PLC0415 - other commands don't need the driver

    report = asyncio.run(check(settings))
    for line in report.lines:
        print(line)
    return 1 if report.differs else 0
