"""Batches: an outcome for each item, in the order sent, and an answer for the whole."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from shared.backends.base import Outcome
from shared.batching import BatchAnswer, BatchItem, items_of_array, items_of_lines
from shared.errors import InvalidError, ServiceError, ThrottledError, TooLargeError, UnavailableError
from shared.models import ApiRequestLog, Record, SystemEventLog, UserSession
from shared.query import Stored
from shared.service import DatabaseService
from shared.timing import set_deadline
from tests.service.parts import FaultyBackend, event, request_log, transaction


async def batch(service: DatabaseService, *items: Any) -> BatchAnswer:
    return await service.create_batch([BatchItem(item) for item in items])


def of(model: str, record: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, **record}


def statuses(answer: BatchAnswer) -> list[int]:
    return [item["status"] for item in answer.items]


async def test_kinds_may_be_mixed(service: DatabaseService) -> None:
    """Each item goes to its own model, named by class, route or in the singular."""
    answer = await batch(
        service,
        of("ImageGenerationTransaction", transaction(id="t", sessionId="s")),
        of("requests", request_log(id="r", sessionId="s")),
        of("event", event(id="e", sessionId="s")),
        of("UserSession", {"id": "s", "country": "NL"}),
    )
    assert (answer.status, answer.stored, answer.failed, answer.retry_after) == (201, 4, 0, None)
    assert [item["id"] for item in answer.items] == ["t", "r", "e", "s"]
    session = (await service.get(UserSession, "s")).record
    assert (session["country"], session["totalRequests"], session["apiRequests"]) == ("NL", 1, 1)


async def test_a_batch_again_is_all_duplicates(service: DatabaseService) -> None:
    """A batch whose items have ids can be sent again."""
    items = [of("events", event(id=f"e{number}")) for number in range(5)]
    await batch(service, *items)
    answer = await batch(service, *items)
    assert (answer.status, answer.stored, answer.duplicates) == (201, 0, 5)
    assert statuses(answer) == [200] * 5


async def test_an_id_twice_is_settled_in_the_order_sent(service: DatabaseService) -> None:
    """The first is stored, the same again is a duplicate, other content a conflict."""
    answer = await batch(
        service, of("events", event(id="e")), of("events", event(id="e")), of("events", event(id="e", message="other"))
    )
    assert (answer.status, statuses(answer)) == (207, [201, 200, 409])
    assert (await service.get(SystemEventLog, "e")).record["message"] == "ready"


async def test_sessions_of_a_batch_are_described_in_the_order_sent(service: DatabaseService) -> None:
    """Sessions that records had made are filled in by the first of several."""
    await batch(service, of("events", event(sessionId="s")))
    answer = await batch(service, of("sessions", {"id": "s", "os": "a"}), of("sessions", {"id": "s", "os": "b"}))
    assert statuses(answer) == [201, 409]
    assert (await service.get(UserSession, "s")).record["os"] == "a"


@pytest.mark.parametrize(
    "item", [None, 1, "x", [], {}, {"model": "Nothing"}, {"model": 1}, {"model": "State", "category": "x"}]
)
async def test_an_item_that_names_no_model_fails_alone(service: DatabaseService, item: Any) -> None:
    """What is no record of a public model is refused, and the rest is stored."""
    answer = await batch(service, item, of("events", event()))
    assert (answer.status, statuses(answer)) == (207, [400, 201])
    assert answer.items[0]["retryable"] is False


async def test_a_failed_item_tells_what_is_wrong(service: DatabaseService) -> None:
    """Code, error, details and whether to try again; and its own id where it had one."""
    answer = await batch(service, of("requests", {"id": "mine", "method": 1}))
    [item] = answer.items
    assert answer.status == 400
    assert (item["id"], item["code"], item["retryable"]) == ("mine", "invalid", False)
    assert {detail["field"] for detail in item["details"]} == {"method", "endpoint", "statusCode"}


async def test_a_secret_is_not_repeated_as_an_id(service: DatabaseService) -> None:
    """An item refused for its id does not get it back."""
    secret = "ghp_" + "a1B2c3D4e5F6" * 3
    answer = await batch(service, of("events", event(id=secret)))
    assert answer.items[0]["id"] is None
    assert secret not in str(answer)


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ({"SystemEventLog": ThrottledError("busy", retry_after=2.2), "ApiRequestLog": ThrottledError("busy")}, 429),
        ({"SystemEventLog": UnavailableError("away", retry_after=2.2), "ApiRequestLog": ThrottledError("busy")}, 503),
    ],
)
async def test_when_all_can_be_sent_again_the_answer_says_so(
    service: DatabaseService, backend: FaultyBackend, errors: dict[str, Any], status: int
) -> None:
    """429 where the database throttles, 503 where it is away; Retry-After is the longest wait in whole seconds."""
    backend.faults.outcomes = errors
    answer = await batch(service, of("events", event(id="e")), of("requests", request_log()))
    assert (answer.status, answer.retry_after) == (status, 3)
    assert all(item["retryable"] and item["id"] for item in answer.items)


async def test_some_stored_and_some_to_send_again_is_207(service: DatabaseService, backend: FaultyBackend) -> None:
    """Retry-After is there whenever an item can be sent again."""
    backend.faults.raised["ApiRequestLog"] = UnavailableError("away")
    answer = await batch(service, of("events", event()), of("requests", request_log()))
    assert (answer.status, statuses(answer), answer.retry_after) == (207, [201, 503], 1)


async def test_none_stored_and_only_some_to_send_again_is_207(service: DatabaseService, backend: FaultyBackend) -> None:
    """A batch that must partly change is neither 400 nor 503."""
    backend.faults.raised["ApiRequestLog"] = UnavailableError("away")
    answer = await batch(service, of("events", {}), of("requests", request_log()))
    assert (answer.status, statuses(answer)) == (207, [400, 503])


async def test_a_record_that_the_database_refuses(service: DatabaseService, backend: FaultyBackend) -> None:
    """It is answered with its own error and not to be sent again; the others of the batch are stored."""
    backend.faults.outcomes["ApiRequestLog"] = TooLargeError("The record is too large for the database.")
    answer = await batch(service, of("events", event()), of("requests", request_log()))
    assert (answer.status, statuses(answer), answer.retry_after) == (207, [201, 413], None)
    assert (answer.items[1]["code"], answer.items[1]["retryable"]) == ("too_large", False)
    with pytest.raises(TooLargeError):
        await service.create(ApiRequestLog, request_log())


async def test_records_that_fail_by_our_own_fault(service: DatabaseService, backend: FaultyBackend) -> None:
    """Each is answered 500 and not to be sent again, and so is a batch of nothing else."""
    backend.faults.outcomes["ApiRequestLog"] = ServiceError("The database did not understand the request.")
    answer = await batch(service, of("requests", request_log()), of("requests", request_log()))
    assert (answer.status, statuses(answer), answer.retry_after) == (500, [500, 500], None)
    assert [item["retryable"] for item in answer.items] == [False, False]
    assert (await batch(service, of("requests", request_log()), of("requests", {}))).status == 207


async def test_records_whose_session_failed_are_sent_again(service: DatabaseService, backend: FaultyBackend) -> None:
    """Only the records of the session that could not be stored are not acknowledged."""
    backend.faults.raised["UserSession"] = UnavailableError("away")
    answer = await batch(service, of("events", event(sessionId="s")), of("events", event()))
    assert statuses(answer) == [503, 201]


async def test_redactions_are_counted(service: DatabaseService) -> None:
    """The answer tells how many secrets were taken out."""
    answer = await batch(service, of("events", event(details={"password": "x", "token": "y"})), of("events", event()))
    assert answer.redactions == 2


class SlowBackend(FaultyBackend):
    """Takes its time with requests."""

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        if model is ApiRequestLog:
            await asyncio.sleep(30)
        return await super().create_many(model, records)


async def test_what_the_deadline_leaves_no_time_for_can_be_sent_again(service: DatabaseService, tmp_path: Any) -> None:
    """Settled items keep their outcome; the others are 503 with the id to send them again under."""
    slow = DatabaseService(service.settings, SlowBackend(tmp_path))

    async def within_a_second() -> BatchAnswer:
        set_deadline(1)
        return await batch(slow, of("events", event()), of("requests", request_log()), of("requests", request_log(id="mine")))

    answer = await asyncio.create_task(within_a_second())
    assert (answer.status, statuses(answer)) == (207, [201, 503, 503])
    assert [item.get("code") for item in answer.items] == [None, "deadline_exceeded", "deadline_exceeded"]
    assert answer.items[2]["id"] == "mine"
    assert answer.items[1]["id"]
    await slow.close()


def test_an_array_holds_1_to_1000_items() -> None:
    """An empty batch is invalid, one of more than a thousand too large, and anything else no batch."""
    assert len(items_of_array([{}] * 1_000)) == 1_000
    for value, error in (([], InvalidError), ([{}] * 1_001, TooLargeError), ({}, InvalidError), ("x", InvalidError)):
        with pytest.raises(error):
            items_of_array(value)


def test_blank_lines_of_ndjson_don_t_count() -> None:
    """A line that is not JSON is an item that failed; blank ones are nothing."""
    items = items_of_lines(b'{"a": 1}\r\n\n  \n{"a": 1, "a": 2}\n[]')
    assert [item.value for item in items] == [{"a": 1}, None, []]
    assert items[1].error is not None
    assert items[1].error.details[0].field == "line 4"
    for body, error in ((b"\n \n", InvalidError), (b"1\n" * 1_001, TooLargeError)):
        with pytest.raises(error):
            items_of_lines(body)


def test_a_batch_past_its_limit_is_not_read() -> None:
    """Lines past the thousand and first are not looked at, nor is any made an item."""
    array: list[Any] = [{}] * 1_000_000
    lines = b"{}\n" * 1_000_000
    started = time.perf_counter()
    with pytest.raises(TooLargeError):
        items_of_array(array)
    with pytest.raises(TooLargeError):
        items_of_lines(lines)
    assert time.perf_counter() - started < 0.1


def test_a_line_is_named_by_its_number_in_the_body() -> None:
    """Blank lines count for the number, though they are no items."""
    [first, second] = items_of_lines(b"\n  \r\n {} \n\n[NaN]")
    assert (first.value, first.error) == ({}, None)
    assert second.error is not None
    assert [(detail.field, detail.message) for detail in second.error.details] == [
        ("line 5", "NaN is not JSON at line 1 column 2")
    ]
