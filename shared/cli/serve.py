"""`serve`: a local Functions host for where Azure Functions Core Tools are not installed."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from shared.cli.needs import require

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

DEFAULT_PORT = 7071
DEFAULT_GRACE_SECONDS = 30.0
_LIBRARIES = {"azure.functions": "requirements.txt", "cronsim": "requirements.txt", "aiohttp": "requirements-local.txt"}


def add_parser(commands: "Subparsers") -> argparse.ArgumentParser:
    parser = commands.add_parser("serve", help="run the app's functions on this machine", description=__doc__)
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--root", type=Path, help="folder of function_app.py (default: this one or the nearest above)")
    parser.add_argument("--state", type=Path, help="folder that remembers when timers ran (default: ROOT/.serve)")
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=DEFAULT_GRACE_SECONDS,
        metavar="SECONDS",
        help="how long a stop waits for requests and timers in hand (default: %(default)g)",
    )
    parser.add_argument("--verbose", action="store_true", help="log a line for every request")
    return parser


def run(options: argparse.Namespace) -> int:
    for library, requirements in _LIBRARIES.items():
        require(library, requirements)
    from shared.cli.host.run import Options, serve  # noqa: PLC0415 - other commands don't need aiohttp

    return serve(
        Options(
            host=options.host,
            port=options.port,
            root=options.root,
            state=options.state,
            grace_seconds=options.grace,
            verbose=options.verbose,
        )
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds
