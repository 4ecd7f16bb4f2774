"""The indexes of a collection, as the model's declaration says, and the server's own expiry.

Expiry is a TTL index on the time of the event. Its days stand in the index and not in the documents, so that other days, or
none, hold for what is stored already. https://www.mongodb.com/docs/manual/core/index-ttl/
"""

import logging
from collections.abc import Mapping
from typing import Any

from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from shared.backends.mongodb.calls import Caller
from shared.backends.mongodb.documents import OCCURRED_AT, Document
from shared.backends.mongodb.queries import NEWEST_FIRST, Order
from shared.errors import ServiceError, TransientError
from shared.models import LOG_MODELS, Record

logger = logging.getLogger(__name__)

EXPIRY = f"{OCCURRED_AT}_ttl"
_DAY_SECONDS = 86_400
_MAX_SECONDS = 2**31 - 1
_NO_SUCH_INDEX = 27

Collection = AsyncCollection[Document]
Definitions = Mapping[str, Mapping[str, Any]]


def keys_of(model: type[Record]) -> list[Order]:
    """The keys of a model's indexes besides its ids."""
    filtered: list[Order] = [[(name, 1), *NEWEST_FIRST] for name in model.filterable]
    return [NEWEST_FIRST, [("updatedAt", -1)], *filtered]


def expiry_seconds(model: type[Record], days: int) -> int | None:
    """After how many seconds a model's records expire.

    None where nothing does, where the server can't count so far, and for sessions: they go by their last activity, which
    only their records know.
    """
    seconds = days * _DAY_SECONDS
    return seconds if model in LOG_MODELS and 0 < seconds <= _MAX_SECONDS else None


async def make_indexes(caller: Caller, collection: Collection, model: type[Record], days: int) -> None:
    """Make what is missing; the expiry is made, changed or dropped as `days` says."""

    async def send() -> Definitions:
        found: Definitions = await collection.index_information()
        there = [list(definition["key"]) for definition in found.values()]
        missing = [IndexModel(keys) for keys in keys_of(model) if [*map(tuple, keys)] not in there]
        if missing:
            await collection.create_indexes(missing)
        return found

    found = (await caller.call(send)).value
    try:
        await _set_expiry(caller, collection, found.get(EXPIRY), expiry_seconds(model, days))
    except ServiceError as error:
        if isinstance(error, TransientError):
            raise
        logger.warning(
            "the server made no TTL index; the retention timer alone removes what is past its days",
            extra={"collection": collection.name, "code": getattr(error.__cause__, "code", None)},
        )


async def _set_expiry(caller: Caller, collection: Collection, found: Mapping[str, Any] | None, seconds: int | None) -> None:
    """An index with other days is made anew, since `collMod` needs more than the role readWrite."""
    if found is not None and found.get("expireAfterSeconds") == seconds:
        return
    if found is not None:
        await caller.call(lambda: drop_expiry(collection))
    if seconds is not None:
        await caller.call(lambda: collection.create_index(OCCURRED_AT, name=EXPIRY, expireAfterSeconds=seconds))


async def drop_expiry(collection: Collection) -> None:
    """Drop the index, where another instance has not done so."""
    try:
        await collection.drop_index(EXPIRY)
    except OperationFailure as error:
        if error.code != _NO_SUCH_INDEX:
            raise
