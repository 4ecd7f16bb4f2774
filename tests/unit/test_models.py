"""The models: what each declares once, and what they take and refuse."""

import pytest
from pydantic_core import ValidationError

from shared.models import (
    MODELS,
    PUBLIC_MODELS,
    ApiRequestLog,
    ImageGenerationTransaction,
    Record,
    SystemEventLog,
    UserSession,
)


@pytest.mark.parametrize("model", PUBLIC_MODELS)
def test_every_record_has_its_place_and_its_times(model: type[Record]) -> None:
    """id, timestamp, createdAt, updatedAt and metadata are fields of every model."""
    assert {"id", "timestamp", "createdAt", "updatedAt", "metadata"} <= model.wire_names
    assert {"id", "timestamp", "createdAt", "updatedAt"} <= model.immutable
    assert {"createdAt", "updatedAt"} <= model.server_set


@pytest.mark.parametrize("model", MODELS.values())
def test_what_a_model_declares_are_fields_of_its_own(model: type[Record]) -> None:
    """Filterable, immutable, server-set and duration fields are wire names of the model."""
    for names in (model.filterable, model.immutable, model.server_set, model.durations):
        assert set(names) <= model.wire_names


def test_user_ip_keeps_its_capitals() -> None:
    """Wire names are camelCase, except the one that the original wrote otherwise."""
    assert {"userIP", "userAgent", "originalPrompt"} <= ImageGenerationTransaction.wire_names


def test_who_a_record_belongs_to_never_changes() -> None:
    """Session, address and agent are immutable where a model has them."""
    assert {"sessionId", "userIP", "userAgent"} <= ImageGenerationTransaction.immutable & ApiRequestLog.immutable
    assert "sessionId" in SystemEventLog.immutable
    assert {"userIP", "userAgent"} <= UserSession.immutable


def test_counters_are_the_server_s() -> None:
    """Everything that is computed from a session's records is refused from clients."""
    derived = {"startTime", "lastActivity", "totalRequests", "successfulGenerations", "failedGenerations"}
    assert {*derived, "totalImagesGenerated", "apiRequests"} <= UserSession.server_set


def test_durations_are_declared() -> None:
    """The fields kept in histograms are the durations in milliseconds."""
    assert ImageGenerationTransaction.durations == (
        "totalDuration",
        "promptEnhancementDuration",
        "imageGenerationDuration",
        "imageProcessingDuration",
    )
    assert ApiRequestLog.durations == ("duration",)


@pytest.mark.parametrize(
    ("written", "kept"),
    [("INFO", "info"), ("Warning", "warn"), ("fatal", "error"), ("CRITICAL", "error"), ("debug", "debug")],
)
def test_levels_are_read_in_any_case(written: str, kept: str) -> None:
    """Warning means warn, fatal and critical mean error."""
    event = SystemEventLog.check({"eventType": "x", "message": "y", "level": written})
    assert event["level"] == kept


@pytest.mark.parametrize("duration", [0, 12, 12.5, 2**53])
def test_a_whole_number_of_milliseconds_stays_whole(duration: float) -> None:
    """A duration keeps the kind of number it was sent as."""
    log = ApiRequestLog.check({"method": "GET", "endpoint": "/", "statusCode": 200, "duration": duration})
    assert repr(log["duration"]) == repr(duration)


def test_types_are_strict() -> None:
    """A number in quotes is not a number."""
    with pytest.raises(ValidationError):
        ApiRequestLog.check({"method": "GET", "endpoint": "/", "statusCode": "200"})


def test_defaults_are_made_anew() -> None:
    """What nobody sent is a new object each time, so that one record's metadata is not another's."""
    first, second = (ImageGenerationTransaction.defaults() for _ in range(2))
    assert first == second == {"imageType": "logo", "metadata": {}}
    assert first["metadata"] is not second["metadata"]


@pytest.mark.parametrize(("name", "may_be_null"), [("apiModel", True), ("imageType", False), ("originalPrompt", False)])
def test_only_what_may_be_absent_may_be_null(name: str, may_be_null: bool) -> None:  # noqa: FBT001
    """A field that is required or has a default takes no null."""
    record = {"originalPrompt": "a fox", name: None}
    if may_be_null:
        assert ImageGenerationTransaction.check(record) == record
    else:
        with pytest.raises(ValidationError):
            ImageGenerationTransaction.check(record)
