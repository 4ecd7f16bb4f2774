"""Libraries that one command needs and the others do without."""

import importlib.util

from shared.cli.errors import CommandError


def require(library: str, requirements: str) -> None:
    """Raises CommandError with the line that installs a library which is missing."""
    if not _is_installed(library):
        raise CommandError(f"{library} is not installed; run: pip install -r {requirements}")


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:
        return False
