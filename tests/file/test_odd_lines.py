"""Lines that nobody but a hand could have written are left out or made up for; they never get in the way of others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Aggregation, Query
from tests.support.records import make

TIMESTAMP = "2025-01-01T00:00:00.000Z"


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[FileBackend]:
    backend = FileBackend(tmp_path)
    await backend.connect()
    await backend.create(SystemEventLog, make(SystemEventLog, id="good", timestamp=TIMESTAMP))
    yield backend
    await backend.disconnect()


def append(folder: Path, model: str, line: str) -> None:
    path = folder / model / f"{TIMESTAMP[:10]}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.mark.parametrize("version", ["99999999999999999999", "-1", '"1"', "1.5", "null"])
async def test_a_version_that_no_service_writes(backend: FileBackend, tmp_path: Path, version: str) -> None:
    """A line with an impossible version is left out or read as a line by hand; the others are served, also anew."""
    line = f'{{"id":"odd","timestamp":"{TIMESTAMP}","eventType":"x","message":"m","_":{{"version":{version}}}}}'
    append(tmp_path, "SystemEventLog", line)
    assert await backend.find_by_id(SystemEventLog, "good") is not None
    await backend.disconnect()
    await backend.connect()
    assert "good" in {stored.id for stored in (await backend.find(Query(SystemEventLog))).items}


@pytest.mark.parametrize("number", ["99999999999999999999", "1e300", "true", '"12"'])
async def test_a_number_that_no_column_holds(backend: FileBackend, tmp_path: Path, number: str) -> None:
    """A duration or bucket that can't be counted is served as it stands and left out of the sums."""
    line = (
        f'{{"id":"odd","timestamp":"{TIMESTAMP}","originalPrompt":"x","totalDuration":{number},'
        f'"_":{{"version":1,"buckets":{{"totalDuration":{number}}}}}}}'
    )
    append(tmp_path, "ImageGenerationTransaction", line)
    assert await backend.find_by_id(ImageGenerationTransaction, "odd") is not None
    [group] = await backend.aggregate(Aggregation(ImageGenerationTransaction, sums=("totalDuration",)))
    assert (group.count, group.sums) == (1, {"totalDuration": 0})


async def test_members_cut_from_a_line(backend: FileBackend, tmp_path: Path) -> None:
    """A record whose times and metadata someone cut from its line has them made up for, and can be changed."""
    append(tmp_path, "SystemEventLog", f'{{"id":"cut","timestamp":"{TIMESTAMP}","message":"m","_":{{"version":1}}}}')
    stored = await backend.find_by_id(SystemEventLog, "cut")
    assert stored is not None
    assert stored.record == {
        "id": "cut",
        "timestamp": TIMESTAMP,
        "message": "m",
        "metadata": {},
        "createdAt": TIMESTAMP,
        "updatedAt": TIMESTAMP,
    }
    assert (await backend.update(SystemEventLog, stored, stored.etag)).etag != stored.etag
