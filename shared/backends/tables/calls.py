"""Calls to the account: the one place where they are sent again, and where the driver's errors become ours.

The driver itself sends nothing twice. After a lost answer nobody knows what the service did, so whoever asked is told
(`RefusalError.lost`) and settles what the next answer means.

Codes: https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.errors import ConfigurationError, DeadlineError, ServiceError, ThrottledError, TooLargeError, UnavailableError
from shared.timing import remaining_seconds

logger = logging.getLogger(__name__)

TABLE_MISSING = "TableNotFound"
_DEFAULT_SECONDS = 30.0
"""How long a call goes on where no request's deadline is set."""
_MAX_FAULTS = 6
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 2.0
_BUSY_PAUSE = 1.0
_LONGEST_WAIT = 60.0
_RESTING = frozenset({"TableBeingDeleted", "AccountBeingCreated", "OperationTimedOut"})
_ABSENT = frozenset({"ResourceNotFound", "EntityNotFound", TABLE_MISSING})
_TOO_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "PropertyValueTooLarge"})

T = TypeVar("T")


class RefusalError(Exception):
    """The service refused the call: 404 where an entity or a table is missing, 409 or 412.

    `lost` when the answer to an earlier attempt was lost.
    """

    def __init__(self, status: int, code: str = "", *, lost: bool = False) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.code = code
        self.lost = lost


def unexpected(refusal: RefusalError) -> UnavailableError:
    """The error where a refusal has no meaning for what was asked."""
    logger.warning("the database refused a call", extra={"status": refusal.status, "code": refusal.code})
    return UnavailableError("The database is unavailable.")


@dataclass(slots=True)
class _Trouble:
    """One failed attempt: how long to wait (None: as our own pauses go), and whether the work may have been done."""

    error: ThrottledError | UnavailableError | ConfigurationError
    wait: float | None = None
    lost: bool = False


class Caller:
    """Sends calls within the deadline of the request in hand. `setting` names how the account is reached, in errors."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def call(self, send: Callable[[], Awaitable[T]]) -> T:
        """What `send` gives, sent again after faults and as told when throttled.

        Raises RefusalError, ThrottledError, UnavailableError, DeadlineError and ConfigurationError.
        """
        remaining = remaining_seconds()
        end = time.monotonic() + (_DEFAULT_SECONDS if remaining is None else remaining)
        lost, faults = False, 0
        while True:
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    return await send()
            except TimeoutError as error:
                raise DeadlineError("The database did not answer in time.") from error
            except AzureError as error:
                trouble = self._trouble(error, lost=lost)
                lost = lost or trouble.lost
                faults += 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**faults) if trouble.wait is None else trouble.wait
                if (trouble.wait is None and faults > _MAX_FAULTS) or time.monotonic() + pause >= end:
                    raise trouble.error from error
            await asyncio.sleep(pause)

    def _trouble(self, error: AzureError, *, lost: bool) -> _Trouble:
        """What a retry may help with. Raises what it can't."""
        if isinstance(error, HttpResponseError) and error.status_code is not None:
            return self._refused(error, int(error.status_code), lost=lost)
        if isinstance(error, ClientAuthenticationError):
            return _Trouble(ConfigurationError(f"{self._setting} names an account; no identity could be had for it"))
        if _is_distrust(error):
            raise ConfigurationError(f"{self._setting} names an account whose TLS certificate can't be trusted") from error
        return _Trouble(UnavailableError("The database can't be reached."), lost=True)

    def _refused(self, error: HttpResponseError, status: int, *, lost: bool) -> _Trouble:
        code = code_of(error)
        if status == 429 or code == "ServerBusy":
            wait = _retry_after(error)
            return _Trouble(ThrottledError("The database asks to be called less often.", retry_after=wait), wait)
        if status >= 500 or status == 408 or code in _RESTING:
            return _Trouble(UnavailableError("The database is unavailable."), lost=True)
        if status in (401, 403):
            raise ConfigurationError(f"{self._setting} names an account that refuses this access ({status})") from error
        if status == 413 or code in _TOO_LARGE:
            raise TooLargeError("The record is too large for the database.") from error
        if status == 404 and code not in _ABSENT:
            raise ConfigurationError(f"{self._setting} names an endpoint that is no account's tables (404)") from error
        if status in (404, 409, 412):
            raise RefusalError(status, code, lost=lost) from error
        raise ServiceError("The database did not understand the request.") from error


def _is_distrust(error: BaseException | None) -> bool:
    """Whether a TLS handshake failed: an unknown authority, another host's certificate, an old version."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error is not None


def code_of(error: HttpResponseError) -> str:
    """The service's own code of a refusal; empty where it gave none."""
    code = getattr(error, "error_code", None) or _headers(error).get("x-ms-error-code") or _code_in_body(error)
    return str(getattr(code, "value", code) or "")


def _code_in_body(error: HttpResponseError) -> str:
    """The driver reads the body of every refusal but an insert's, and Tables need not say the code in a header."""
    text = getattr(error.response, "text", None)
    try:
        body = json.loads(text()) if callable(text) else {}
    except ValueError:
        return ""
    said = body.get("odata.error") if isinstance(body, dict) else None
    return str(said.get("code") or "") if isinstance(said, dict) else ""


def _retry_after(error: HttpResponseError) -> float:
    """Seconds to wait: as the answer says, within reason, else as we do."""
    headers = _headers(error)
    try:
        wait = float(headers.get("Retry-After") or float(headers.get("x-ms-retry-after-ms") or "") / 1_000)
    except ValueError:
        return _BUSY_PAUSE
    return min(_LONGEST_WAIT, max(_FIRST_PAUSE, wait))


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers
