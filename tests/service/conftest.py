"""A service on plain files in a temporary folder, under a clock that the test turns."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.config import Settings
from shared.service import DatabaseService
from tests.service.parts import SALT, Clock, FaultyBackend


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retention_days() -> dict[str, int]:
    """Keeps everything, unless a test module says otherwise."""
    return {}


@pytest.fixture
def settings(tmp_path: Path, retention_days: dict[str, int]) -> Settings:
    return Settings(database_data_dir=tmp_path, privacy_salt=SALT, retention_days=retention_days)


@pytest.fixture
def backend(tmp_path: Path) -> FaultyBackend:
    return FaultyBackend(tmp_path)


@pytest.fixture
async def service(settings: Settings, backend: FaultyBackend, clock: Clock) -> AsyncIterator[DatabaseService]:
    service = DatabaseService(settings, backend, clock=clock)
    yield service
    await service.close()
