"""`python -m shared serve` on a small app, as a process, over real HTTP: what functions get and clients see."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.apps import until, write_app
from tests.support.clients import HttpClient
from tests.support.serve import Serve

APP = """
@app.route(route="echo/{id?}")
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    seen = {"method": req.method, "url": req.url, "params": dict(req.params), "values": dict(req.route_params),
            "headers": dict(req.headers), "body": req.get_body().hex()}
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", headers={"X-One": "1"})

@app.route(route="items", methods=["GET", "HEAD"])
async def list_items(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("twelve bytes")

@app.route(route="items", methods=["POST"])
def create_item(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(threading.current_thread().name, status_code=201)

@app.route(route="items/{id:int}", methods=["GET"])
async def read_item(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.route_params["id"])

@app.route(route="context", methods=["GET"])
async def with_context(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return func.HttpResponse(f"{context.function_name} {context.invocation_id} {context.trace_context.trace_parent}")

@app.route(route="fail", methods=["GET"])
async def fail(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("it is broken")

@app.route(route="returns/{what}", methods=["GET"])
async def returns(req: func.HttpRequest) -> func.HttpResponse:
    return {"text": "text", "none": None, "number": 1}[req.route_params["what"]]

@app.route(route="cookies", methods=["GET"])
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("x", headers={"Set-Cookie": "a=1", "Content-Length": "999"})
    response.headers.add("Set-Cookie", "b=2")
    return response

@app.route(route="stuck", methods=["GET"])
async def stuck(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(600)

@app.route(route="setting/{name}", methods=["GET"])
async def setting(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(os.environ.get(req.route_params["name"], "unset"))

@app.timer_trigger(schedule="%NIGHTLY%", arg_name="timer")
async def nightly(timer: func.TimerRequest) -> None:
    with open("nightly.log", "a") as log:
        print(json.dumps({"pastDue": timer.past_due}), file=log)

@app.timer_trigger(schedule="%NOT_SET%", arg_name="timer")
async def unresolved(timer: func.TimerRequest) -> None:
    pass

@app.queue_trigger(arg_name="message", queue_name="q", connection="C")
async def queued(message: func.QueueMessage) -> None:
    pass

@app.route(route="extra")
async def extra(req: func.HttpRequest, other: str) -> func.HttpResponse:
    pass

@app.route(route="off")
async def off(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("on")
"""
SETTINGS = {
    "NIGHTLY": "0 0 3 * * *",
    "FROM_FILE": "file",
    "FROM_BOTH": "file",
    "AzureWebJobs.off.Disabled": "true",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("sample")
    host = {"version": "2.0", "functionTimeout": "00:00:01"}
    write_app(folder / "app", APP, host, SETTINGS)
    log, environment = folder / "serve.log", {"FROM_BOTH": "environment"}
    with Serve(folder / "app", state=folder / "state", log=log, environment=environment, arguments=["--verbose"]) as serve:
        yield serve


@pytest.fixture
async def client(sample: Serve) -> AsyncIterator[HttpClient]:
    async with HttpClient(sample.url) as made:
        yield made


async def raw(serve: Serve, request: bytes) -> bytes:
    """What the server answers to these bytes, up to the end of its first answer's headers or the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_request_reaches_the_function_as_the_worker_makes_it(client: HttpClient, sample: Serve) -> None:
    """Method, URL, joined query and headers, route values and body are what the real worker would hand over."""
    response = await client.request(
        "PUT", "/api/echo/a%20b?x=1&X=2&y=&z=%C3%A9", headers={"X-Odd-Case": "yes"}, body=b"\x00\xff"
    )
    seen = response.json()
    assert (seen["method"], seen["values"], seen["body"]) == ("PUT", {"id": "a b"}, "00ff")
    assert seen["url"] == f"{sample.url}/api/echo/a%20b?x=1&X=2&y=&z=%C3%A9"
    assert seen["params"] == {"x": "1,2", "z": "é"}
    assert seen["headers"]["x-odd-case"] == "yes"
    assert (response.headers["content-type"], response.headers["x-one"]) == ("application/json", "1")


async def test_repeated_headers_are_joined(sample: Serve, client: HttpClient) -> None:
    """Values of a header that comes twice are joined with a comma."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sample.port)
    writer.write(b"GET /api/echo HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\n\r\n")
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    await writer.wait_closed()
    assert json.loads(body)["headers"]["x-a"] == "1,2"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/nowhere"),
        ("GET", "/elsewhere"),
        ("DELETE", "/api/items"),
        ("HEAD", "/api/items/1"),
        ("GET", "/api/items/one"),
        ("GET", "/api/off"),
        ("GET", "/api/extra"),
        ("GET", "/admin/nothing"),
        ("POST", "/"),
    ],
)
async def test_what_no_function_serves_is_404(client: HttpClient, method: str, path: str) -> None:
    """An unknown path, a method nobody serves, a broken constraint and a function that is off are all 404, empty."""
    response = await client.request(method, path)
    assert (response.status, response.body) == (404, b"")


async def test_the_method_chooses_among_functions_on_one_route(client: HttpClient) -> None:
    """Two functions on the same route serve a method each; the one that is no coroutine runs in a thread."""
    assert (await client.get("/api/ITEMS")).text == "twelve bytes"
    created = await client.post("/api/items")
    assert (created.status, created.text.startswith("function")) == (201, True)


async def test_head_answers_without_a_body(client: HttpClient) -> None:
    """HEAD gives the headers of GET, the length included."""
    response = await client.request("HEAD", "/api/items")
    assert (response.status, response.body, response.headers["content-length"]) == (200, b"", "12")


async def test_a_compressed_body_arrives_as_it_was_sent(client: HttpClient) -> None:
    """The host does not decompress: that is the app's to do, with its own limit."""
    body = gzip.compress(b"hello")
    seen = (await client.post("/api/echo", body=body, headers={"Content-Encoding": "gzip"})).json()
    assert (seen["body"], seen["headers"]["content-encoding"]) == (body.hex(), "gzip")


async def test_a_body_of_megabytes_arrives_whole(client: HttpClient) -> None:
    """A body that comes in many pieces is put together."""
    body = bytes(range(256)) * 20_000
    assert (await client.post("/api/echo", body=body)).json()["body"] == body.hex()


async def test_a_chunked_body_arrives_whole(sample: Serve) -> None:
    """A body without a length is read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sample.port)
    writer.write(b"POST /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    await writer.drain()
    writer.write(b"1\r\nc\r\n0\r\n\r\n")
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    await writer.wait_closed()
    assert json.loads(body)["body"] == b"abc".hex()


async def test_a_body_over_the_hosts_limit_is_413(sample: Serve) -> None:
    """More than 100 MB is refused before it is read."""
    answer = await raw(sample, b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 104857601\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_asks_first_is_told_to_continue(sample: Serve) -> None:
    """`Expect: 100-continue`, which curl sends with large bodies, is answered at once."""
    answer = await raw(sample, b"POST /api/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("target", [b"/api/\xc3\xa9", b"/api/a%00b"])
async def test_a_target_that_is_no_url_is_400(sample: Serve, target: bytes) -> None:
    """Bytes that no URL holds, and NUL, are refused by the host."""
    answer = await raw(sample, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.split()[1] == b"400"


async def test_a_function_that_raises_is_500(client: HttpClient, sample: Serve) -> None:
    """The client gets an empty 500, the log the traceback."""
    response = await client.get("/api/fail")
    assert (response.status, response.body) == (500, b"")
    await until(lambda: "RuntimeError: it is broken" in sample.output())


async def test_a_function_past_its_time_is_500(client: HttpClient, sample: Serve) -> None:
    """`functionTimeout` of host.json ends a function."""
    response = await client.get("/api/stuck")
    assert (response.status, response.body) == (500, b"")
    await until(lambda: "stuck ran for more than 1 s" in sample.output())


async def test_what_a_function_may_return(client: HttpClient) -> None:
    """A string is text, nothing is 204, anything else is the function's failure."""
    text, nothing, number = [await client.get(f"/api/returns/{what}") for what in ("text", "none", "number")]
    assert (text.status, text.text, text.headers["content-type"]) == (200, "text", "text/plain; charset=utf-8")
    assert (nothing.status, nothing.body) == (204, b"")
    assert number.status == 500


async def test_cookies_are_kept_apart_and_the_length_is_the_hosts(client: HttpClient) -> None:
    """Every Set-Cookie is sent; a Content-Length of the app's is not."""
    response = await client.get("/api/cookies")
    assert (response.headers.getall("set-cookie"), response.headers["content-length"]) == (["a=1", "b=2"], "1")


async def test_a_function_that_asks_for_it_gets_its_context(client: HttpClient) -> None:
    """The context names the function and the invocation, and carries the caller's trace."""
    response = await client.get("/api/context", headers={"traceparent": "00-1-2-01"})
    assert re.fullmatch(r"with_context [0-9a-f-]{36} 00-1-2-01", response.text)


async def test_settings_of_the_environment_stand_before_the_files(client: HttpClient) -> None:
    """local.settings.json fills in what the environment lacks, and says that this is a development host."""
    names = ("FROM_FILE", "FROM_BOTH", "AZURE_FUNCTIONS_ENVIRONMENT")
    assert [(await client.get(f"/api/setting/{name}")).text for name in names] == ["file", "environment", "Development"]


async def test_the_banner_lists_what_is_served(sample: Serve) -> None:
    """Functions with methods and addresses, schedules with the next run, and what is in error or off, and why."""
    shown = dict(re.findall(r"^ {4}(\w+): +(.*)$", sample.output(), re.MULTILINE))
    url = sample.url.replace("127.0.0.1", "localhost")
    assert shown["list_items"] == f"[GET,HEAD] {url}/api/items"
    assert shown["read_item"] == f"[GET] {url}/api/items/{{id:int}}"
    assert shown["echo"] == f"{url}/api/echo/{{id?}}"
    assert re.fullmatch(r"timerTrigger 0 0 3 \* \* \* \(next run \d{4}-\d\d-\d\d 03:00:00 UTC\)", shown["nightly"])
    assert shown["unresolved"] == "in error: '%NOT_SET%' does not resolve to a value: set NOT_SET"
    assert "queueTrigger" in shown["queued"]
    assert shown["extra"].startswith("in error: its parameters are other, req")
    assert shown["off"] == "disabled"


async def test_a_timer_runs_when_asked(client: HttpClient, sample: Serve) -> None:
    """POST to the function's admin address answers 202 and runs it, whatever its schedule, in any case of its name."""
    log = sample.log.parent / "app" / "nightly.log"
    response = await client.post("/admin/functions/Nightly", json={"input": ""})
    assert (response.status, response.body) == (202, b"")
    await until(log.exists)
    await until(lambda: log.read_text() == '{"pastDue": false}\n')


@pytest.mark.parametrize(
    ("name", "body", "content_type", "status"),
    [
        ("nobody", "{}", "application/json", 404),
        ("unresolved", "{}", "application/json", 404),
        ("echo", "{}", "application/json", 400),
        ("nightly", "[]", "application/json", 400),
        ("nightly", "", "application/json", 400),
        ("nightly", "{}", "text/plain", 415),
    ],
)
async def test_a_wrong_call_runs_nothing(client: HttpClient, name: str, body: str, content_type: str, status: int) -> None:
    """Unknown and HTTP functions, broken bodies and a content type that any web page could send are refused."""
    response = await client.post(f"/admin/functions/{name}", body=body, headers={"Content-Type": content_type})
    assert response.status == status


async def test_the_host_tells_about_itself(client: HttpClient) -> None:
    """The root, the status and the list of functions answer."""
    assert "running" in (await client.get("/")).text
    assert (await client.get("/admin/host/status")).json()["state"] == "Running"
    functions = (await client.get("/admin/functions")).json()
    assert {"name": "nightly", "bindings": [{"type": "timerTrigger", "schedule": "0 0 3 * * *"}]} in functions


async def test_requests_are_logged_without_their_query(client: HttpClient, sample: Serve) -> None:
    """With --verbose each request is a line; its query, which may hold a key, is not in it."""
    await client.get("/api/items?code=private")
    await until(lambda: re.search(r"GET /api/items 200 [\d.]+ ms", sample.output()) is not None)
    assert "private" not in sample.output()
