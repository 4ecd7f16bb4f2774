"""Retention: from the millisecond a record is past its days no read returns it, and removal follows."""

from pathlib import Path

import pytest

from shared.batching import BatchItem
from shared.errors import InvalidError, NotFoundError
from shared.models import ApiRequestLog, ImageGenerationTransaction, State, SystemEventLog, UserSession
from shared.query import Query
from shared.retention import STATE_ID, RetentionPolicy, RetentionRun
from shared.service import DatabaseService
from tests.service.parts import Clock, FaultyBackend, event, request_log, transaction


@pytest.fixture
def retention_days() -> dict[str, int]:
    return {"ImageGenerationTransaction": 30, "ApiRequestLog": 10, "SystemEventLog": 20, "UserSession": 10}


async def test_a_record_past_its_days_is_gone_from_every_read(service: DatabaseService, clock: Clock) -> None:
    """Reads by id, lists, counts and statistics agree to the millisecond; so do changes."""
    await service.create(ApiRequestLog, request_log(id="r"))
    clock.turn(days=10)
    assert (await service.get(ApiRequestLog, "r")).record["id"] == "r"
    clock.turn(milliseconds=1)
    with pytest.raises(NotFoundError):
        await service.get(ApiRequestLog, "r")
    with pytest.raises(NotFoundError):
        await service.update(ApiRequestLog, "r", {"statusCode": 500})
    with pytest.raises(NotFoundError):
        await service.delete(ApiRequestLog, "r")
    assert (await service.list_records(ApiRequestLog, {})).records == []
    assert (await service.list_records(ApiRequestLog, {"until": "2024-06-16T00:00:00Z"})).records == []
    stats = await service.get_stats()
    assert stats["database"]["models"]["ApiRequestLog"]["recordCount"] == 0
    assert stats["requests"]["total"] == 0


async def test_a_run_removes_what_is_past_and_logs_it(service: DatabaseService, clock: Clock, backend: FaultyBackend) -> None:
    """Each model by its own days; what was done is a SystemEventLog and a State record."""
    await service.create(ApiRequestLog, request_log(id="r"))
    await service.create(ImageGenerationTransaction, transaction(id="t"))
    clock.turn(days=11)
    await service.create(ApiRequestLog, request_log(id="new"))
    report = await service.run_retention()
    assert report.removed == {"ImageGenerationTransaction": 0, "ApiRequestLog": 1, "SystemEventLog": 0, "UserSession": 0}
    assert report.left == []
    assert await backend.find_by_id(ApiRequestLog, "r") is None
    assert await backend.find_by_id(ApiRequestLog, "new") is not None
    [logged] = (await service.list_records(SystemEventLog, {"eventType": "retention"})).records
    assert (logged["level"], logged["details"]["removed"]["ApiRequestLog"]) == ("info", 1)
    state = await backend.find_by_id(State, STATE_ID)
    assert state is not None
    assert state.record["data"]["left"] == []


async def test_a_run_out_of_time_goes_on_where_it_stopped(
    service: DatabaseService, clock: Clock, backend: FaultyBackend
) -> None:
    """Batches are bounded, the oldest go first, and what is left is told."""
    for number in range(5):
        await service.create(ApiRequestLog, request_log(id=f"r{number}"))
        clock.turn(seconds=1)
    clock.turn(days=11)
    policy = RetentionPolicy(service.settings.retention_days)
    ticks = iter(range(1_000))
    run = RetentionRun(backend, policy, clock, monotonic=lambda: next(ticks), budget_seconds=2, batch=2)
    report = await run.run()
    assert (report.removed["ApiRequestLog"], report.left) == (2, ["ApiRequestLog"])
    assert report.as_event()["level"] == "warn"
    rest = await backend.find(Query(ApiRequestLog, descending=False))
    assert [stored.id for stored in rest.items] == ["r2", "r3", "r4"]
    assert (await RetentionRun(backend, policy, clock, batch=2).run()).removed["ApiRequestLog"] == 3


async def test_a_session_goes_by_its_last_activity(service: DatabaseService, clock: Clock, backend: FaultyBackend) -> None:
    """An old session with a young record stays; with its last record it goes."""
    await service.create(ImageGenerationTransaction, transaction(id="t", sessionId="s"))
    await service.create(UserSession, {"id": "idle"})
    clock.turn(days=9)
    await service.create(ImageGenerationTransaction, transaction(id="later", sessionId="s"))
    clock.turn(days=9)
    assert [session["id"] for session in (await service.list_records(UserSession, {})).records] == ["s"]
    assert (await service.get_stats())["database"]["models"]["UserSession"]["recordCount"] == 1
    with pytest.raises(NotFoundError):
        await service.get(UserSession, "idle")
    report = await service.run_retention()
    assert report.removed["UserSession"] == 1
    assert await backend.find_by_id(UserSession, "s") is not None
    clock.turn(days=2)
    assert (await service.run_retention()).removed["UserSession"] == 1
    assert await backend.find_by_id(ImageGenerationTransaction, "later") is not None


async def test_old_but_active_sessions_are_passed_over(service: DatabaseService, clock: Clock, backend: FaultyBackend) -> None:
    """A run that ends among them goes on after them, and starts anew when it has seen all."""
    for number in range(6):
        await service.create(UserSession, {"id": f"s{number}"})
        clock.turn(seconds=1)
    clock.turn(days=9)
    for number in range(4):
        await service.create(SystemEventLog, event(sessionId=f"s{number}"))
    clock.turn(days=2)
    policy = RetentionPolicy({"UserSession": 10})
    ticks = iter(range(1_000))
    first = await RetentionRun(backend, policy, clock, monotonic=lambda: next(ticks), budget_seconds=2, batch=4).run()
    assert (first.removed["UserSession"], first.left) == (0, ["UserSession"])
    second = await RetentionRun(backend, policy, clock, batch=4).run()
    assert (second.removed["UserSession"], second.left) == (2, [])


async def test_a_page_of_sessions_is_filled_past_the_gone_ones(service: DatabaseService, clock: Clock) -> None:
    """Sessions past their retention leave no gaps in a page, and the cursor goes on after what was looked at."""
    for number in range(7):
        await service.create(UserSession, {"id": f"s{number}"})
        clock.turn(seconds=1)
    clock.turn(days=9)
    for number in (0, 3, 6):
        await service.create(SystemEventLog, event(sessionId=f"s{number}"))
    clock.turn(days=2)
    first = await service.list_records(UserSession, {"limit": "2", "order": "asc"})
    assert [session["id"] for session in first.records] == ["s0", "s3"]
    assert first.next_cursor is not None
    rest = await service.list_records(UserSession, {"limit": "2", "order": "asc", "cursor": first.next_cursor})
    assert ([session["id"] for session in rest.records], rest.next_cursor) == (["s6"], None)


async def test_a_record_that_is_past_its_retention_is_not_taken(service: DatabaseService) -> None:
    """It would be gone before it could be read."""
    with pytest.raises(InvalidError) as caught:
        await service.create(ApiRequestLog, request_log(timestamp="2024-06-01T00:00:00Z"))
    assert caught.value.error_code == "past_retention"


async def test_a_record_makes_no_session_that_is_past_its_own_retention(
    service: DatabaseService, backend: FaultyBackend
) -> None:
    """A transaction that is kept longer than sessions are does not bring its session back."""
    await service.create(ImageGenerationTransaction, transaction(sessionId="s", timestamp="2024-05-20T00:00:00Z"))
    assert await backend.find_by_id(UserSession, "s") is None
    await service.create(ImageGenerationTransaction, transaction(sessionId="s"))
    assert await backend.find_by_id(UserSession, "s") is not None


@pytest.mark.parametrize("message", ["ready", "other"])
async def test_an_id_of_a_record_past_its_days_is_free(
    service: DatabaseService, clock: Clock, backend: FaultyBackend, message: str
) -> None:
    """A retry is never answered with a record that no read returns: it is stored anew, also twice in a batch."""
    await service.create(SystemEventLog, event(id="e"))
    clock.turn(days=21)
    item = {"model": "events", **event(id="e", message=message)}
    answer = await service.create_batch([BatchItem(item), BatchItem(item)])
    assert [item["status"] for item in answer.items] == [201, 200]
    found = (await service.get(SystemEventLog, "e")).record
    assert (found["message"], found["timestamp"]) == (message, "2024-07-06T12:00:00.000Z")


async def test_a_session_past_its_days_is_made_anew_when_posted(service: DatabaseService, clock: Clock) -> None:
    """An old session that is still active is described as it stands; one that is not starts again."""
    for session_id in ("idle", "active"):
        await service.create(SystemEventLog, event(sessionId=session_id))
    clock.turn(days=9)
    await service.create(SystemEventLog, event(sessionId="active"))
    clock.turn(days=2)
    for session_id, made in (("idle", "2024-06-26T12:00:00.000Z"), ("active", "2024-06-15T12:00:00.000Z")):
        written = await service.create(UserSession, {"id": session_id, "country": "NL"})
        assert (written.duplicate, written.record["timestamp"]) == (False, made)
        assert (await service.get(UserSession, session_id)).record["country"] == "NL"


def text_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_of_a_session_that_is_removed_no_text_stays(service: DatabaseService, clock: Clock, tmp_path: Path) -> None:
    """A session on its own leaves its days' files too, though others of the day are still active."""
    await service.create(UserSession, {"id": "gone", "userAgent": "Gone/1.0"})
    await service.create(UserSession, {"id": "kept", "userAgent": "Kept/1.0"})
    clock.turn(days=9)
    await service.create(SystemEventLog, event(sessionId="kept"))
    clock.turn(days=2)
    assert (await service.run_retention()).removed["UserSession"] == 1
    text = text_below(tmp_path)
    assert b"Gone/1.0" not in text
    assert b"Kept/1.0" in text
