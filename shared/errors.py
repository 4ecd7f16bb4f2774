"""Every error the service raises on purpose, split by who can act on it. Turned into HTTP in `api/endpoint.py` only.

ServiceError
├── CallerError                 the request must change
│   ├── InvalidError            400
│   ├── NotFoundError           404
│   ├── ConflictError           409
│   ├── GoneError               410
│   ├── PreconditionFailedError 412
│   ├── TooLargeError           413
│   └── UnsupportedMediaError   415
└── TransientError              the same request may succeed later
    ├── ThrottledError          429
    └── UnavailableError        503
        └── DeadlineError       503
ConfigurationError              the operator must act; stops the start
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple


class Detail(NamedTuple):
    """One thing wrong with a request: `field` is a dotted wire path (`dimensions.width`), empty for the whole."""

    field: str
    message: str


class ServiceError(Exception):
    """Root of the errors a client may see. The message is for the client: no driver text, no secret, no stack."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal Server Error"

    def __init__(self, message: str, details: Iterable[Detail] = (), *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.error_code = code or self.code


class CallerError(ServiceError):
    """The request must change before it can succeed."""


class InvalidError(CallerError):
    """The request is malformed, or a field of it is invalid."""

    status, code, title = 400, "invalid", "Bad Request"


class NotFoundError(CallerError):
    """There is no such record."""

    status, code, title = 404, "not_found", "Not Found"


class ConflictError(CallerError):
    """The request contradicts what is stored."""

    status, code, title = 409, "conflict", "Conflict"


class GoneError(CallerError):
    """The subject of the request was erased and may not come back."""

    status, code, title = 410, "gone", "Gone"


class PreconditionFailedError(CallerError):
    """The record is no longer the version that the caller named."""

    status, code, title = 412, "precondition_failed", "Precondition Failed"


class TooLargeError(CallerError):
    """A body, a batch or a record is over its limit."""

    status, code, title = 413, "too_large", "Content Too Large"


class UnsupportedMediaError(CallerError):
    """The body's content type, charset or encoding is not one the service reads."""

    status, code, title = 415, "unsupported_media_type", "Unsupported Media Type"


class TransientError(ServiceError):
    """The same request may succeed after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """The database asks to be called less often."""

    status, code, title = 429, "throttled", "Too Many Requests"


class UnavailableError(TransientError):
    """The database can't be reached or can't store; nothing of the request is acknowledged."""

    status, code, title = 503, "unavailable", "Service Unavailable"


class DeadlineError(UnavailableError):
    """The request ran out of time; what it asked for may or may not have been done."""

    code = "deadline_exceeded"


class ConfigurationError(Exception):
    """A setting is wrong or missing. The message names the variable, its value unless secret, and what it may be."""
