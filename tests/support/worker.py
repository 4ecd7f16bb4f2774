"""Drives `azure_functions_runtime`, the Python worker's own library, in this process: index an app, call its functions.

The library keeps its state in module globals and imports the app as `function_app`, so one app is indexed at a time, and
an app whose other modules hold state belongs in a process of its own (`tests.support.worker_process`).
"""

import importlib
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from shared.cli.host.bindings import Function, describe
from tests.support import protos


class IndexingFailedError(Exception):
    """The worker does not take the app; the message is the worker's."""


class InvocationFailedError(Exception):
    """The function raised, or the worker could not hand over its arguments or result; the host answers 500."""


@dataclass(frozen=True, slots=True)
class WorkerResponse:
    """What the worker sends to the host: header names as the function wrote them, cookies apart."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Invocable(Protocol):
    """An indexed app, here or in another process."""

    @property
    def functions(self) -> Mapping[str, Function]: ...

    async def http(
        self,
        name: str,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        params: Mapping[str, str],
        body: bytes,
    ) -> WorkerResponse: ...

    async def timer(self, name: str, *, past_due: bool = False) -> None: ...


class Worker:
    """One app in this process. `settings` resolves `%NAME%` in bindings, as the host does."""

    def __init__(self, app_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._app_dir = app_dir
        self._settings = settings or {}
        self._events: Any = importlib.import_module("azure_functions_runtime.handle_event")
        self._ids: dict[str, str] = {}
        self._invocations = itertools.count(1)
        self.functions: dict[str, Function] = {}

    async def index(self) -> dict[str, Function]:
        """The functions by name, as the worker tells the host. Raises IndexingFailedError."""
        with _importable(self._app_dir):
            initialised = await self._events.worker_init_request(
                _request({"host": "127.0.0.1", "protos": protos}, worker_init_request=_init_request(self._app_dir))
            )
        _check(initialised, IndexingFailedError)
        answer = await self._events.functions_metadata_request(_request({}, functions_metadata_request=SimpleNamespace()))
        _check(answer, IndexingFailedError)
        for metadata in answer.function_metadata_results or ():
            load = SimpleNamespace(function_id=metadata.function_id)
            _check(await self._events.function_load_request(_request({}, function_load_request=load)), IndexingFailedError)
            self._ids[metadata.name] = metadata.function_id
            self.functions[metadata.name] = describe(metadata.name, metadata.raw_bindings, self._settings)
        return self.functions

    async def http(
        self,
        name: str,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        params: Mapping[str, str],
        body: bytes,
    ) -> WorkerResponse:
        """Call an HTTP function as the host does. Raises InvocationFailedError."""
        request = protos.RpcHttp(
            method=method,
            url=url,
            headers={header.lower(): value for header, value in headers.items()},
            query=query,
            params=params,
            body=protos.TypedData(bytes=body) if body else protos.TypedData(),
        )
        return _response(await self._invoke(name, protos.TypedData(http=request)))

    async def timer(self, name: str, *, past_due: bool = False) -> None:
        """Run a timer function. Raises InvocationFailedError."""
        request = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": past_due}
        await self._invoke(name, protos.TypedData(json=json.dumps(request)))

    async def _invoke(self, name: str, data: protos.TypedData) -> protos.TypedData | None:
        invocation = SimpleNamespace(
            invocation_id=f"invocation-{next(self._invocations)}",
            function_id=self._ids[name],
            input_data=[protos.ParameterBinding(self.functions[name].trigger.parameter, data)],
            trigger_metadata={},
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        answer = await self._events.invocation_request(_request({}, invocation_request=invocation))
        _check(answer, InvocationFailedError)
        result: protos.TypedData | None = answer.return_value
        return result


def _init_request(app_dir: Path) -> SimpleNamespace:
    return SimpleNamespace(capabilities={}, function_app_directory=str(app_dir))


def _request(properties: dict[str, Any], **request: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(**request), properties=properties)


def _check(answer: Any, error: type[Exception]) -> None:
    if answer.result.status != protos.StatusResult.Success:
        raise error(f"{answer.result.exception.message}\n{answer.result.exception.stack_trace}")


@contextmanager
def _importable(app_dir: Path) -> Iterator[None]:
    """The app's folder is first on the path, and no app of another folder is imported any more."""
    sys.modules.pop("function_app", None)
    importlib.invalidate_caches()
    sys.path.insert(0, str(app_dir))
    try:
        yield
    finally:
        sys.path.remove(str(app_dir))


def _response(data: protos.TypedData | None) -> WorkerResponse:
    """As the host reads it: nothing is 204, a string is 200 as text."""
    kind = data and data.WhichOneof("data")
    if data is None or kind is None:
        return WorkerResponse(204, (), b"")
    if kind == "string":
        text: str = data.__dict__["string"]
        return WorkerResponse(200, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())
    http: protos.RpcHttp = data.__dict__["http"]
    cookies = tuple(("Set-Cookie", f"{cookie.name}={cookie.value}") for cookie in http.cookies or ())
    return WorkerResponse(int(http.status_code), (*http.headers.items(), *cookies), http.body.__dict__["bytes"])
