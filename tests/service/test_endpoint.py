"""The decorator of all functions: deadline, errors of every kind, and logs that hold nothing of a client."""

import asyncio
import json
import logging
from typing import Any

import azure.functions as func
import pytest

from shared.api.endpoint import Answer, Call, Handler, endpoint
from shared.config import Settings
from shared.errors import ConfigurationError, NotFoundError, ThrottledError, UnavailableError
from shared.service import DatabaseService

SECRET = "hush-hush"


async def call(service: DatabaseService, handler: Handler, **options: Any) -> func.HttpResponse:
    function = endpoint(service, "probe", **options)(handler)
    return await function(func.HttpRequest("GET", "http://localhost/api/x", headers={"x-request-id": "r-1"}, body=b""))


def raising(error: BaseException) -> Handler:
    async def handler(_: Call) -> Answer:
        raise error

    return handler


async def test_a_transient_error_tells_when_to_come_back(service: DatabaseService) -> None:
    """Retry-After is in whole seconds, at least one."""
    for error, status, seconds in (
        (ThrottledError("busy", retry_after=2.1), 429, "3"),
        (UnavailableError("away", retry_after=0), 503, "1"),
    ):
        answer = await call(service, raising(error))
        assert (answer.status_code, answer.headers["retry-after"]) == (status, seconds)


async def test_a_caller_s_error_has_no_retry_after(service: DatabaseService) -> None:
    """The same request won't do better."""
    answer = await call(service, raising(NotFoundError("none")))
    assert answer.status_code == 404
    assert "retry-after" not in answer.headers


async def test_a_request_that_runs_out_of_time_is_503(settings: Settings) -> None:
    """The answer comes by the deadline, and says that the same request may be sent again."""
    service = DatabaseService(Settings(database_data_dir=settings.database_data_dir, request_deadline_seconds=0.1))

    async def slow(_: Call) -> Answer:
        await asyncio.sleep(30)
        return Answer()

    answer = await call(service, slow)
    assert (answer.status_code, json.loads(answer.get_body())["code"]) == (503, "deadline_exceeded")
    assert answer.headers["retry-after"] == "1"


async def test_a_timeout_of_something_else_is_not_the_deadline(service: DatabaseService) -> None:
    """A TimeoutError that nobody expected is a bug."""
    assert (await call(service, raising(TimeoutError()))).status_code == 500


@pytest.mark.parametrize("error", [RuntimeError(SECRET), ExceptionGroup(SECRET, [ValueError(SECRET)]), KeyError(SECRET)])
async def test_a_bug_is_500_and_keeps_quiet(
    service: DatabaseService, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Neither the answer nor the log holds the exception's text; the log has its type, place and the request's id."""
    answer = await call(service, raising(error))
    assert answer.status_code == 500
    assert json.loads(answer.get_body())["code"] == "internal_error"
    assert SECRET.encode() not in answer.get_body()
    bug = next(record for record in caplog.records if record.message == "bug")
    assert (bug.__dict__["error_type"], bug.__dict__["request_id"]) == (type(error).__name__, "r-1")
    assert any("raising" in frame or "handler" in frame for frame in bug.__dict__["frames"])
    assert SECRET not in str([record.__dict__ for record in caplog.records])


async def test_a_missing_setting_is_503_and_told_to_the_operator_only(
    service: DatabaseService, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns that the service is not configured; the log says which variable."""
    answer = await call(service, raising(ConfigurationError("PRIVACY_SALT is not set")))
    assert answer.status_code == 503
    assert b"PRIVACY_SALT" not in answer.get_body()
    assert "PRIVACY_SALT is not set" in str([record.__dict__ for record in caplog.records])


async def test_a_cancelled_request_stays_cancelled(service: DatabaseService) -> None:
    """A host that stops is not answered with a 500."""
    with pytest.raises(asyncio.CancelledError):
        await call(service, raising(asyncio.CancelledError()))


async def test_every_request_is_logged_once(service: DatabaseService, caplog: pytest.LogCaptureFixture) -> None:
    """Function, status, duration and request id, and nothing that a client sent."""
    caplog.set_level(logging.INFO)

    async def handler(_: Call) -> Answer:
        return Answer({"success": True})

    await call(service, handler)
    [record] = [record for record in caplog.records if record.name == "shared.api.endpoint"]
    assert (record.message, record.levelname) == ("request", "INFO")
    assert {name: record.__dict__[name] for name in ("function", "status", "request_id")} == {
        "function": "probe",
        "status": 200,
        "request_id": "r-1",
    }
    assert service.latency.figures()["probe"]["count"] == 1


async def test_a_request_that_failed_is_logged_louder(service: DatabaseService, caplog: pytest.LogCaptureFixture) -> None:
    """A host that logs trouble only tells of a 503, with the id that its answer carried, and of no success."""
    caplog.set_level(logging.INFO)
    await call(service, raising(UnavailableError("away")))
    await call(service, raising(NotFoundError("none")))
    told = [(record.levelno, getattr(record, "request_id", None)) for record in caplog.records if record.message == "request"]
    assert told == [(logging.WARNING, "r-1"), (logging.INFO, "r-1")]
