"""One way to ask the service for something, whether over real HTTP or through the real worker, so that tests run on both."""

import io
import json as jsonlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared.cli.host.bindings import HttpTrigger
from shared.cli.host.messages import join_headers, parse_query
from shared.cli.host.routes import Router
from tests.support.worker import Invocable, InvocationFailedError

Params = Mapping[str, object] | Sequence[tuple[str, object]]
ABSENT = object()
_BASE_URL = "http://localhost:7071"
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Response:
    """Header names are case-insensitive."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class _Prepared:
    target: str
    headers: CIMultiDict[str]
    body: bytes


class Client(ABC):
    """Paths are whole (`/api/transactions`) and go out as written: what must be escaped, the caller escapes."""

    @abstractmethod
    async def _send(self, method: str, request: _Prepared) -> Response: ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: object = ABSENT,
    ) -> Response:
        """`params` are escaped and joined to the path; `json` sets the body and, where there is none, its content type."""
        all_headers = CIMultiDict(headers or {})
        if json is not ABSENT:
            body = jsonlib.dumps(json)
            all_headers.setdefault("Content-Type", "application/json")
        content = body.encode() if isinstance(body, str) else body or b""
        joint = "&" if "?" in path else "?"
        target = f"{path}{joint}{urlencode(params)}" if params else path
        return await self._send(method, _Prepared(target, all_headers, content))

    async def get(self, path: str, *, params: Params | None = None, headers: Mapping[str, str] | None = None) -> Response:
        return await self.request("GET", path, params=params, headers=headers)

    async def post(
        self, path: str, *, json: object = ABSENT, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        return await self.request("POST", path, json=json, body=body, headers=headers)

    async def patch(self, path: str, *, json: object = ABSENT, headers: Mapping[str, str] | None = None) -> Response:
        return await self.request("PATCH", path, json=json, headers=headers)

    async def delete(self, path: str, *, headers: Mapping[str, str] | None = None) -> Response:
        return await self.request("DELETE", path, headers=headers)


class HttpClient(Client):
    """Real HTTP to a base URL; an async context manager, for the event loop that it was entered on."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            skip_auto_headers=["Content-Type", "Accept-Encoding"],
            timeout=aiohttp.ClientTimeout(total=60),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def _send(self, method: str, request: _Prepared) -> Response:
        url = URL(self._base_url + request.target, encoded=True)
        async with self._session.request(
            method, url, headers=request.headers, data=io.BytesIO(request.body) if request.body else None, allow_redirects=False
        ) as response:
            return Response(response.status, response.headers, await response.read())


class WorkerClient(Client):
    """The host's part between a caller and the worker: routes, request and response made as the real host makes them."""

    def __init__(self, worker: Invocable, *, route_prefix: str = "api") -> None:
        self._worker = worker
        self._router: Router[str] = Router()
        for name, function in worker.functions.items():
            if isinstance(function.trigger, HttpTrigger):
                template = f"{route_prefix}/{function.trigger.route}".lstrip("/")
                self._router.add(template, function.trigger.methods, name)

    def function_for(self, method: str, path: str) -> str | None:
        """The name of the function that serves a method of a path."""
        match = self._router.match(method, path)
        return None if match is None else match[0]

    async def _send(self, method: str, request: _Prepared) -> Response:
        path, _, query = request.target.partition("?")
        match = self._router.match(method, path)
        if match is None:
            return _response(404, CIMultiDict(), b"")
        headers = CIMultiDict({"Host": URL(_BASE_URL).authority, "Accept": "*/*", "User-Agent": "tests"})
        if request.body:
            headers["Content-Length"] = str(len(request.body))
        headers.update(request.headers)
        try:
            answer = await self._worker.http(
                match[0],
                method=method,
                url=_BASE_URL + request.target,
                headers=join_headers(headers.items()),
                query=parse_query(query),
                params=match[1],
                body=request.body,
            )
        except InvocationFailedError:
            return _response(500, CIMultiDict(), b"")
        body = b"" if answer.status in _BODILESS else answer.body
        return _response(answer.status, CIMultiDict(answer.headers), body, is_head=method == "HEAD")


def _response(status: int, headers: CIMultiDict[str], body: bytes, *, is_head: bool = False) -> Response:
    if status not in _BODILESS:
        headers["Content-Length"] = str(len(body))
    return Response(status, CIMultiDictProxy(headers), b"" if is_head else body)
