"""Calls to the server: the one place where they are made again, and where the driver's errors become ours.

A connection that breaks leaves open whether its statement was done (see `retrying.py`).
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import DataError, Error, InterfaceError, OperationalError, errors

from shared.backends.postgresql.pool import Connection, Pool
from shared.backends.retrying import Answer, Patience, Trouble, persist
from shared.errors import (
    ConfigurationError,
    DeadlineError,
    InvalidError,
    ServiceError,
    ThrottledError,
    TooLargeError,
    TransientError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

_PATIENCE = Patience(faults=4, first_pause=0.05)
_BUSY_RETRY_AFTER = 2.0
_AWAY = "The database can't be reached."

_ROLLED_BACK = (errors.SerializationFailure, errors.DeadlockDetected)
_OUT_OF_TIME = (errors.QueryCanceled, errors.TransactionTimeout)
_TOO_BUSY = (errors.TooManyConnections, errors.ConfigurationLimitExceeded)
_NOT_NOW = (errors.ReadOnlySqlTransaction, errors.LockNotAvailable)
_NO_RESOURCES = "53"
"""The class of a full disk, of too little memory and the like."""
_AWAY_STATES = ("08", "57P", "58")
"""Connection exceptions, by which a pooler says that its server is away, its being stopped, and errors of its system."""
_NO_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)

_REFUSED_CONNECTIONS = (
    (r"authentication failed|no password supplied|pg_hba|role .* (does not exist|is not permitted)", "refuses this access"),
    (r"database .* does not exist|permission denied for database", "has no such database for this user"),
    (r"does not support SSL|certificate", "can't be reached by TLS as asked for (DATABASE_TLS, sslmode, sslrootcert)"),
)
_TOO_MANY = re.compile(r"too many (clients|connections)|remaining connection slots|too many connections for")

T = TypeVar("T")


class Caller:
    """Does work on a connection of the pool within the deadline of the request in hand."""

    def __init__(self, pool: Pool, setting: str) -> None:
        self._pool = pool
        self._setting = setting

    async def call(self, work: Callable[[Connection], Awaitable[T]], *, passes: tuple[type[Error], ...] = ()) -> Answer[T]:
        """What `work` gives, done again after a fault that may pass.

        Raises ServiceError and ConfigurationError, and of the driver's errors those that `passes` names.
        """

        def explain(error: Error | OSError) -> Trouble:
            if isinstance(error, passes):
                raise error
            return Trouble(self._meaning(error), lost=isinstance(error, _LostError))

        return await persist(lambda: self._attempt(work), (Error, OSError), explain, _PATIENCE)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await self._pool.take()
        try:
            return await work(connection)
        except Error as error:
            if not connection.closed or isinstance(error, _OUT_OF_TIME):
                raise
            logger.warning("a connection to the database broke")
            raise _LostError from error
        except UnicodeError as error:
            raise _unfit() from error
        finally:
            await self._pool.give_back(connection)

    def _meaning(self, error: Exception) -> ServiceError:
        """What to answer when it stays so. Raises what doing it again can't help, at once."""
        if isinstance(error, _OUT_OF_TIME):
            raise DeadlineError("The database did not answer in time.") from error
        if isinstance(error, _TOO_BUSY):
            return _too_busy()
        if isinstance(error, _ROLLED_BACK):
            return UnavailableError("The database was busy with the same records.")
        sqlstate = getattr(error, "sqlstate", None) or ""
        if isinstance(error, _NOT_NOW) or sqlstate.startswith(_NO_RESOURCES):
            return UnavailableError("The database can't do this now.")
        if isinstance(error, (_LostError, OSError, InterfaceError)) or sqlstate.startswith(_AWAY_STATES):
            return UnavailableError(_AWAY)
        if isinstance(error, OperationalError) and error.sqlstate is None:
            return self._refused_connection(error)
        raise self._misunderstood(error) from error

    def _refused_connection(self, error: OperationalError) -> TransientError:
        """A connection that was not made has no SQLSTATE, only a text."""
        if _TOO_MANY.search(str(error)):
            return _too_busy()
        for pattern, meaning in _REFUSED_CONNECTIONS:
            if re.search(pattern, str(error)):
                raise ConfigurationError(f"{self._setting} names a server that {meaning}") from error
        return UnavailableError(_AWAY)

    def _misunderstood(self, error: Exception) -> Exception:
        if isinstance(error, errors.InsufficientPrivilege):
            return ConfigurationError(
                f"{self._setting} names a user without the rights that the service needs; docs/postgresql.md lists them"
            )
        if isinstance(error, _NO_SCHEMA):
            return ConfigurationError(
                f"{self._setting} names a database whose schema is not this service's: compare it with what "
                "`python -m shared postgresql schema` prints"
            )
        if isinstance(error, errors.ProgramLimitExceeded):
            return TooLargeError("The record is too large for the database.")
        if isinstance(error, DataError):
            return _unfit()
        logger.error("the database refused a call", extra={"sqlstate": getattr(error, "sqlstate", None)})
        return ServiceError("The database did not understand the request.")


def _too_busy() -> ThrottledError:
    return ThrottledError("The database takes no more connections.", retry_after=_BUSY_RETRY_AFTER)


def _unfit() -> InvalidError:
    return InvalidError("A value is one that the database can't hold.")


class _LostError(OperationalError):
    """The connection broke while work was being done on it."""
