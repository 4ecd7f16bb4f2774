"""Storing one record: once, whatever is retried, and with its session."""

import asyncio

import pytest

from shared.config import Settings
from shared.errors import ConflictError, NotFoundError, UnavailableError
from shared.models import ApiRequestLog, ImageGenerationTransaction, SystemEventLog, UserSession
from shared.service import DatabaseService
from tests.service.parts import Clock, FaultyBackend, event, request_log, transaction


async def test_what_was_stored_is_read_back(service: DatabaseService) -> None:
    """A created record is the one that is found."""
    written = await service.create(ImageGenerationTransaction, transaction(metadata={"a": 1}))
    found = await service.get(ImageGenerationTransaction, written.stored.id)
    assert not written.duplicate
    assert found.record == written.record
    assert found.etag == written.etag


async def test_the_same_record_again_is_a_duplicate(service: DatabaseService, clock: Clock) -> None:
    """A retry stores nothing and answers what it sent, with the place and times of the first."""
    sent = transaction(id="one", userIP="192.0.2.9")
    first = await service.create(ImageGenerationTransaction, sent)
    clock.turn(hours=30)
    again = await service.create(ImageGenerationTransaction, sent)
    assert again.duplicate
    assert again.record == {
        "id": "one",
        "timestamp": first.record["timestamp"],
        "userIP": "192.0.2.0",
        "originalPrompt": "a fox",
        "createdAt": first.record["createdAt"],
        "updatedAt": first.record["updatedAt"],
    }
    assert (await service.get_stats())["database"]["totalRecords"] == 2


async def test_a_retry_is_a_duplicate_after_a_patch_and_tells_nothing_of_it(service: DatabaseService) -> None:
    """The content compared is what was first sent; what others made of the record stays theirs."""
    await service.create(ImageGenerationTransaction, transaction(id="one"))
    await service.update(ImageGenerationTransaction, "one", {"finalPrompt": "for other eyes"})
    again = await service.create(ImageGenerationTransaction, transaction(id="one"))
    assert again.duplicate
    assert "finalPrompt" not in again.record


async def test_the_same_id_with_other_content_is_a_conflict(service: DatabaseService) -> None:
    """An id belongs to one content."""
    await service.create(SystemEventLog, event(id="one"))
    with pytest.raises(ConflictError):
        await service.create(SystemEventLog, event(id="one", message="other"))


async def test_an_id_is_unique_per_model(service: DatabaseService) -> None:
    """The same id in another model is another record."""
    await service.create(SystemEventLog, event(id="one"))
    assert not (await service.create(ApiRequestLog, request_log(id="one"))).duplicate


async def test_under_another_salt_the_same_id_is_a_duplicate(settings: Settings, service: DatabaseService) -> None:
    """Hashes made under other privacy rules say nothing; the id does."""
    await service.create(SystemEventLog, event(id="one"))
    await service.close()
    other = Settings(database_data_dir=settings.database_data_dir, privacy_salt="another-salt-for-tests")
    successor = DatabaseService(other)
    assert (await successor.create(SystemEventLog, event(id="one", message="other"))).duplicate
    await successor.close()


async def test_a_deleted_id_is_free(service: DatabaseService) -> None:
    """After a delete the id may carry other content."""
    await service.create(SystemEventLog, event(id="one"))
    await service.delete(SystemEventLog, "one")
    with pytest.raises(NotFoundError):
        await service.delete(SystemEventLog, "one")
    assert not (await service.create(SystemEventLog, event(id="one", message="other"))).duplicate


async def test_a_record_makes_its_session_once(service: DatabaseService, backend: FaultyBackend) -> None:
    """The first record of a session stores its document; a process remembers that it did."""
    for number in range(3):
        await service.create(ApiRequestLog, request_log(id=f"r{number}", sessionId="s", userIP="192.0.2.7", userAgent="x"))
    found = await service.get(UserSession, "s")
    assert found.record["userIP"] == "192.0.2.0"
    assert backend.faults.created.count("UserSession s") == 1


async def test_a_duplicate_makes_a_session_that_is_missing(settings: Settings, service: DatabaseService) -> None:
    """Where the record came through and its session didn't, the retry makes good for it."""
    await service.create(ApiRequestLog, request_log(id="r", sessionId="s"))
    await service._backend.delete(UserSession, "s")
    successor = DatabaseService(settings)
    assert (await successor.create(ApiRequestLog, request_log(id="r", sessionId="s"))).duplicate
    assert (await successor.get(UserSession, "s")).record["apiRequests"] == 1
    await successor.close()


async def test_a_record_is_not_acknowledged_without_its_session(service: DatabaseService, backend: FaultyBackend) -> None:
    """When the session can't be stored the answer is the transient error, and the retry settles both."""
    backend.faults.raised["UserSession"] = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await service.create(ApiRequestLog, request_log(id="r", sessionId="s"))
    backend.faults.raised.clear()
    assert (await service.create(ApiRequestLog, request_log(id="r", sessionId="s"))).duplicate
    assert (await service.get(UserSession, "s")).record["apiRequests"] == 1


@pytest.mark.parametrize(("fields", "key"), [({"id": "r"}, None), ({}, "r")])
async def test_a_retry_on_the_next_day_makes_no_session_of_that_day(
    service: DatabaseService, clock: Clock, fields: dict[str, str], key: str | None
) -> None:
    """An undated record belongs to the day it was first stored on."""
    sent = request_log(userIP="192.0.2.7", **fields)
    await service.create(ApiRequestLog, sent, key)
    clock.turn(days=1)
    assert (await service.create(ApiRequestLog, sent, key)).duplicate
    assert len((await service.list_records(UserSession, {})).records) == 1


async def test_posting_a_session_fills_in_the_one_that_records_made(service: DatabaseService, clock: Clock) -> None:
    """The posted content describes the session; its timestamp stays, and from then on the content is compared."""
    await service.create(ApiRequestLog, request_log(sessionId="s", userIP="192.0.2.7"))
    clock.turn(minutes=5)
    described = await service.create(UserSession, {"id": "s", "country": "NL", "timestamp": "2024-06-15T12:04:00Z"})
    assert not described.duplicate
    assert "userIP" not in described.record
    found = (await service.get(UserSession, "s")).record
    assert (found["country"], found["timestamp"], found["userIP"]) == ("NL", "2024-06-15T12:00:00.000Z", "192.0.2.0")
    assert (await service.create(UserSession, {"id": "s", "country": "NL", "timestamp": "2024-06-15T12:04:00Z"})).duplicate
    with pytest.raises(ConflictError):
        await service.create(UserSession, {"id": "s", "country": "DE"})


async def test_many_describe_one_session(service: DatabaseService) -> None:
    """Of several who post at once, one describes the session and the others are duplicates."""
    await service.create(ApiRequestLog, request_log(sessionId="s"))
    written = await asyncio.gather(*(service.create(UserSession, {"id": "s", "os": "Linux"}) for _ in range(5)))
    assert sorted(one.duplicate for one in written) == [False, True, True, True, True]


async def test_many_at_once_store_one(service: DatabaseService) -> None:
    """The same record sent many times at once is stored once."""
    written = await asyncio.gather(*(service.create(ImageGenerationTransaction, transaction(id="one")) for _ in range(20)))
    assert sum(not one.duplicate for one in written) == 1
