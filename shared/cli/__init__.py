"""The command line: `python -m shared COMMAND`. Each command is a module with `add_parser` and `run`."""

import argparse
import sys
from collections.abc import Sequence

from shared.cli import cosmos, mongodb, postgresql, serve
from shared.cli.errors import CommandError
from shared.errors import ConfigurationError, TransientError

COMMANDS = (serve, cosmos, postgresql, mongodb)
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 for done, 1 for failed, 2 for wrong usage, 130 for interrupted."""
    parser = argparse.ArgumentParser(prog="python -m shared", description="LogoGen Data Service.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands).set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except (CommandError, ConfigurationError, TransientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
