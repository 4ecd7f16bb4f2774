"""The README's command lines work as typed, and its tables say what the code says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.config import Settings
from tests.support.environment import REPOSITORY, clean_environment
from tests.support.serve import Serve

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in block]
COMMANDS = [command for block in BLOCKS for command in re.findall(r"^curl .*?(?=^curl |\Z)", block, re.DOTALL | re.MULTILINE)]

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("readme")
    environment = {"DATABASE_DATA_DIR": str(folder / "data")}
    with Serve(REPOSITORY, state=folder / "state", log=folder / "serve.log", environment=environment) as running:
        yield running


def type_command(command: str, serve: Serve, folder: Path) -> tuple[int, str]:
    """The status and the body that a command line gets, typed into a shell."""
    typed = command.replace("http://localhost:7071", serve.url).replace("curl -s", "curl -s -o body -w '%{http_code}'", 1)
    done = subprocess.run(
        ["bash", "-c", typed], cwd=folder, env=clean_environment(), capture_output=True, check=True, text=True
    )
    body = folder / "body"
    return int(done.stdout), body.read_text(encoding="utf-8") if body.exists() else ""


@needs_curl
def test_the_curl_lines_work_as_typed(serve: Serve, tmp_path: Path) -> None:
    """Each succeeds in the order of the README, and what it answers says so."""
    assert len(COMMANDS) == 12
    for command in COMMANDS:
        status, body = type_command(command, serve, tmp_path)
        assert 200 <= status < 300, f"{command}\n{status} {body}"
        if status == 200:
            assert json.loads(body)["success"] is True
        (tmp_path / "body").unlink(missing_ok=True)


@needs_curl
def test_the_creates_can_be_typed_again(serve: Serve, tmp_path: Path) -> None:
    """Each create sends an id, so that typing it twice stores one record."""
    creates = [command for command in COMMANDS if "'content-type: application/" in command and "/api/" in command]
    creates = [command for command in creates if "PATCH" not in command]
    assert len(creates) == 2
    for command in creates:
        type_command(command, serve, tmp_path)
        status, body = type_command(command, serve, tmp_path)
        answer = json.loads(body)
        assert answer.get("duplicate") is True or answer["duplicates"] == len(answer["items"]), (status, body)


def test_the_configuration_table_has_every_variable() -> None:
    """The README's table names the variables that the configuration reads, and no other."""

    class Recording(dict[str, str]):
        def get(self, key: str, default: object = None) -> str:
            read.add(key)
            return ""

    read: set[str] = set()
    Settings.from_env(Recording())
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert documented == read - {"WEBSITE_INSTANCE_ID", "AZURE_FUNCTIONS_ENVIRONMENT"}
