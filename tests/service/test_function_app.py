"""The composed app: importing it touches nothing, and its files say what the host needs."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.environment import REPOSITORY, clean_environment


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_connects_nothing(tmp_path: Path) -> None:
    """No file is made, no thread started and no other database's driver imported before the first request."""
    code = """
import sys, threading, function_app
assert threading.active_count() == 1, threading.enumerate()
drivers = {"azure.cosmos", "azure.data.tables", "psycopg", "pymongo", "aiohttp", "sqlalchemy"}
assert not drivers & set(sys.modules), drivers & set(sys.modules)
assert "shared.api.description" not in sys.modules
"""
    done = run(code, DATABASE_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_stops_the_start() -> None:
    """The app does not load with a setting that can't be."""
    done = run("import function_app", DATABASE_TYPE="oracle")
    assert done.returncode != 0
    assert "DATABASE_TYPE is 'oracle'" in done.stderr


def test_the_host_keeps_every_exception() -> None:
    """Telemetry is sampled, exceptions never; the timeout leaves retention its budget."""
    host = json.loads((REPOSITORY / "host.json").read_text(encoding="utf-8"))
    excluded = host["logging"]["applicationInsights"]["samplingSettings"]["excludedTypes"].split(";")
    assert "Exception" in excluded
    assert (host["functionTimeout"], host["extensions"]["http"]["routePrefix"]) == ("00:10:00", "api")


def test_the_example_settings_start_the_service(tmp_path: Path) -> None:
    """What is copied from the example is a valid configuration."""
    example = json.loads((REPOSITORY / "local.settings.json.example").read_text(encoding="utf-8"))
    values = {**example["Values"], "DATABASE_DATA_DIR": str(tmp_path)}
    assert run("import function_app", **values).returncode == 0
