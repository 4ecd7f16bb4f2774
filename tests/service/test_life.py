"""The service's life: connecting on first use, and the original application's calls."""

import asyncio
from pathlib import Path

import pytest

from shared.backends.base import Backend
from shared.config import Settings
from shared.errors import ConfigurationError, InvalidError, UnavailableError
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.service import DatabaseService
from tests.service.parts import FaultyBackend, event, request_log, transaction


class ReluctantBackend(FaultyBackend):
    """Does not connect at first."""

    refusals = 1
    connections = 0

    async def connect(self) -> None:
        self.connections += 1
        await asyncio.sleep(0.01)
        if self.connections <= self.refusals:
            raise UnavailableError("not yet")
        await super().connect()


async def test_a_service_connects_once_on_its_first_use(settings: Settings, tmp_path: Path) -> None:
    """Many first callers share one attempt; after a failed one the next call tries again."""
    backend = ReluctantBackend(tmp_path)
    service = DatabaseService(settings, backend)
    results = await asyncio.gather(*(service.health() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, UnavailableError) for result in results)
    assert backend.connections == 1
    await asyncio.gather(*(service.health() for _ in range(5)))
    assert backend.connections == 2
    await service.close()


async def test_a_caller_that_gives_up_does_not_end_the_start(settings: Settings, tmp_path: Path) -> None:
    """A first request that runs out of time leaves the connection to the others."""
    backend = ReluctantBackend(tmp_path)
    backend.refusals = 0
    service = DatabaseService(settings, backend)
    impatient, patient = asyncio.create_task(service.initialize()), asyncio.create_task(service.initialize())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert backend.connections == 1
    await service.close()


async def test_a_closed_service_opens_again(service: DatabaseService) -> None:
    """Closing frees everything; the records are still there."""
    await service.log_system_event(event(id="e"))
    await service.close()
    await service.close()
    assert (await service.create(SystemEventLog, event(id="e"))).duplicate


def test_a_service_outlives_an_event_loop(settings: Settings) -> None:
    """A host may call one service from one loop after another."""
    service = DatabaseService(settings)

    async def use() -> None:
        await service.log_system_event(event())
        await service.close()

    asyncio.run(use())
    asyncio.run(use())


async def test_the_salt_is_made_once_and_kept_with_the_files(tmp_path: Path) -> None:
    """Without PRIVACY_SALT the same visitor has the same session after a restart."""
    sessions = set()
    for number in range(2):
        service = DatabaseService(Settings(database_data_dir=tmp_path))
        stored = await service.log_api_request(
            request_log(id=f"r{number}", userIP="192.0.2.1", timestamp="2024-06-15T12:00:00Z")
        )
        sessions.add(stored["sessionId"])
        await service.close()
    assert len(sessions) == 1


async def test_health_tells_the_kind_of_database(service: DatabaseService) -> None:
    """And how long it took to answer, in ms."""
    health = await service.health()
    assert health["type"] == "file"
    assert health["latencyMs"] >= 0


async def test_an_image_generation_is_logged_from_what_an_application_has(service: DatabaseService) -> None:
    """Request, response and performance make one transaction."""
    service.start_timer("op")
    service.add_timer_checkpoint("op", "enhance")
    stored = await service.log_image_generation(
        {"prompt": "a fox", "enhancePrompt": True, "sessionId": "s", "imageType": None, "metadata": {"a": 1}},
        {"success": False, "error": "out of paint", "dimensions": {"width": 1, "height": 2}},
        service.end_timer("op"),
    )
    assert stored["originalPrompt"] == "a fox"
    assert (stored["status"], stored["errorMessage"], stored["imageType"]) == ("failed", "out of paint", "logo")
    assert stored["totalDuration"] >= 0
    assert set(stored["metadata"]) == {"a", "checkpoints"}
    assert await service.get_recent_transactions(1) == [stored]


async def test_unknown_members_of_an_image_generation_are_named(service: DatabaseService) -> None:
    """Nothing is dropped in silence, nor given twice."""
    with pytest.raises(InvalidError) as caught:
        await service.log_image_generation(
            {"prompt": "a", "originalPrompt": "b", "colour": 1}, {"apiModel": "x", "image": 2}, {"speed": 3}
        )
    fields = {detail.field for detail in caught.value.details}
    assert fields == {"request.originalPrompt", "request.colour", "response.image", "performance.speed"}


@pytest.mark.parametrize("limit", [0, 1_001, -1])
async def test_recent_transactions_are_limited(service: DatabaseService, limit: int) -> None:
    """1 to 1,000 at once."""
    with pytest.raises(InvalidError):
        await service.get_recent_transactions(limit)


async def test_newest_transactions_come_first(service: DatabaseService) -> None:
    """The call of the original application answers the newest."""
    for name in ("a", "b"):
        await service.create(ImageGenerationTransaction, transaction(id=name, timestamp="2024-06-01T00:00:00Z"))
    assert [record["id"] for record in await service.get_recent_transactions(5)] == ["b", "a"]


async def test_an_unknown_timer_is_an_error(service: DatabaseService) -> None:
    """A timer that was not started can be neither marked nor ended."""
    with pytest.raises(KeyError):
        service.add_timer_checkpoint("nothing", "x")
    with pytest.raises(KeyError):
        service.end_timer("nothing")


async def test_a_timer_for_a_block_of_code(service: DatabaseService) -> None:
    """Checkpoints can be read while the block runs."""
    async with service.timer("generate") as timer:
        timer.checkpoint("enhance")
    assert "enhance" in timer.checkpoints


async def test_a_backend_that_makes_no_salt_needs_one_configured(settings: Settings, tmp_path: Path) -> None:
    """Where the salt can't be kept beside the data, its absence is named."""

    class Saltless(FaultyBackend):
        async def make_salt(self) -> str:
            return await Backend.make_salt(self)

    service = DatabaseService(Settings(database_data_dir=tmp_path), Saltless(tmp_path))
    with pytest.raises(ConfigurationError, match="PRIVACY_SALT"):
        await service.initialize()
    await service.close()
