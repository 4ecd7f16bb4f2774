"""Calls to the account: the one place where they are sent again, and where the driver's errors become ours.

The driver itself sends nothing twice (see `retrying.py`); a refusal tells of an earlier lost answer as an answer does.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from azure.core.exceptions import AzureError
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosHttpResponseError

from shared.backends import retrying
from shared.backends.retrying import Answer, Patience, Trouble, persist
from shared.errors import ConfigurationError, ServiceError, ThrottledError, TooLargeError, UnavailableError

logger = logging.getLogger(__name__)

OWNER_MISSING = 1003
_SESSION_UNAVAILABLE = 1002
_WRITES_ELSEWHERE = 3
"""Of a 403 while the account's writes move to another region.

https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb
"""
_PARTITION_FULL = 1014
"""Of a 403: https://learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden#partition-key-exceeding-storage"""
_FULL_RETRY_SECONDS = 3_600.0
_PATIENCE = Patience(faults=8)
_DEFAULT_RETRY_AFTER = 1.0
_AMBIGUOUS = frozenset({408, 410, 500, 502, 503, 504})

T = TypeVar("T")


class RefusalError(retrying.RefusalError):
    """400, 404, 409, 412 or 424 and the like; `index` is the operation of a batch that failed."""

    def __init__(self, status: int, substatus: int = 0, *, index: int = 0) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.substatus = substatus
        self.index = index


class Caller:
    """Sends calls within the deadline of the request in hand. `setting` names how the account is reached, in errors."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def call(self, send: Callable[[], Awaitable[T]]) -> Answer[T]:
        """What `send` gives, sent again after faults and as told when throttled.

        Raises RefusalError, ServiceError and ConfigurationError.
        """
        return await persist(send, (AzureError,), self._trouble, _PATIENCE)

    def _trouble(self, error: AzureError) -> Trouble:
        """What a retry may help with. Raises what it can't."""
        if isinstance(error, CosmosHttpResponseError | CosmosBatchOperationError):
            return self._refused(error)
        return Trouble(UnavailableError("The database can't be reached."), lost=True)

    def _refused(self, error: CosmosHttpResponseError | CosmosBatchOperationError) -> Trouble:
        status, substatus = int(error.status_code or 0), _substatus(error)
        if status == 429:
            wait = _retry_after(error)
            return Trouble(ThrottledError("The database asks to be called less often.", retry_after=wait), wait)
        if status == 449 or (status == 404 and substatus == _SESSION_UNAVAILABLE):
            return Trouble(UnavailableError("The database was busy with the same record."))
        if status in _AMBIGUOUS:
            return Trouble(UnavailableError("The database is unavailable."), lost=True)
        if status == 403 and substatus == _WRITES_ELSEWHERE:
            return Trouble(UnavailableError("The database takes no writes at the moment."))
        if status == 403 and substatus == _PARTITION_FULL:
            logger.error("a logical partition is full: COSMOS_BUCKETS is too small for this load")
            raise UnavailableError("The partition of the record is full.", retry_after=_FULL_RETRY_SECONDS) from error
        if status in (401, 403):
            raise ConfigurationError(f"{self._setting} names an account that refuses this access ({status})") from error
        if status == 413:
            raise TooLargeError("The record is too large for the database.") from error
        if status in (404, 409, 412):
            raise RefusalError(status, substatus, index=int(getattr(error, "error_index", 0) or 0)) from error
        logger.error("the database refused a call", extra={"status": status, "substatus": substatus})
        raise ServiceError("The database did not understand the request.") from error


def _substatus(error: CosmosHttpResponseError | CosmosBatchOperationError) -> int:
    """The finer code of a refusal, from the header or from the batch's own result."""
    told = error.sub_status
    if isinstance(error, CosmosBatchOperationError) and not told:
        told = (error.operation_responses or [{}])[error.error_index or 0].get("subStatusCode")
    return int(told or 0)


def _retry_after(error: CosmosHttpResponseError | CosmosBatchOperationError) -> float:
    """Seconds to wait, from the header or from the batch's own result.

    https://learn.microsoft.com/rest/api/cosmos-db/common-cosmosdb-rest-response-headers
    """
    told = (getattr(error, "headers", None) or {}).get("x-ms-retry-after-ms")
    for result in getattr(error, "operation_responses", None) or ():
        told = told or result.get("retryAfterMilliseconds")
    try:
        return max(0.0, float(told or "") / 1_000)
    except ValueError:
        return _DEFAULT_RETRY_AFTER
