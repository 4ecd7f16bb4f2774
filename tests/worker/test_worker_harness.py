"""The harness around the real worker: it takes what Azure takes, refuses what Azure refuses, and answers as the host."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.cli.host.bindings import HttpTrigger, TimerTrigger
from tests.support.clients import Client, HttpClient, WorkerClient
from tests.support.serve import Serve

if sys.version_info < (3, 13):
    pytest.skip("the worker's library needs Python 3.13", allow_module_level=True)

from tests.support.worker import IndexingFailedError, InvocationFailedError, Worker
from tests.support.worker_process import WorkerConnection, WorkerProcess

HEAD = "import asyncio, json, os, pathlib\nimport azure.functions as func\napp = func.FunctionApp()\n"
APP = """
@app.route(route="items/{id}", methods=["GET", "HEAD"])
async def read_item(req: func.HttpRequest) -> func.HttpResponse:
    seen = {"method": req.method, "url": req.url, "params": dict(req.params), "values": dict(req.route_params),
            "body": req.get_body().hex(), "header": req.headers.get("X-A"), "type": req.headers.get("content-type")}
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", headers={"X-One": "1"})

@app.route(route="items", methods=["POST"])
def create_item(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return func.HttpResponse(f"{context.function_name} {req.get_json()}", status_code=201)

@app.route(route="text", methods=["GET"])
async def text(req: func.HttpRequest) -> str:
    return "text"

@app.route(route="empty", methods=["GET"])
async def empty(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=204)

@app.route(route="fail", methods=["GET"])
async def fail(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("it is broken")

meeting = asyncio.Barrier(2)

@app.route(route="meet", methods=["GET"])
async def meet(req: func.HttpRequest) -> func.HttpResponse:
    await meeting.wait()
    return func.HttpResponse("met")

@app.timer_trigger(schedule="%NIGHTLY%", arg_name="timer")
async def nightly(timer: func.TimerRequest) -> None:
    if timer.past_due:
        raise RuntimeError("it is late")
    pathlib.Path(os.environ["MARK"]).write_text("ran")

class Service:
    async def close(self):
        pathlib.Path(os.environ["MARK"]).write_text("closed")

service = Service()
"""

REFUSED = {
    "an extra parameter": (
        "async def f(req: func.HttpRequest, other: str) -> func.HttpResponse: ...",
        "declared in Python but not in the function definition",
    ),
    "a parameter by another name": ("async def f(request: func.HttpRequest) -> func.HttpResponse: ...", "not in the function"),
    "a return of dict": ("async def f(req: func.HttpRequest) -> dict: ...", "does not match binding type"),
    "a return that is optional": ("async def f(req: func.HttpRequest) -> func.HttpResponse | None: ...", "invalid non-type"),
    "a request of another type": (
        "async def f(req: func.TimerRequest) -> func.HttpResponse: ...",
        "do not match the corresponding",
    ),
    "an annotation that is not imported": ("async def f(req: 'HttpRequest') -> func.HttpResponse: ...", "'HttpRequest' is not"),
}


def write_app(folder: Path, code: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "function_app.py").write_text(HEAD + code)
    return folder


@pytest.mark.parametrize(("signature", "message"), REFUSED.values(), ids=REFUSED)
async def test_the_worker_refuses_what_the_app_alone_accepts(tmp_path: Path, signature: str, message: str) -> None:
    """A handler that `get_functions` takes without a word does not index: this is the worker's own judgement."""
    code = f"@app.route(route='f')\n{signature}\n"
    accepted: dict[str, object] = {"__name__": "function_app"}
    exec(HEAD + code + "functions = app.get_functions()\n", accepted)
    assert accepted["functions"]
    with pytest.raises(IndexingFailedError, match=message):
        await Worker(write_app(tmp_path, code)).index()


async def test_an_app_is_indexed_and_called_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions are described by their bindings, settings resolved, and each can be called by name."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    worker = Worker(write_app(tmp_path, APP), {"NIGHTLY": "0 0 3 * * *"})
    functions = await worker.index()
    assert functions["create_item"].trigger == HttpTrigger("req", "items", ("POST",), "function")
    assert functions["nightly"].trigger == TimerTrigger("timer", "0 0 3 * * *", run_on_startup=False, use_monitor=True)
    response = await worker.http("text", method="GET", url="http://x/", headers={}, query={}, params={}, body=b"")
    assert (response.status, response.body) == (200, b"text")
    await worker.timer("nightly")
    assert (tmp_path / "mark").read_text() == "ran"
    with pytest.raises(InvocationFailedError, match="it is late"):
        await worker.timer("nightly", past_due=True)


async def test_another_app_can_be_indexed_after_it(tmp_path: Path) -> None:
    """Each folder's own function_app is imported, not the one before."""
    for name in ("one", "two"):
        code = f"@app.route(route='{name}')\nasync def {name}(req: func.HttpRequest) -> str:\n    return '{name}'\n"
        assert set(await Worker(write_app(tmp_path / name, code)).index()) == {name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker")
    write_app(path / "app", APP)
    return path


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[WorkerProcess]:
    environment = {"NIGHTLY": "0 0 3 * * *", "MARK": str(folder / "mark")}
    made = WorkerProcess(folder / "app", environment=environment, log=folder / "worker.log").start()
    yield made
    made.stop()
    assert (folder / "mark").read_text() == "closed"


@pytest.fixture(scope="module")
def serve(folder: Path) -> Iterator[Serve]:
    environment = {"NIGHTLY": "0 0 3 * * *", "MARK": str(folder / "mark-of-serve")}
    with Serve(folder / "app", state=folder / "state", log=folder / "serve.log", environment=environment) as made:
        yield made


@pytest.fixture(params=["worker", "serve"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "worker":
        async with WorkerConnection(request.getfixturevalue("process")) as connection:
            yield WorkerClient(connection)
    else:
        async with HttpClient(request.getfixturevalue("serve").url) as http:
            yield http


async def test_both_hosts_make_the_same_request(client: Client) -> None:
    """Route values, joined query, headers and body reach the function alike."""
    response = await client.request("GET", "/api/Items/a%20b", params=[("x", 1), ("x", 2)], headers={"x-a": "1"}, body=b"\xff")
    seen = response.json()
    assert seen.pop("url").endswith("/api/Items/a%20b?x=1&x=2")
    expected = {"params": {"x": "1,2"}, "values": {"id": "a b"}, "body": "ff", "header": "1", "type": None}
    assert seen == {"method": "GET", **expected}
    assert (response.headers["content-type"], response.headers["x-one"]) == ("application/json", "1")


async def test_both_hosts_answer_alike(client: Client) -> None:
    """Statuses, bodies and content types are the same for JSON, text, nothing, failure and what is not served."""
    created = await client.post("/api/items", json={"a": 1})
    assert (created.status, created.text) == (201, "create_item {'a': 1}")
    text = await client.get("/api/text")
    assert (text.status, text.text, text.headers["content-type"]) == (200, "text", "text/plain; charset=utf-8")
    for path, status in {"/api/empty": 204, "/api/fail": 500, "/api/nowhere": 404, "/api/items": 404}.items():
        response = await client.get(path)
        assert (response.status, response.body) == (status, b"")


async def test_both_hosts_answer_head_without_a_body(client: Client) -> None:
    """HEAD gives the length and nothing else."""
    response = await client.request("HEAD", "/api/items/1")
    assert (response.status, response.body) == (200, b"")
    assert int(response.headers["content-length"]) > 100


async def test_both_hosts_run_functions_at_the_same_time(client: Client) -> None:
    """Two requests that wait for each other meet."""
    async with asyncio.timeout(10):
        both = await asyncio.gather(client.get("/api/meet"), client.get("/api/meet"))
    assert [response.text for response in both] == ["met", "met"]


async def test_a_timer_runs_in_the_process(process: WorkerProcess, folder: Path) -> None:
    """A timer function is called through the connection, and its failure comes back."""
    async with WorkerConnection(process) as connection:
        await connection.timer("nightly")
        assert (folder / "mark").read_text() == "ran"
        with pytest.raises(InvocationFailedError, match="it is late"):
            await connection.timer("nightly", past_due=True)


async def test_a_process_says_why_it_does_not_start(tmp_path: Path) -> None:
    """An app that does not import fails the start with the worker's message."""
    process = WorkerProcess(write_app(tmp_path, "import nowhere\n"), environment={}, log=tmp_path / "log")
    with pytest.raises(IndexingFailedError, match="nowhere"):
        process.start()


async def test_a_killed_process_starts_again(tmp_path: Path) -> None:
    """Calls to a worker that was killed fail; after a start they are answered."""
    code = "@app.route(route='p')\nasync def p(req: func.HttpRequest) -> str:\n    return 'p'\n"
    process = WorkerProcess(write_app(tmp_path, code), environment={}, log=tmp_path / "log").start()
    async with WorkerConnection(process) as connection:
        process.kill()
        with pytest.raises(ConnectionError):
            await WorkerClient(connection).get("/api/p")
    process.start()
    async with WorkerConnection(process) as connection:
        assert (await WorkerClient(connection).get("/api/p")).text == "p"
    process.stop()
