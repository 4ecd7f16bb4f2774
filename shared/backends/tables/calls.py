"""Calls to the account: the one place where they are sent again, and where the driver's errors become ours.

The driver itself sends nothing twice (see `retrying.py`).

Codes: https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
"""

import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.backends import retrying
from shared.backends.retrying import Patience, Trouble, persist
from shared.errors import ConfigurationError, ServiceError, ThrottledError, TooLargeError, UnavailableError

logger = logging.getLogger(__name__)

TABLE_MISSING = "TableNotFound"
_PATIENCE = Patience(faults=6)
_BUSY_PAUSE = 1.0
_LONGEST_WAIT = 60.0
_RESTING = frozenset({"TableBeingDeleted", "AccountBeingCreated", "OperationTimedOut"})
_ABSENT = frozenset({"ResourceNotFound", "EntityNotFound", TABLE_MISSING})
_TOO_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "PropertyValueTooLarge"})

T = TypeVar("T")


class RefusalError(retrying.RefusalError):
    """404 where an entity or a table is missing, 409 or 412."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.code = code


def unexpected(refusal: RefusalError) -> UnavailableError:
    """The error where a refusal has no meaning for what was asked."""
    logger.warning("the database refused a call", extra={"status": refusal.status, "code": refusal.code})
    return UnavailableError("The database is unavailable.")


class Caller:
    """Sends calls within the deadline of the request in hand. `setting` names how the account is reached, in errors."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def call(self, send: Callable[[], Awaitable[T]]) -> T:
        """What `send` gives, sent again after faults and as told when throttled.

        Raises RefusalError, ServiceError and ConfigurationError.
        """
        return (await persist(send, (AzureError,), self._trouble, _PATIENCE)).value

    def _trouble(self, error: AzureError) -> Trouble:
        """What a retry may help with. Raises what it can't."""
        if isinstance(error, HttpResponseError) and error.status_code is not None:
            return self._refused(error, int(error.status_code))
        if isinstance(error, ClientAuthenticationError):
            return Trouble(ConfigurationError(f"{self._setting} names an account; no identity could be had for it"))
        if _is_distrust(error):
            raise ConfigurationError(f"{self._setting} names an account whose TLS certificate can't be trusted") from error
        return Trouble(UnavailableError("The database can't be reached."), lost=True)

    def _refused(self, error: HttpResponseError, status: int) -> Trouble:
        code = code_of(error)
        if status == 429 or code == "ServerBusy":
            wait = _retry_after(error)
            return Trouble(ThrottledError("The database asks to be called less often.", retry_after=wait), wait)
        if status >= 500 or status == 408 or code in _RESTING:
            return Trouble(UnavailableError("The database is unavailable."), lost=True)
        if status in (401, 403):
            raise ConfigurationError(f"{self._setting} names an account that refuses this access ({status})") from error
        if status == 413 or code in _TOO_LARGE:
            raise TooLargeError("The record is too large for the database.") from error
        if status == 404 and code not in _ABSENT:
            raise ConfigurationError(f"{self._setting} names an endpoint that is no account's tables (404)") from error
        if status in (404, 409, 412):
            raise RefusalError(status, code) from error
        logger.error("the database refused a call", extra={"status": status, "code": code})
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
    return min(_LONGEST_WAIT, wait)


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers
