"""Calls to the server: the one place where they are sent again, and where the driver's errors become ours.

The driver itself sends nothing twice (see `retrying.py`); a write carries a mark of its own to know itself by.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from bson.errors import BSONError
from pymongo.common import MIN_SUPPORTED_SERVER_VERSION
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
)
from pymongo.errors import ConfigurationError as DriverConfigurationError

from shared.backends.retrying import Answer, Patience, Trouble, persist
from shared.errors import ConfigurationError, ServiceError, ThrottledError, TooLargeError, UnavailableError

logger = logging.getLogger(__name__)

DUPLICATE = 11_000
_UNSUPPORTED = frozenset({59, 115, 238, 15_952, 40_324, 16_436, 31_249})
"""CommandNotFound, CommandNotSupported, NotImplemented, and the codes of unknown stages and operators."""
_NO_INDEX = frozenset({27, 67, 72, 85, 86, 197})
"""IndexNotFound, CannotCreateIndex, InvalidOptions, IndexOptionsConflict, IndexKeySpecsConflict,
InvalidIndexSpecificationOption."""
_THROTTLED = frozenset({433, 449, 450, 462, 16_500})
"""AdmissionQueueOverflow, RateLimitExceeded, PooledConnectionAcquisitionRejected, IngressRequestRateLimitExceeded; and Cosmos
DB's own."""
_OVERLOADED_LABEL = "SystemOverloadedError"
"""https://github.com/mongodb/specifications/blob/master/source/client-backpressure/client-backpressure.md"""
_FULL, _ATLAS = frozenset({14_031}), 8_000
"""OutOfDiskSpace; whatever Atlas itself refuses: a wrong password, a full account, a command that it does not allow."""
_UNKNOWN_USER, _FORBIDDEN = 18, 13
_TOO_LARGE = frozenset({10_334, 17_419, 17_420})
_BUSY = frozenset({112, 276, 365, 12_587})
"""WriteConflict, IndexBuildAborted, TemporarilyUnavailable, BackgroundOperationInProgressForNamespace: nothing was done."""
_RETRYABLE = frozenset({6, 7, 89, 91, 134, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436})
"""What drivers send again: the server was stopping, stepping down or away from another, and the work may have been done.

https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
https://github.com/mongodb/specifications/blob/master/source/retryable-reads/retryable-reads.md
"""
_UNCERTAIN = _RETRYABLE | {1, 24, 43, 50, 64, 79, 100, 133, 175, 202, 237}
"""Besides: InternalError, LockTimeout, MaxTimeMSExpired and NetworkInterfaceExceededTimeLimit; a cursor that is gone
(CursorNotFound, QueryPlanKilled, CursorKilled); a write that no majority has yet (WriteConcernTimeout, UnknownReplWriteConcern,
UnsatisfiableWriteConcern); no primary to read from (FailedToSatisfyReadPreference).

https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""
_UNCERTAIN_LABEL = "RetryableWriteError"
_PATIENCE = Patience(faults=6, longest_pause=1.0)
_DEFAULT_RETRY_AFTER = 1.0
_QUEUE_SECONDS = 10.0
_RETRY_AFTER = re.compile(r"RetryAfterMs=(\d{1,7})", re.ASCII)
_BAD_PASSWORD = re.compile(r"bad auth|authenticat", re.IGNORECASE)

_AWAY = "The database can't be reached."
_IN_USE = "The database's connections are all in use."
_TOO_LARGE_RECORD = "The record is too large for the database."
_REFUSED = "The database did not understand the request."

_DISTRUST = "CERTIFICATE_VERIFY_FAILED"
"""How OpenSSL's text begins, of which the driver keeps nothing else."""

T = TypeVar("T")


class UnsupportedError(ServiceError):
    """The server does not know the command, stage or option."""

    def __init__(self) -> None:
        super().__init__("The database does not support the request.")


class NoIndexError(ServiceError):
    """The server does not make, change or drop the index: not with these options, not beside the others, or there is none."""

    def __init__(self) -> None:
        super().__init__("The database does not keep its indexes as asked.")


class ForbiddenError(ConfigurationError):
    """The user may not do what was asked."""


class Caller:
    """Sends calls within the deadline of the request in hand. `setting` names who is asking, in errors.

    At most `connections` are under way, the others wait in the order they came: the driver's own queue lets those who
    come back at once pass those who wait.
    """

    def __init__(self, setting: str, connections: int) -> None:
        self._setting = setting
        self._gate = asyncio.Semaphore(connections)

    async def call(self, send: Callable[[], Awaitable[T]]) -> Answer[T]:
        """What `send` gives, sent again after faults and as told when throttled.

        Raises ServiceError, UnsupportedError and NoIndexError among them, and ConfigurationError.
        """

        async def in_turn() -> T:
            async with self._turn():
                return await send()

        return await persist(in_turn, (PyMongoError, BSONError), self._trouble, _PATIENCE)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_QUEUE_SECONDS if self._gate.locked() else None):
                await self._gate.acquire()
        except TimeoutError as error:
            raise UnavailableError(_IN_USE) from error
        try:
            yield
        finally:
            self._gate.release()

    def _trouble(self, error: PyMongoError | BSONError) -> Trouble:
        """What a retry may help with. Raises what it can't."""
        if isinstance(error, WaitQueueTimeoutError):
            return Trouble(UnavailableError(_IN_USE), final=True)
        if isinstance(error, ConnectionFailure) and _DISTRUST in str(error):
            raise ConfigurationError(f"{self._setting}: the server's TLS certificate can't be trusted") from error
        if isinstance(error, ConnectionFailure):
            logger.warning("the database can't be reached", extra={"error_type": type(error).__name__})
            is_away = isinstance(error, ServerSelectionTimeoutError)
            return Trouble(UnavailableError(_AWAY), lost=not is_away, final=is_away)
        if isinstance(error, OperationFailure):
            return self._refused(error)
        if isinstance(error, DocumentTooLarge):
            raise TooLargeError(_TOO_LARGE_RECORD) from error
        if isinstance(error, DriverConfigurationError):
            return self._misfit(error)
        if isinstance(error, InvalidOperation):
            raise UnavailableError("The database is not connected.") from error
        logger.error("the database refused a call", extra={"error_type": type(error).__name__})
        raise ServiceError(_REFUSED) from error

    def _misfit(self, error: DriverConfigurationError) -> Trouble:
        """The driver says so of a name server that does not answer, too."""
        if _is_passing(error.__cause__):
            logger.warning("the database's name can't be looked up", extra={"error_type": type(error.__cause__).__name__})
            return Trouble(UnavailableError(_AWAY), final=True)
        if "reports wire version" in str(error):
            raise ConfigurationError(
                f"{self._setting}: the server is too old; must be MongoDB {MIN_SUPPORTED_SERVER_VERSION} or later, or Cosmos DB"
                " for MongoDB with server version 5.0 or later"
            ) from error
        raise ConfigurationError(
            f"{self._setting}: the server can't be used, its name has no SRV record or it lacks an option that is asked for"
        ) from error

    def _refused(self, error: OperationFailure) -> Trouble:
        code = _code_of(error)
        if code in _THROTTLED or error.has_error_label(_OVERLOADED_LABEL):
            wait = _retry_after(error)
            return Trouble(ThrottledError("The database asks to be called less often.", retry_after=wait), wait, lost=True)
        if code in _BUSY:
            return Trouble(UnavailableError("The database was busy with something else."))
        if code in _UNCERTAIN or error.has_error_label(_UNCERTAIN_LABEL) or is_unacknowledged(error):
            return Trouble(UnavailableError("The database is unavailable."), lost=True)
        if code in _FULL or (code == _ATLAS and "quota" in _said(error)):
            return Trouble(UnavailableError("The database can't store now."), final=True)
        if code in {_UNKNOWN_USER, _FORBIDDEN, _ATLAS}:
            raise self._denied(error, code) from error
        if code in _UNSUPPORTED:
            raise UnsupportedError from error
        if code in _NO_INDEX:
            raise NoIndexError from error
        if code in _TOO_LARGE:
            raise TooLargeError(_TOO_LARGE_RECORD) from error
        logger.error("the database refused a call", extra={"code": code})
        raise ServiceError(_REFUSED) from error

    def _denied(self, error: OperationFailure, code: int | None) -> ConfigurationError:
        if code == _FORBIDDEN:
            return ForbiddenError(f"{self._setting}: this user may not do what the service does; its role must be readWrite")
        if code == _UNKNOWN_USER or _BAD_PASSWORD.search(_said(error)):
            return ConfigurationError(f"{self._setting}: the database does not know this user by this password")
        return ForbiddenError(f"{self._setting}: the server refuses what the service does; this user or cluster may not do it")


def _is_passing(cause: BaseException | None) -> bool:
    """Whether a name could not be looked up just now, and not: there is none."""
    from dns.exception import Timeout  # noqa: PLC0415 - comes with the driver, which loads it for mongodb+srv only
    from dns.resolver import NoNameservers  # noqa: PLC0415

    return isinstance(cause, Timeout | NoNameservers | OSError)


def is_unacknowledged(error: OperationFailure) -> bool:
    """Whether the server has written, but not to a majority: what became of which document is then not certain."""
    if isinstance(error, BulkWriteError):
        return bool(error.details.get("writeConcernErrors"))
    return isinstance(error, WriteConcernError)


def write_codes(error: BulkWriteError) -> dict[int, int]:
    """The code of each document of a bulk write that failed, by its place."""
    return {int(failed["index"]): int(failed["code"]) for failed in error.details.get("writeErrors", ())}


def _code_of(error: OperationFailure) -> int | None:
    """The code that decides; of a bulk write the one that is not merely a duplicate, None where there are none."""
    if isinstance(error, BulkWriteError):
        codes = write_codes(error).values()
        return next((code for code in codes if code != DUPLICATE), DUPLICATE if codes else None)
    return error.code


def _said(error: OperationFailure) -> str:
    """The server's own words, without the documents that they are about."""
    details = error.details or {}
    return " ".join(str(part.get("errmsg", "")) for part in (details, *details.get("writeErrors", ())))


def _retry_after(error: OperationFailure) -> float:
    """Seconds to wait, which Cosmos DB for MongoDB tells in its message.

    https://learn.microsoft.com/azure/cosmos-db/mongodb/error-codes-solutions
    """
    told = _RETRY_AFTER.search(_said(error))
    return _DEFAULT_RETRY_AFTER if told is None else int(told[1]) / 1_000
