"""`postgresql schema`: print the script that makes the schema, for a role that may create what the service's own may not."""

import argparse
import sys
from typing import TYPE_CHECKING

from shared.cli.errors import CommandError
from shared.cli.needs import require

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else


def add_parser(commands: "Subparsers") -> argparse.ArgumentParser:
    parser = commands.add_parser("postgresql", help="look after the PostgreSQL schema", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    schema = actions.add_parser("schema", help="print the SQL that makes or upgrades the schema; asks no server")
    schema.add_argument("--from", dest="found", type=int, default=0, metavar="VERSION", help="the version there is (default 0)")
    return parser


def run(options: argparse.Namespace) -> int:
    require("psycopg", "requirements-postgresql.txt")
    from shared.backends.postgresql import schema  # noqa: PLC0415 - other commands don't need the driver

    if not 0 <= options.found < schema.VERSION:
        raise CommandError(f"--from is {options.found}; must be 0 to {schema.VERSION - 1}")
    sys.stdout.write(schema.script(options.found))
    return 0
