"""Lists, sessions with their counters, and statistics."""

from pathlib import Path
from typing import Any

import pytest

from shared.backends.base import BackendStats, ModelStats
from shared.config import Settings
from shared.models import ApiRequestLog, ImageGenerationTransaction, SystemEventLog, UserSession
from shared.query import Aggregation, Group, Key, Page, Query, Window
from shared.retention import RetentionPolicy
from shared.service import DatabaseService
from shared.sessions import has_records
from shared.statistics import Statistics
from tests.service.parts import SALT, Clock, FaultyBackend, event, request_log, transaction
from tests.support.records import make


async def pages(service: DatabaseService, model: Any, **parameters: str) -> list[list[str]]:
    """The ids of every page of a list."""
    found: list[list[str]] = []
    while True:
        listing = await service.list_records(model, parameters)
        found.append([record["id"] for record in listing.records])
        if listing.next_cursor is None:
            return found
        parameters["cursor"] = listing.next_cursor


async def test_pages_follow_each_other_in_both_orders(service: DatabaseService, clock: Clock) -> None:
    """Ascending is the exact reverse of descending, ids settle equal times, the last page has no cursor."""
    for name in ("b", "a", "c"):
        await service.create(SystemEventLog, event(id=name))
    clock.turn(seconds=1)
    await service.create(SystemEventLog, event(id="0"))
    assert await pages(service, SystemEventLog, limit="3") == [["0", "c", "b"], ["a"]]
    assert await pages(service, SystemEventLog, limit="2", order="asc") == [["a", "b"], ["c", "0"]]


async def test_records_that_arrive_don_t_move_the_pages(service: DatabaseService, clock: Clock) -> None:
    """Whoever pages sees each record once, though newer ones arrive."""
    for name in "abcd":
        await service.create(SystemEventLog, event(id=name))
        clock.turn(seconds=1)
    first = await service.list_records(SystemEventLog, {"limit": "2"})
    await service.create(SystemEventLog, event(id="new"))
    assert first.next_cursor is not None
    rest = await service.list_records(SystemEventLog, {"limit": "2", "cursor": first.next_cursor})
    assert [record["id"] for record in rest.records] == ["b", "a"]


class EarlyPages(FaultyBackend):
    """Ends every list's first page before it has looked at anything, as a backend does at its scan limit."""

    async def find(self, query: Query) -> Page:
        if query.after is None:
            return Page([], more=True, resume=Key("9999-12-31T23:59:59.999Z", "z"))
        return await super().find(query)


@pytest.mark.parametrize("retention", [0, 365], ids=["kept-for-ever", "with-retention"])
async def test_an_empty_page_may_go_on(tmp_path: Path, clock: Clock, retention: int) -> None:
    """A page that ended before it found anything has a cursor, and the next one begins where it ended."""
    settings = Settings(privacy_salt=SALT, retention_days={"UserSession": retention, "SystemEventLog": retention})
    service = DatabaseService(settings, EarlyPages(tmp_path), clock=clock)
    await service.create(SystemEventLog, event(id="mine", sessionId="s-1"))
    assert await pages(service, SystemEventLog) == [[], ["mine"]]
    sessions = await pages(service, UserSession)
    assert [name for page in sessions for name in page] == ["s-1"]
    await service.close()


async def test_only_the_fields_asked_for_are_shown(service: DatabaseService) -> None:
    """A projection keeps the record's own order."""
    await service.create(SystemEventLog, event(id="e"))
    listing = await service.list_records(SystemEventLog, {"fields": "message,id"})
    assert list(listing.records[0].items()) == [("id", "e"), ("message", "ready")]


async def test_counters_are_those_of_the_session_s_records(service: DatabaseService, clock: Clock) -> None:
    """They follow creates, patches and deletes, and know first and last activity."""
    await service.create(ImageGenerationTransaction, transaction(id="done", sessionId="s", success=True))
    clock.turn(minutes=1)
    await service.create(ImageGenerationTransaction, transaction(id="open", sessionId="s"))
    await service.create(ApiRequestLog, request_log(sessionId="s"))
    clock.turn(minutes=1)
    await service.create(SystemEventLog, event(id="last", sessionId="s"))
    await service.update(ImageGenerationTransaction, "open", {"status": "failed"})
    session = (await service.get(UserSession, "s")).record
    assert {name: session[name] for name in session if "otal" in name or "Gen" in name or "Req" in name} == {
        "totalRequests": 2,
        "successfulGenerations": 1,
        "failedGenerations": 1,
        "totalImagesGenerated": 1,
        "apiRequests": 1,
    }
    assert (session["startTime"], session["lastActivity"]) == ("2024-06-15T12:00:00.000Z", "2024-06-15T12:02:00.000Z")
    await service.delete(SystemEventLog, "last")
    assert (await service.list_records(UserSession, {})).records[0]["lastActivity"] == "2024-06-15T12:01:00.000Z"


async def test_a_session_without_records_lasted_no_time(service: DatabaseService) -> None:
    """Counters are zero and both times its own."""
    await service.create(UserSession, {"id": "s"})
    session = (await service.get(UserSession, "s")).record
    assert session["startTime"] == session["lastActivity"] == session["timestamp"]
    assert session["totalRequests"] == session["apiRequests"] == 0


async def test_a_session_s_version_changes_with_its_records(service: DatabaseService) -> None:
    """A reader who has the counters learns that they changed."""
    await service.create(UserSession, {"id": "s"})
    before = (await service.get(UserSession, "s")).etag
    await service.create(ApiRequestLog, request_log(sessionId="s"))
    assert (await service.get(UserSession, "s")).etag != before


async def test_a_session_s_transactions(service: DatabaseService) -> None:
    """Only the session's own are listed, with the other filters."""
    await service.create(ImageGenerationTransaction, transaction(id="a", sessionId="s", success=True))
    await service.create(ImageGenerationTransaction, transaction(id="b", sessionId="s"))
    await service.create(ImageGenerationTransaction, transaction(id="c", sessionId="other"))
    listing = await service.list_records(ImageGenerationTransaction, {"status": "completed"}, "s")
    assert [record["id"] for record in listing.records] == ["a"]


async def test_statistics_keep_the_original_s_shape(service: DatabaseService) -> None:
    """Counts by model, and rates, groups and percentiles over the records."""
    for number in range(10):
        await service.create(
            ImageGenerationTransaction,
            transaction(id=f"t{number}", success=number < 8, apiModel="painter", totalDuration=(number + 1) * 100),
        )
    for code in (200, 200, 404, 500):
        await service.create(ApiRequestLog, request_log(statusCode=code, duration=10))
    await service.create(SystemEventLog, event(level="warning"))
    stats = await service.get_stats()
    assert stats["database"]["totalRecords"] == 15
    assert stats["database"]["models"]["ApiRequestLog"]["recordCount"] == 4
    generation, requests = stats["generation"], stats["requests"]
    assert (generation["total"], generation["successRate"]) == (10, 0.8)
    assert generation["byStatus"] == {"completed": 8, "failed": 2}
    assert generation["byApiModel"] == {"painter": 10}
    duration = generation["durations"]["totalDuration"]
    assert (duration["count"], duration["average"]) == (10, 550.0)
    assert duration["p50"] == pytest.approx(500, rel=0.02)
    assert (requests["errors"], requests["errorRate"]) == (1, 0.25)
    assert requests["byStatusClass"] == {"2xx": 2, "4xx": 1, "5xx": 1}
    assert requests["topEndpoints"] == [{"endpoint": "/api/generate", "count": 4, "errors": 1}]
    assert stats["events"]["byLevel"] == {"warn": 1}


async def test_statistics_over_a_window(service: DatabaseService, clock: Clock) -> None:
    """The window starts with since and ends before until."""
    for _ in range(3):
        await service.create(ApiRequestLog, request_log())
        clock.turn(hours=1)
    window = {"since": "2024-06-15T13:00:00Z", "until": "2024-06-15T14:00:00Z"}
    stats = await service.window_stats(window)
    assert stats["requests"]["total"] == 1
    assert stats["window"] == {"since": "2024-06-15T13:00:00.000Z", "until": "2024-06-15T14:00:00.000Z"}
    assert stats["database"]["totalRecords"] == 3


async def test_an_estimate_is_not_made_exact_by_reading_everything(tmp_path: Path, clock: Clock) -> None:
    """Where a count reads every record, an approximate figure stays as it is, and is said to be one."""

    class Estimating(FaultyBackend):
        counts_by_reading = True

        async def get_stats(self) -> BackendStats:
            return BackendStats({"SystemEventLog": ModelStats(1_234_567, None, approximate=True)})

    backend = Estimating(tmp_path)
    await backend.connect()
    database = (await Statistics(backend, RetentionPolicy({"SystemEventLog": 30}), clock).collect(Window(None, None)))[
        "database"
    ]
    assert (database["totalRecords"], database["approximate"]) == (1_234_567, True)
    assert database["models"]["SystemEventLog"]["approximate"] is True
    await backend.disconnect()


async def test_whether_a_session_has_records(tmp_path: Path) -> None:
    """It is answered by lists of one record, not by counting, and an empty page that goes on is not the end."""

    class Hesitant(FaultyBackend):
        async def find(self, query: Query) -> Page:
            assert query.limit == 1
            if query.after is None:
                return Page([], more=True, resume=Key("9999-12-31T23:59:59.999Z", "z"))
            return await super().find(query)

        async def aggregate(self, aggregation: Aggregation) -> list[Group]:
            raise AssertionError(aggregation)

    backend = Hesitant(tmp_path)
    await backend.connect()
    await backend.create(ApiRequestLog, make(ApiRequestLog, sessionId="s"))
    assert await has_records(backend, "s", {})
    assert not await has_records(backend, "s", {ApiRequestLog: "2999-01-01T00:00:00.000Z"})
    assert not await has_records(backend, "other", {})
    await backend.disconnect()


async def test_an_empty_database_has_no_rates(service: DatabaseService) -> None:
    """Nothing is divided by zero, and nothing is called zero per cent that never happened."""
    stats = await service.get_stats()
    assert stats["generation"]["successRate"] is None
    assert stats["requests"]["duration"]["p99"] is None
    assert stats["database"]["models"]["UserSession"] == {"recordCount": 0, "lastModified": None, "sizeBytes": 0}


async def test_what_one_process_knows_is_called_its_own(service: DatabaseService) -> None:
    """Cache, pool and latencies stand under `instance`."""
    async with service.timer("generate"):
        pass
    stats = await service.get_stats()
    assert set(stats["instance"]) == {"cache", "pool", "latency"}
    assert stats["instance"]["latency"]["generate"]["count"] == 1
    assert not {"cache", "pool", "latency"} & set(stats)
