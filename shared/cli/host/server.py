"""The HTTP side of the host, on aiohttp's low-level server: a path to a function, its request in, its response out."""

import asyncio
import logging
import time

from aiohttp import hdrs, web

from shared.cli.host.admin import HOME, Admin
from shared.cli.host.app import App, LoadedFunction
from shared.cli.host.bindings import HttpTrigger
from shared.cli.host.invoke import Invoker, TimedOutError
from shared.cli.host.messages import join_headers, make_request, unpack_response
from shared.cli.host.routes import Router

logger = logging.getLogger("shared.host")
access_logger = logging.getLogger("shared.host.access")

MAX_BODY_BYTES = 100 * 1024 * 1024
MAX_LINE_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024
LINGER_SECONDS = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyTooLargeError(Exception):
    """The request's body is larger than the host takes."""


def build_router(app: App) -> Router[LoadedFunction]:
    router: Router[LoadedFunction] = Router()
    prefix = f"{app.route_prefix}/" if app.route_prefix else ""
    for loaded in app.functions:
        trigger = loaded.function.trigger
        if isinstance(trigger, HttpTrigger):
            router.add(prefix + trigger.route, trigger.methods, loaded)
    return router


class HttpHost:
    """Serves the app's HTTP functions. With `log_requests` a line is logged for each, without its query, that may hold keys."""

    def __init__(self, app: App, invoke: Invoker, admin: Admin, *, log_requests: bool) -> None:
        self._router = build_router(app)
        self._invoke = invoke
        self._admin = admin
        self._log_requests = log_requests

    def server(self) -> web.Server:
        """Bodies reach the app as they were sent: nothing is decompressed."""
        return web.Server(
            self._handle_and_log if self._log_requests else self._handle,
            auto_decompress=False,
            access_log=None,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    async def _handle_and_log(self, request: web.BaseRequest) -> web.Response:
        started = time.perf_counter()
        response = await self._handle(request)
        duration = round((time.perf_counter() - started) * 1000, 1)
        path, _, _ = request.raw_path.partition("?")
        access_logger.info("%s %s %d %.1f ms", request.method, path, response.status, duration)
        return response

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        if not path.isascii() or "%00" in path:
            return web.Response(status=400)
        match = self._router.match(request.method, path)
        if match is None:
            return await self._handle_unrouted(request, path)
        try:
            body = await _read_body(request)
        except BodyTooLargeError:
            response = web.Response(status=413)
            response.force_close()
            return response
        except web.RequestPayloadError:
            return web.Response(status=400)
        loaded, values = match
        return await self._call(loaded, request, path, query, values, body)

    async def _handle_unrouted(self, request: web.BaseRequest, path: str) -> web.Response:
        if path.lower().startswith("/admin/"):
            return await self._admin.handle(request, path)
        if path == "/" and request.method in {"GET", "HEAD"}:
            return web.Response(text=HOME)
        return web.Response(status=404)

    async def _call(
        self, loaded: LoadedFunction, request: web.BaseRequest, path: str, query: str, values: dict[str, str], body: bytes
    ) -> web.Response:
        headers = join_headers(request.headers.items())
        url = f"{request.scheme}://{headers.get('host', 'localhost')}{path}{'?' + query if query else ''}"
        try:
            result = await self._invoke(loaded, make_request(request.method, url, headers, query, values, body), headers)
            status, response_headers, content = unpack_response(result)
            return web.Response(status=status, headers=response_headers, body=content)
        except asyncio.CancelledError:
            raise
        except TimedOutError as error:
            logger.error("function timed out: %s", error, extra={"function": loaded.function.name})  # noqa: TRY400
        except Exception:
            logger.exception("function failed", extra={"function": loaded.function.name})
        return web.Response(status=500)


async def _read_body(request: web.BaseRequest) -> bytes:
    if not request.body_exists:
        return b""
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise BodyTooLargeError
    if hdrs.EXPECT in request.headers and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    body = await request.content.readany()
    if request.content.at_eof():
        return body
    chunks, size = [body], len(body)
    async for chunk in request.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError
    return b"".join(chunks)
