"""`mongodb indexes`: make the indexes that are missing on large collections, and set the expiry, while the service runs."""

import argparse
import asyncio
import logging
from typing import TYPE_CHECKING

from shared.cli.logs import configure_logging
from shared.cli.needs import require, settings_for
from shared.config import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else


def add_parser(commands: "Subparsers") -> argparse.ArgumentParser:
    parser = commands.add_parser("mongodb", help="look after the MongoDB database of the settings", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("indexes", help="make the indexes that are missing, however long it takes, and say which")
    return parser


def run(_: argparse.Namespace) -> int:
    settings = settings_for("mongodb")
    require("pymongo", "requirements-mongodb.txt")
    configure_logging(logging.WARNING)
    asyncio.run(_build(settings))
    return 0


async def _build(settings: Settings) -> None:
    from shared.backends.mongodb.building import build  # noqa: PLC0415 - other commands don't need the driver

    async for line in build(settings):
        print(line, flush=True)
