"""`python -m shared serve` as a process: how it stops, what it makes up for, and why it does not start."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.apps import make, run, until, write_app
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY, clean_environment
from tests.support.serve import Serve


async def test_a_stop_finishes_the_request_in_hand(tmp_path: Path) -> None:
    """After SIGTERM no connection is taken, what is in hand is answered, the service is closed, and the exit code is 0."""
    code = """
@app.route(route="wait", methods=["GET"])
async def wait(req: func.HttpRequest) -> func.HttpResponse:
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return func.HttpResponse("done")

class Service:
    async def close(self):
        print("service closed", flush=True)

service = Service()
"""
    serve = make(tmp_path, code).start()
    async with HttpClient(serve.url) as client:
        answer = asyncio.create_task(client.get("/api/wait"))
        await until((tmp_path / "app" / "begun").exists)
        serve.send_signal(signal.SIGTERM)
        await until(lambda: "Stopping" in serve.output())
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(socket.create_connection, ("127.0.0.1", serve.port))
        (tmp_path / "app" / "go").touch()
        assert (await answer).text == "done"
    assert await asyncio.to_thread(serve.wait) == 0
    assert "service closed" in serve.output()


BUSY = """
@app.route(route="hang", methods=["GET"])
def hang(req: func.HttpRequest) -> func.HttpResponse:
    pathlib.Path("begun").touch()
    time.sleep(600)
"""


@pytest.mark.parametrize(("arguments", "signals", "expected"), [(["--grace", "0.2"], 1, 0), ([], 2, 128 + signal.SIGINT)])
async def test_a_stop_does_not_wait_for_ever(tmp_path: Path, arguments: list[str], signals: int, expected: int) -> None:
    """What is not done within the grace is cut off, a thread too; a second signal ends the host at once."""
    serve = make(tmp_path, BUSY, *arguments).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    writer.write(b"GET /api/hang HTTP/1.1\r\nHost: x\r\n\r\n")
    await until((tmp_path / "app" / "begun").exists)
    serve.send_signal(signal.SIGINT)
    await until(lambda: "Stopping" in serve.output())
    if signals == 2:
        serve.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(serve.wait) == expected
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_a_service_that_fails_to_close_is_told(tmp_path: Path) -> None:
    """The exit code is 1 where the service could not be closed."""
    serve = make(tmp_path, "class Service:\n    async def close(self):\n        raise OSError('disk')\nservice = Service()\n")
    serve.start().send_signal(signal.SIGTERM)
    assert serve.wait() == 1
    assert "OSError: disk" in serve.output()


TICKER = """
@app.timer_trigger(schedule="0 0 * * * *", arg_name="timer")
async def hourly(timer: func.TimerRequest) -> None:
    with open("runs.log", "a") as log:
        print(timer.past_due, file=log)
        await asyncio.sleep(0.1)
"""


async def test_a_run_missed_while_the_host_was_down_is_made_up_for(tmp_path: Path) -> None:
    """On the next start the function runs once, past due; after another start there is nothing to make up for."""
    runs, status = tmp_path / "app" / "runs.log", tmp_path / "state" / "timers" / "hourly.json"
    serve = make(tmp_path, TICKER).start()
    await until(status.exists)
    serve.kill()
    assert not runs.exists()
    ago = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    remembered = {"Last": ago, "Next": ago + timedelta(hours=1), "LastUpdated": ago}
    status.write_text(json.dumps({key: moment.isoformat() for key, moment in remembered.items()}))
    serve.start()
    await until(runs.exists)
    serve.restart()
    serve.stop()
    assert runs.read_text() == "True\n"


@pytest.mark.parametrize(("host", "path"), [({"extensions": {"http": {"routePrefix": "v1/x"}}}, "/v1/x/p")])
async def test_the_route_prefix_is_host_jsons(tmp_path: Path, host: object, path: str) -> None:
    """`extensions.http.routePrefix` stands for `api`."""
    code = "@app.route(route='p')\nasync def p(req: func.HttpRequest) -> str:\n    return 'p'\n"
    with make(tmp_path, code, host=host) as serve:
        async with HttpClient(serve.url) as client:
            assert (await client.get(path)).text == "p"
            assert (await client.get("/api/p")).status == 404


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """A port that is taken stops the start with one line that names it and the way out."""
    write_app(tmp_path, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(tmp_path, "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: can't listen on 127.0.0.1 port {port}: address already in use;"
        " stop what uses it or choose another port with --port\n"
    )


CANNOT_START = [
    pytest.param(
        "from shared.errors import ConfigurationError\nraise ConfigurationError('X is 1; must be 2')\n",
        r"error: X is 1; must be 2\n",
        id="a wrong setting",
    ),
    pytest.param("import nowhere\n", r"(?s)Traceback.*error: function_app.py can't be imported: ModuleNotFound.*", id="import"),
    pytest.param("app = None\n", r"error: function_app.py defines no function apps; it must define one\n", id="no app"),
    pytest.param(
        "from shared.errors import ConfigurationError\nclass Service:\n    async def initialize(self):\n"
        "        raise ConfigurationError('X is 1; must be 2')\nservice = Service()\n",
        r"(?s)(?!.*Traceback).*error: X is 1; must be 2\n",
        id="a setting that is wrong for the database",
    ),
    pytest.param(
        "from shared.errors import UnavailableError\nclass Service:\n    async def initialize(self):\n"
        "        raise UnavailableError('The disk is away.')\nservice = Service()\n",
        r"(?s)(?!.*Traceback).*error: the service can't start: The disk is away\.\n",
        id="a database that is away",
    ),
    pytest.param("more = func.FunctionApp()\n", r"error: function_app.py defines 2 function apps.*\n", id="two apps"),
]


@pytest.mark.parametrize(("code", "message"), CANNOT_START)
def test_an_app_that_can_not_start_says_why(tmp_path: Path, code: str, message: str) -> None:
    """A configuration error is one line and no traceback; a bug in the app is shown with its traceback."""
    write_app(tmp_path, code)
    result = run(tmp_path, "--port", "0")
    assert result.returncode == 1
    assert re.fullmatch(message, result.stderr)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("host.json", "{", "host.json can't be read"),
        ("host.json", "[]", "host.json is not a JSON object"),
        ("host.json", '{"functionTimeout": "soon"}', "functionTimeout in host.json is 'soon'"),
        ("local.settings.json", '{"IsEncrypted": true}', "is encrypted"),
        ("local.settings.json", '{"Values": {"A": 1}}', "must be an object of strings"),
    ],
)
def test_a_broken_settings_file_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    """What is wrong with host.json or local.settings.json is one line that names the file."""
    write_app(tmp_path, "")
    (tmp_path / name).write_text(content)
    result = run(tmp_path, "--port", "0")
    assert (result.returncode, result.stderr.count("\n"), message in result.stderr) == (1, 1, True)


def test_a_folder_without_an_app_is_said(tmp_path: Path) -> None:
    """Without function_app.py there is nothing to serve."""
    result = run(tmp_path, "--port", "0")
    assert (result.returncode, "there is no function_app.py" in result.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--port", "65536"], ["--grace", "-1"], ["--nope"]])
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    """Arguments that can't be meant are refused with the usage."""
    result = run(tmp_path, *arguments)
    assert (result.returncode, "usage: python -m shared" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("library", "requirements"), [("aiohttp", "requirements-local.txt"), ("azure.functions", "requirements.txt")]
)
def test_a_missing_library_is_said(tmp_path: Path, library: str, requirements: str) -> None:
    """Without what the host needs, the line that installs it is said."""
    code = f"import sys; sys.modules[{library!r}] = None; from shared.cli import main; sys.exit(main(['serve']))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    expected = f"error: {library} is not installed; run: pip install -r {requirements}\n"
    assert (result.returncode, result.stderr) == (1, expected)


@pytest.mark.parametrize(("arguments", "lines"), [((), 0), (("--verbose",), 1)])
async def test_requests_are_lines_of_the_log_only_where_asked_for(
    tmp_path: Path, arguments: tuple[str, ...], lines: int
) -> None:
    """The service's own line for a request that caused no trouble is printed with --verbose."""
    environment = {"DATABASE_DATA_DIR": str(tmp_path / "data")}
    with Serve(REPOSITORY, state=tmp_path, log=tmp_path / "log", environment=environment, arguments=arguments) as serve:
        async with HttpClient(serve.url) as client:
            assert (await client.get("/api/health?probe=live")).status == 200
    assert serve.output().count("shared.api.endpoint: request") == lines
