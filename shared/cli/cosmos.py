"""`cosmos check`: what a Cosmos DB account has against what the code expects. Reads definitions only, never an item."""

import argparse
import asyncio
import importlib.util
import os
from typing import TYPE_CHECKING

from shared.cli.errors import CommandError
from shared.config import Settings
from shared.errors import TransientError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else


def add_parser(commands: "Subparsers") -> argparse.ArgumentParser:
    parser = commands.add_parser("cosmos", help="look after the Cosmos DB account of the settings", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("check", help="compare containers with what the code expects; exit code 1 when they differ")
    return parser


def run(_: argparse.Namespace) -> int:
    settings = Settings.from_env(os.environ)
    if settings.database_type != "cosmosdb":
        raise CommandError(f"DATABASE_TYPE is {settings.database_type!r}; must be 'cosmosdb' for this command")
    if not _installed():
        raise CommandError("azure.cosmos is not installed; run: pip install -r requirements.txt")
    from shared.backends.cosmosdb.check import check  # noqa: PLC0415 - other commands don't need the driver

    try:
        report = asyncio.run(check(settings))
    except TransientError as error:
        raise CommandError(f"the account does not answer: {error.message}") from error
    for line in report.lines:
        print(line)
    return 1 if report.differs else 0


def _installed() -> bool:
    try:
        return importlib.util.find_spec("azure.cosmos") is not None
    except ModuleNotFoundError:
        return False
