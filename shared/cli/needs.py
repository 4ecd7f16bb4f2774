"""What a command needs before it can begin."""

import importlib.util
import os

from shared.cli.errors import CommandError
from shared.config import Settings


def settings_for(database_type: str) -> Settings:
    """The settings of the environment. Raises CommandError where they are those of another database."""
    settings = Settings.from_env(os.environ)
    if settings.database_type != database_type:
        raise CommandError(f"DATABASE_TYPE is {settings.database_type!r}; must be {database_type!r} for this command")
    return settings


def require(library: str, requirements: str) -> None:
    """Raises CommandError with the line that installs a library which is missing."""
    if not _is_installed(library):
        raise CommandError(f"{library} is not installed; run: pip install -r {requirements}")


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:
        return False
