"""Calls to the server: the one place where they are sent again, and where the driver's errors become ours.

The driver itself sends nothing twice. After a lost answer nobody knows what the server did, so whoever asked is told
(`Answer.lost`) and settles what the next answer means; a write carries a mark of its own to know itself by.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)
from pymongo.errors import ConfigurationError as DriverConfigurationError

from shared.errors import ConfigurationError, DeadlineError, ServiceError, ThrottledError, TooLargeError, UnavailableError
from shared.timing import remaining_seconds

logger = logging.getLogger(__name__)

DUPLICATE = 11_000
_UNSUPPORTED = frozenset({59, 115, 238, 15_952, 40_324, 16_436, 31_249})
"""CommandNotFound, CommandNotSupported, NotImplemented, and the codes of unknown stages and operators."""
_THROTTLED = frozenset({16_500, 429})
_FULL, _ATLAS = frozenset({14_031}), 8_000
"""OutOfDiskSpace; whatever Atlas itself refuses, a wrong password as well as a full account."""
_UNKNOWN_USER, _FORBIDDEN = frozenset({18, _ATLAS}), 13
_TOO_LARGE = frozenset({10_334, 17_419, 17_420})
_WRITE_CONFLICT = 112
_UNCERTAIN = frozenset({1, 6, 7, 24, 50, 64, 89, 91, 134, 189, 202, 262, 290, 317, 358, 384, 9_001, 10_107})
"""The server was stopping, stepping down or too slow: the work may have been done.

https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""
_UNCERTAIN_LABEL = "RetryableWriteError"
_DEFAULT_SECONDS = 30.0
"""How long a call goes on where no request's deadline is set."""
_MAX_FAULTS = 6
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_DEFAULT_RETRY_AFTER = 1.0
_QUEUE_SECONDS = 10.0
_RETRY_AFTER = re.compile(r"RetryAfterMs=(\d{1,7})", re.ASCII)

_DISTRUST = "CERTIFICATE_VERIFY_FAILED"
"""How OpenSSL's text begins, of which the driver keeps nothing else."""

T = TypeVar("T")


class UnsupportedError(ServiceError):
    """The server does not know the command, stage or option."""

    def __init__(self) -> None:
        super().__init__("The database does not support the request.")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a call gave; `lost` when the answer to an earlier attempt was lost."""

    value: T
    lost: bool


@dataclass(slots=True)
class _Trouble:
    """One failed attempt: how long to wait (None: as our own pauses go), and whether the work may have been done."""

    error: ThrottledError | UnavailableError
    wait: float | None = None
    lost: bool = False
    final: bool = False


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

        Raises UnsupportedError, ThrottledError, UnavailableError, DeadlineError and ConfigurationError.
        """
        remaining = remaining_seconds()
        end = time.monotonic() + (_DEFAULT_SECONDS if remaining is None else remaining)
        lost, faults = False, 0
        while True:
            await self._enter(end)
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    return Answer(await send(), lost)
            except TimeoutError as error:
                raise DeadlineError("The database did not answer in time.") from error
            except (PyMongoError, BSONError) as error:
                trouble = self._trouble(error)
                lost = lost or trouble.lost
                pause = trouble.wait
                if pause is not None:
                    pause = max(pause, _FIRST_PAUSE)
                else:
                    faults += 1
                    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**faults)
                if trouble.final or faults > _MAX_FAULTS or time.monotonic() + pause >= end:
                    raise trouble.error from error
            finally:
                self._gate.release()
            await asyncio.sleep(pause)

    async def _enter(self, end: float) -> None:
        if not self._gate.locked():
            await self._gate.acquire()
            return
        try:
            async with asyncio.timeout(max(0.0, min(_QUEUE_SECONDS, end - time.monotonic()))):
                await self._gate.acquire()
        except TimeoutError as error:
            raise UnavailableError("The database's connections are all in use.") from error

    def _trouble(self, error: PyMongoError | BSONError) -> _Trouble:
        """What a retry may help with. Raises what it can't."""
        if isinstance(error, WaitQueueTimeoutError):
            return _Trouble(UnavailableError("The database's connections are all in use."), final=True)
        if isinstance(error, ConnectionFailure) and _DISTRUST in str(error):
            raise ConfigurationError(f"{self._setting}: the server's TLS certificate can't be trusted") from error
        if isinstance(error, ConnectionFailure):
            logger.warning("the database can't be reached", extra={"error_type": type(error).__name__})
        if isinstance(error, ServerSelectionTimeoutError):
            return _Trouble(UnavailableError("The database can't be reached."), final=True)
        if isinstance(error, AutoReconnect | ConnectionFailure):
            return _Trouble(UnavailableError("The database can't be reached."), lost=True)
        if isinstance(error, OperationFailure):
            return self._refused(error)
        if isinstance(error, DocumentTooLarge):
            raise TooLargeError("The record is too large for the database.") from error
        if isinstance(error, DriverConfigurationError):
            raise ConfigurationError(
                f"{self._setting}: the server can't be used, its name has no SRV record or it lacks an option that is asked for"
            ) from error
        if isinstance(error, InvalidOperation):
            raise UnavailableError("The database is not connected.") from error
        logger.error("the database refused a call", extra={"error_type": type(error).__name__})
        raise ServiceError("The database did not understand the request.") from error

    def _refused(self, error: OperationFailure) -> _Trouble:
        code = _code_of(error)
        if code in _THROTTLED:
            wait = _retry_after(error)
            return _Trouble(ThrottledError("The database asks to be called less often.", retry_after=wait), wait, lost=True)
        if code == _WRITE_CONFLICT:
            return _Trouble(UnavailableError("The database was busy with the same record."))
        if code in _UNCERTAIN or error.has_error_label(_UNCERTAIN_LABEL):
            return _Trouble(UnavailableError("The database is unavailable."), lost=True)
        if code in _FULL or (code == _ATLAS and "quota" in _said(error)):
            return _Trouble(UnavailableError("The database can't store now."), final=True)
        if code in _UNKNOWN_USER:
            raise ConfigurationError(f"{self._setting}: the database does not know this user by this password") from error
        if code == _FORBIDDEN:
            raise ConfigurationError(
                f"{self._setting}: this user may not do what the service does; its role must be readWrite"
            ) from error
        if code in _UNSUPPORTED:
            raise UnsupportedError from error
        if code in _TOO_LARGE:
            raise TooLargeError("The record is too large for the database.") from error
        logger.error("the database refused a call", extra={"code": code})
        raise ServiceError("The database did not understand the request.") from error


def write_codes(error: BulkWriteError) -> dict[int, int]:
    """The code of each document of a bulk write that failed, by its place; -1 for all where nothing is certain."""
    if error.details.get("writeConcernErrors"):
        return {-1: 64}
    return {int(failed["index"]): int(failed["code"]) for failed in error.details.get("writeErrors", ())}


def _code_of(error: OperationFailure) -> int | None:
    """The code that decides; of a bulk write the one that is not merely a duplicate."""
    if isinstance(error, BulkWriteError):
        return next((code for code in write_codes(error).values() if code != DUPLICATE), DUPLICATE)
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
