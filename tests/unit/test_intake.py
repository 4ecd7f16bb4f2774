"""Preparing records: every bad field named, privacy before anything else, and what the server fills in."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import jsontext
from shared.errors import InvalidError, TooLargeError
from shared.histograms import bucket_of
from shared.ids import derive_session_id, mint_id, time_of_id
from shared.intake import Intake
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.privacy import Privacy
from shared.retention import RetentionPolicy

NOW = "2024-06-15T12:00:00.000Z"
SALT = b"0123456789abcdef"
PROMPT = {"originalPrompt": "a fox"}
REQUEST = {"method": "GET", "endpoint": "/", "statusCode": 200}


def make_intake(mode: str = "truncate", **days: int) -> Intake:
    clock: Callable[[], datetime] = lambda: datetime(2024, 6, 15, 12, tzinfo=UTC)  # noqa: E731 - a clock that stands
    return Intake(Privacy(SALT, mode), SALT, RetentionPolicy(days), clock)


INTAKE = make_intake()


def refused(model: type[Record], raw: Any, key: str | None = None, intake: Intake = INTAKE) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        intake.prepare(model, raw, key)
    return {detail.field: detail.message for detail in caught.value.details}


def test_a_record_is_stored_with_what_follows_from_it() -> None:
    """Id, timestamp, status, image type and the server's times are filled in, in one fixed order."""
    prepared = INTAKE.prepare(ImageGenerationTransaction, {"success": True, "totalDuration": 12, **PROMPT})
    record = prepared.stored.record
    assert record == {
        "id": record["id"],
        "timestamp": NOW,
        "originalPrompt": "a fox",
        "imageType": "logo",
        "status": "completed",
        "success": True,
        "totalDuration": 12,
        "metadata": {},
        "createdAt": NOW,
        "updatedAt": NOW,
    }
    assert time_of_id(record["id"]) == NOW
    assert list(record) == [
        *[name for name in record if name not in ("metadata", "createdAt", "updatedAt")],
        "metadata",
        "createdAt",
        "updatedAt",
    ]
    assert prepared.stored.hidden.buckets == {"totalDuration": bucket_of(12)}


@pytest.mark.parametrize(
    ("sent", "status", "success"),
    [
        ({}, "pending", None),
        ({"success": True}, "completed", True),
        ({"success": False}, "failed", False),
        ({"status": "completed"}, "completed", True),
        ({"status": "failed"}, "failed", False),
        ({"status": "pending"}, "pending", None),
        ({"status": "completed", "success": None}, "completed", True),
    ],
)
def test_status_and_success_follow_each_other(sent: dict[str, Any], status: str, success: bool | None) -> None:  # noqa: FBT001
    """Either gives the other; neither means pending."""
    record = INTAKE.prepare(ImageGenerationTransaction, {**PROMPT, **sent}).stored.record
    assert (record["status"], record.get("success")) == (status, success)


@pytest.mark.parametrize("sent", [{"status": "failed", "success": True}, {"status": "pending", "success": False}])
def test_a_contradiction_names_both_fields(sent: dict[str, Any]) -> None:
    """Success and status that say different things are refused."""
    assert set(refused(ImageGenerationTransaction, {**PROMPT, **sent})) == {"status", "success"}


@pytest.mark.parametrize(("code", "failed"), [(200, False), (499, False), (500, True), (599, True)])
def test_server_errors_count_as_failed(code: int, failed: bool) -> None:  # noqa: FBT001 - a table's column
    """ErrorOccurred defaults from the status code, unless the client says otherwise."""
    assert INTAKE.prepare(ApiRequestLog, {**REQUEST, "statusCode": code}).stored.record["errorOccurred"] is failed
    said = INTAKE.prepare(ApiRequestLog, {**REQUEST, "statusCode": code, "errorOccurred": not failed})
    assert said.stored.record["errorOccurred"] is not failed


def test_every_bad_field_is_named_and_no_value_repeated() -> None:
    """One answer tells of unknown, missing, server-set, mistyped and out-of-range fields alike."""
    raw = {
        "method": 5,
        "statusCode": 99,
        "duration": -1,
        "createdAt": NOW,
        "prompt": "hush-hush",
        "requestHeaders": {"a": {"deep": "hush-hush"}},
        "requestBody": {"x": ["hush-hush\0"]},
        "metadata": [],
        "timestamp": "hush-hush",
    }
    messages = refused(ApiRequestLog, raw)
    assert messages == {
        "method": "must be a string",
        "endpoint": "is required",
        "statusCode": "must be at least 100",
        "duration": "must be at least 0",
        "createdAt": "is set by the server",
        "prompt": "is not a field of ApiRequestLog",
        "requestHeaders.a": "must be a string, a number or a list of them",
        "requestBody.x.0": "holds a NUL character",
        "metadata": "must be an object",
        "timestamp": "is not an RFC 3339 timestamp such as 2024-01-01T12:00:00.000Z",
    }


def test_python_names_are_not_wire_names() -> None:
    """snake_case is unknown on the wire."""
    assert set(refused(ImageGenerationTransaction, {"original_prompt": "x"})) == {"original_prompt", "originalPrompt"}


def test_names_that_can_not_be_written_are_still_refused_by_name() -> None:
    """A name with a lone surrogate or of a hundred thousand characters is told in a form that fits an answer."""
    messages = refused(SystemEventLog, {"eventType": "x", "message": "y", "\ud800": 1, "z" * 100_000: 2})
    assert set(messages) == {"?", "z" * 128}


def test_the_answer_to_many_mistakes_stays_short() -> None:
    """More than a hundred mistakes are not all listed."""
    raw = {f"x{number}": 1 for number in range(1_000)}
    with pytest.raises(InvalidError) as caught:
        INTAKE.prepare(UserSession, raw)
    assert len(caught.value.details) == 101
    assert caught.value.details[-1].message == "and more problems"


@pytest.mark.parametrize("raw", [None, [], "x", 1, True])
def test_a_record_is_an_object(raw: Any) -> None:
    """Anything but a JSON object is refused."""
    assert set(refused(UserSession, raw)) == {""}


def test_null_is_absent() -> None:
    """A null is as good as no member, at the top level only."""
    prepared = INTAKE.prepare(ApiRequestLog, {**REQUEST, "duration": None, "requestBody": None, "metadata": {"a": None}})
    assert "duration" not in prepared.content
    assert "requestBody" not in prepared.stored.record
    assert prepared.stored.record["metadata"] == {"a": None}


def test_the_time_comes_from_the_timestamp_then_the_id_then_the_clock() -> None:
    """A UUIDv7 gives its time to a record without one."""
    minted = mint_id("2024-03-01T00:00:00.000Z", None)
    event = {"eventType": "x", "message": "y"}
    said = INTAKE.prepare(SystemEventLog, {**event, "id": minted, "timestamp": "2024-02-01T00:00:00Z"})
    assert said.stored.timestamp == "2024-02-01T00:00:00.000Z"
    carried = INTAKE.prepare(SystemEventLog, {**event, "id": minted})
    assert carried.stored.timestamp == "2024-03-01T00:00:00.000Z"
    undated = INTAKE.prepare(SystemEventLog, {**event, "id": "mine"})
    assert undated.stored.timestamp == NOW


def test_the_key_is_the_id_of_a_record_that_brings_none() -> None:
    """Idempotency-Key counts only without an id."""
    assert INTAKE.prepare(UserSession, {}, "key-1").stored.id == "key-1"
    assert INTAKE.prepare(UserSession, {"id": "mine"}, "key-1").stored.id == "mine"
    assert set(refused(UserSession, {}, "no key")) == {"Idempotency-Key"}


@pytest.mark.parametrize("field", ["timestamp", "endTime"])
def test_times_more_than_a_day_ahead_are_refused(field: str) -> None:
    """Clocks may be wrong by a day, not more."""
    INTAKE.prepare(UserSession, {field: "2024-06-16T12:00:00Z"})
    assert refused(UserSession, {field: "2024-06-16T12:00:00.001Z"}) == {field: "is more than 24 h ahead"}


def test_an_id_may_not_carry_a_time_ahead_unless_a_timestamp_says_otherwise() -> None:
    """The time in an id is held to the same rule when it becomes the record's."""
    ahead = mint_id("2030-01-01T00:00:00.000Z", None)
    assert set(refused(UserSession, {"id": ahead})) == {"id"}
    assert set(refused(UserSession, {}, ahead)) == {"Idempotency-Key"}
    INTAKE.prepare(UserSession, {"id": ahead, "timestamp": NOW})


def test_what_is_past_its_retention_is_refused() -> None:
    """A new record that no read would return is not taken."""
    intake = make_intake(SystemEventLog=30)
    event = {"eventType": "x", "message": "y"}
    intake.prepare(SystemEventLog, {**event, "timestamp": "2024-05-16T12:00:00Z"})
    with pytest.raises(InvalidError) as caught:
        intake.prepare(SystemEventLog, {**event, "timestamp": "2024-05-16T11:59:59.999Z"})
    assert caught.value.error_code == "past_retention"


def test_a_visitor_without_session_gets_the_day_s_one() -> None:
    """The session is derived from the whole address, before it is cut, the agent and the record's own day."""
    raw = {**PROMPT, "userIP": "[2001:db8::1]:443", "userAgent": "Firefox", "timestamp": "2024-05-01T23:00:00Z"}
    record = INTAKE.prepare(ImageGenerationTransaction, raw).stored.record
    assert record["sessionId"] == derive_session_id(SALT, "2001:db8::1", "Firefox", "2024-05-01")
    assert record["userIP"] == "2001:db8::"


@pytest.mark.parametrize(
    ("model", "raw"),
    [
        (ImageGenerationTransaction, PROMPT),
        (ImageGenerationTransaction, {**PROMPT, "userIP": "unknown"}),
        (ApiRequestLog, {**REQUEST, "userAgent": ""}),
        (SystemEventLog, {"eventType": "x", "message": "y"}),
        (UserSession, {"userIP": "192.0.2.1"}),
    ],
)
def test_without_a_visitor_there_is_no_session(model: type[Record], raw: dict[str, Any]) -> None:
    """Nobody's records don't share one session."""
    assert "sessionId" not in INTAKE.prepare(model, raw).stored.record


def test_a_session_that_the_client_names_is_kept() -> None:
    """A sessionId is never replaced by a derived one."""
    raw = {**PROMPT, "sessionId": "mine", "userIP": "192.0.2.1"}
    assert INTAKE.prepare(ImageGenerationTransaction, raw).stored.record["sessionId"] == "mine"


def test_secrets_don_t_get_in() -> None:
    """Privacy comes before storing, and tells how much it took out."""
    token = "sk-ant-api03-" + "a1B2" * 20
    prepared = INTAKE.prepare(
        ApiRequestLog, {**REQUEST, "requestHeaders": {"Authorization": "Bearer x"}, "errorMessage": token}
    )
    assert prepared.redactions == 2
    assert token not in jsontext.dumps(prepared.stored.record)
    assert prepared.stored.record["requestHeaders"] == {"Authorization": "[REDACTED]"}


@pytest.mark.parametrize("field", ["id", "sessionId"])
def test_an_id_that_is_a_secret_is_refused(field: str) -> None:
    """An id can't be redacted, so it is refused."""
    assert set(refused(ImageGenerationTransaction, {**PROMPT, field: "ghp_" + "a1B2c3D4e5F6" * 3})) == {field}


def test_a_large_record_is_refused() -> None:
    """A record has at most 256 KB."""
    with pytest.raises(TooLargeError):
        INTAKE.prepare(ApiRequestLog, {**REQUEST, "requestBody": ["é" * 1_000] * 132})
    INTAKE.prepare(ApiRequestLog, {**REQUEST, "requestBody": ["é" * 1_000] * 128})


def test_the_content_hash_knows_nothing_of_the_server() -> None:
    """The same content has the same hash at any time, in any order, under any id; other content another."""
    one = INTAKE.prepare(ApiRequestLog, {**REQUEST, "id": "a"}).stored.hidden.content_hash
    same = INTAKE.prepare(ApiRequestLog, {"id": "b", **dict(reversed(REQUEST.items()))}).stored.hidden.content_hash
    other = INTAKE.prepare(ApiRequestLog, {**REQUEST, "errorOccurred": False}).stored.hidden.content_hash
    assert one == same != other


@pytest.mark.parametrize("mode", ["truncate", "hash", "drop", "full"])
def test_the_privacy_version_names_mode_and_salt(mode: str) -> None:
    """Hashes made under other rules are not compared."""
    version = make_intake(mode).prepare(UserSession, {}).stored.hidden.privacy_version
    others = {
        make_intake(other).prepare(UserSession, {}).stored.hidden.privacy_version
        for other in ("truncate", "hash", "drop", "full")
    }
    assert len(others) == 4
    assert version in others


@given(st.dictionaries(st.sampled_from([*UserSession.wire_names]), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_any_object_is_either_prepared_or_refused(raw: dict[str, Any]) -> None:
    """No input is a bug."""
    with suppress(InvalidError):
        UserSession.check(INTAKE.prepare(UserSession, raw).stored.record)


def test_what_fields_say_of_each_other_is_told_with_the_rest() -> None:
    """A contradiction, a bad key, a time ahead and an unknown field are one answer."""
    raw = {**PROMPT, "status": "failed", "success": True, "timestamp": "2999-01-01T00:00:00+01:00", "nope": 1, "fileSize": -1}
    with pytest.raises(InvalidError) as caught:
        INTAKE.prepare(ImageGenerationTransaction, raw, "no key")
    assert {detail.field for detail in caught.value.details} == {
        *("status", "success", "timestamp", "nope", "fileSize", "Idempotency-Key"),
    }


def test_a_secret_id_and_a_late_time_are_told_with_the_rest() -> None:
    """Being past the retention is the answer's code only where nothing else is wrong."""
    raw = {"sessionId": "ghp_" + "a1B2c3D4e5F6" * 3, "timestamp": "2020-01-01T00:00:00Z", "eventType": "x"}
    with pytest.raises(InvalidError) as caught:
        make_intake(SystemEventLog=30).prepare(SystemEventLog, raw)
    assert {detail.field for detail in caught.value.details} == {"sessionId", "timestamp", "message"}
    assert caught.value.error_code == "invalid"


@pytest.mark.parametrize("filler", ["x" * 300_000, ["\ud800"] * 50_000, {f"k{n}": {"\0": n} for n in range(20_000)}])
def test_a_large_record_is_refused_before_it_is_looked_at(filler: Any) -> None:
    """The size of what was sent comes first, also where the text can't be encoded."""
    with pytest.raises(TooLargeError):
        INTAKE.prepare(ApiRequestLog, {**REQUEST, "metadata": {"a": filler}, "nope": 1})


def test_a_field_with_many_mistakes_is_not_read_to_its_end() -> None:
    """A hundred problems of one field and a word that there are more."""
    with pytest.raises(InvalidError) as caught:
        INTAKE.prepare(ApiRequestLog, {**REQUEST, "metadata": {f"k{n}": "\0" for n in range(5_000)}})
    assert (len(caught.value.details), caught.value.details[-1].message) == (101, "and more problems")
