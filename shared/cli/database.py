"""What the commands that look after one database have in common."""

import os

from shared.cli.errors import CommandError
from shared.config import Settings


def settings_for(database_type: str) -> Settings:
    """The settings of the environment. Raises CommandError where they are those of another database."""
    settings = Settings.from_env(os.environ)
    if settings.database_type != database_type:
        raise CommandError(f"DATABASE_TYPE is {settings.database_type!r}; must be {database_type!r} for this command")
    return settings
