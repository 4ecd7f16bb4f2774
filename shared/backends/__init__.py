"""The databases. `create_backend` imports the one that configuration chose, and no other."""

from importlib import import_module

from shared.backends.base import Backend
from shared.config import Settings

_FACTORIES = {"file": "shared.backends.file.backend"}


def create_backend(settings: Settings) -> Backend:
    """The backend of `DATABASE_TYPE`, not yet connected."""
    module = import_module(_FACTORIES[settings.database_type])
    backend: Backend = module.from_settings(settings)
    return backend
