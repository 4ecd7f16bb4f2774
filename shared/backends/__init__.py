"""The databases. `create_backend` imports the one that configuration chose, and no other."""

from importlib import import_module

from shared.backends.base import Backend
from shared.config import Settings
from shared.errors import ConfigurationError

_REQUIREMENTS = {"postgresql": "requirements-postgresql.txt", "mongodb": "requirements-mongodb.txt"}


def create_backend(settings: Settings) -> Backend:
    """The backend of `DATABASE_TYPE`, not yet connected. Raises ConfigurationError where its driver is not installed."""
    try:
        module = import_module(f"shared.backends.{settings.database_type}.backend")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("shared"):
            raise
        raise ConfigurationError(
            f"DATABASE_TYPE is {settings.database_type!r}; its driver is not installed ({error.name}), "
            f"run: pip install -r {_REQUIREMENTS.get(settings.database_type, 'requirements.txt')}"
        ) from error
    backend: Backend = module.from_settings(settings)
    return backend
