"""The databases under test. A backend joins the contract with one entry in `STORES`."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.backends import create_backend
from shared.backends.base import Backend
from shared.config import Settings


@dataclass(frozen=True, slots=True)
class Store:
    """One test's own database, empty at first, that any number of instances may open."""

    settings: Settings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Backend]:
        """One more instance of the backend over this database, connected."""
        backend = create_backend(self.settings)
        await backend.connect()
        try:
            yield backend
        finally:
            await backend.disconnect()


@asynccontextmanager
async def _file(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    folder: Path = request.getfixturevalue("tmp_path")
    yield Settings(database_type="file", database_data_dir=folder / "data")


STORES: Mapping[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Settings]]] = {
    "file": _file,
}
"""By database type: gives the settings of an empty database for one test, and removes it afterwards."""
