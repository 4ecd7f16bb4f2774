"""The one decorator of all HTTP functions: limits, parsing, deadline, error mapping, headers and the request's log line.

Errors become HTTP here and nowhere else.
"""

import asyncio
import logging
import random
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import azure.functions as func

from shared import jsontext
from shared.api.bodies import BodyFormat
from shared.api.problems import MEDIA_TYPE, problem_document, problem_headers
from shared.charges import start_charge
from shared.errors import ConfigurationError, DeadlineError, Detail, InvalidError, ServiceError, UnavailableError
from shared.service import DatabaseService
from shared.timing import set_deadline

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
CHARGE_HEADER = "x-request-charge"
"""What the request cost the database in its own units, where it counts any."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PLATFORM_PARAMETERS = frozenset({"code", "clientId"})
_MISCONFIGURED_RETRY_SECONDS = 30.0
_JSON = "application/json"
_FIXED_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Call(NamedTuple):
    """A request as a handler sees it. `body` is the parsed body of a route that reads one."""

    route: Mapping[str, str]
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    request_id: str


class Answer(NamedTuple):
    """What a handler answers: JSON members (or text already made, or nothing), status and headers of its own."""

    body: Mapping[str, Any] | bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    media_type: str = _JSON


Handler = Callable[[Call], Awaitable[Answer]]
Function = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


def endpoint(
    service: DatabaseService,
    name: str,
    *,
    body: BodyFormat | None = None,
    parameters: frozenset[str] | None = frozenset(),
) -> Callable[[Handler], Function]:
    """Make a function of that name, which the worker can call, out of a handler.

    `parameters` are the query parameters the route knows; None leaves them to the handler.
    """

    def decorate(handler: Handler) -> Function:
        async def function(req: func.HttpRequest) -> func.HttpResponse:
            started = time.monotonic()
            request_id = _request_id(req.headers.get(REQUEST_ID_HEADER))
            charge = start_charge()
            answer = await _answer(service, handler, req, request_id, body, parameters)
            milliseconds = (time.monotonic() - started) * 1000
            service.latency.observe(name, milliseconds)
            _log_request(name, answer.status, milliseconds, request_id)
            return _response(answer, request_id, milliseconds, charge.units)

        function.__name__ = function.__qualname__ = name
        function.__module__ = handler.__module__
        function.__doc__ = handler.__doc__
        return function

    return decorate


async def _answer(
    service: DatabaseService,
    handler: Handler,
    req: func.HttpRequest,
    request_id: str,
    body: BodyFormat | None,
    parameters: frozenset[str] | None,
) -> Answer:
    seconds = service.settings.request_deadline_seconds
    set_deadline(seconds)
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            call = _read(req, request_id, body, parameters)
            return await handler(call)
    except ServiceError as error:
        return _problem(error, request_id)
    except ConfigurationError as error:
        logger.error("configuration", extra={"request_id": request_id, "reason": str(error)})  # noqa: TRY400 - no trace needed
        unavailable = UnavailableError("The service is not configured.", retry_after=_MISCONFIGURED_RETRY_SECONDS)
        return _problem(unavailable, request_id)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        if deadline.expired() and isinstance(error, TimeoutError):
            return _problem(DeadlineError("The request ran out of time."), request_id)
        _log_bug(error, request_id)
        return _problem(ServiceError("Something went wrong on our side."), request_id)


def _read(req: func.HttpRequest, request_id: str, body: BodyFormat | None, parameters: frozenset[str] | None) -> Call:
    query = {name: value for name, value in req.params.items() if name not in _PLATFORM_PARAMETERS}
    if parameters is not None:
        unknown = [Detail(name[:128], "is not a parameter of this route") for name in query if name not in parameters]
        if unknown:
            names = ", ".join(detail.field for detail in unknown)
            raise InvalidError(f"Invalid query parameters: {names}.", unknown)
    content = None if body is None else body.read(req.get_body(), req.headers)
    return Call(req.route_params, query, req.headers, content, request_id)


def _problem(error: ServiceError, request_id: str) -> Answer:
    return Answer(problem_document(error, request_id), error.status, problem_headers(error), MEDIA_TYPE)


def _request_id(sent: str | None) -> str:
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"


def _response(answer: Answer, request_id: str, milliseconds: float, charge: float) -> func.HttpResponse:
    headers = {
        **_FIXED_HEADERS,
        **({CHARGE_HEADER: f"{charge:.2f}"} if charge else {}),
        REQUEST_ID_HEADER: request_id,
        "server-timing": f"total;dur={milliseconds:.3f}",
        **answer.headers,
    }
    body = answer.body
    content = b"" if body is None else body if isinstance(body, bytes) else jsontext.encode(body)
    return func.HttpResponse(content, status_code=answer.status, headers=headers, mimetype=answer.media_type)


def _log_request(name: str, status: int, milliseconds: float, request_id: str) -> None:
    level = logging.WARNING if status >= 500 else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields = {"function": name, "status": status, "duration_ms": round(milliseconds, 3), "request_id": request_id}
    logger.log(level, "request", extra=fields)


def _log_bug(error: BaseException, request_id: str) -> None:
    """Where a bug struck, without the exception's message, which may hold what a client sent."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__] if error.__cause__ else []
    logger.error("bug", extra={"error_type": type(error).__name__, "frames": frames, "request_id": request_id})
    for one in inner:
        _log_bug(one, request_id)
