"""Health over a database that fails: 503, and nothing of the driver in it."""

import asyncio
import json
from pathlib import Path

import azure.functions as func
import pytest

from shared.api import health
from shared.config import Settings
from shared.errors import ConfigurationError, ThrottledError, UnavailableError
from shared.service import DatabaseService
from tests.service.parts import FaultyBackend


class SickBackend(FaultyBackend):
    """Connects, and then fails or hangs when asked how it is."""

    def __init__(self, root: Path, error: BaseException | None) -> None:
        super().__init__(root)
        self._error = error

    async def health(self) -> None:
        if self._error is not None:
            raise self._error
        await asyncio.sleep(60)


async def ask(service: DatabaseService, **parameters: str) -> func.HttpResponse:
    app = func.FunctionApp()
    app.register_functions(health.blueprint(service))
    [function] = app.get_functions()
    request = func.HttpRequest("GET", "http://localhost/api/health", params=parameters, body=b"")
    response: func.HttpResponse = await function.get_user_function()(request)
    await service.close()
    return response


@pytest.mark.parametrize(
    "error", [UnavailableError("away", retry_after=5), ThrottledError("busy"), ConfigurationError("SALT"), None]
)
async def test_a_database_that_fails_is_unhealthy(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    """Away, throttling, not configured or hanging: 503 with the problem's members and when to ask again."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.05)
    answer = await ask(DatabaseService(settings, SickBackend(tmp_path, error)))
    body = json.loads(answer.get_body())
    assert answer.status_code == 503
    assert (body["success"], body["status"], body["database"]) == (False, "unhealthy", {"type": "file"})
    assert {"error", "code", "requestId", "timestamp"} <= set(body)
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_live_probe_asks_no_database(settings: Settings, tmp_path: Path) -> None:
    """The process is alive though its database is not."""
    answer = await ask(DatabaseService(settings, SickBackend(tmp_path, UnavailableError("away"))), probe="live")
    assert answer.status_code == 200


async def test_a_bug_is_not_called_unhealthy(settings: Settings, tmp_path: Path) -> None:
    """An error that nobody expected is 500."""
    answer = await ask(DatabaseService(settings, SickBackend(tmp_path, RuntimeError("bug"))))
    assert answer.status_code == 500


async def test_a_wrong_setting_is_logged(settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator reads what is wrong in the log; the answer, open to all, does not say."""
    answer = await ask(DatabaseService(settings, SickBackend(tmp_path, ConfigurationError("PRIVACY_SALT is not set"))))
    [line] = [record for record in caplog.records if record.message == "configuration"]
    assert line.__dict__["reason"] == "PRIVACY_SALT is not set"
    assert answer.status_code == 503
    assert b"PRIVACY_SALT" not in answer.get_body()
