"""The indexes of a collection, as the model's declaration says, and the server's own expiry.

Expiry is a TTL index on the time of the event. Its days stand in the index and not in the documents, so that other days, or
none, hold for what is stored already. https://www.mongodb.com/docs/manual/core/index-ttl/

No answer depends on an index but `_id`'s, only its cost does: what the server refuses, or would take long, is done without,
and the log says so.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from shared.backends.mongodb.calls import Caller, ForbiddenError
from shared.backends.mongodb.documents import OCCURRED_AT, Document
from shared.backends.mongodb.queries import NEWEST_FIRST, Order
from shared.errors import ServiceError, TransientError
from shared.models import LOG_MODELS, Record

logger = logging.getLogger(__name__)

IN_LINE = 100_000
"""Documents of a collection at most that requests wait for while indexes are built: each build reads every one."""
EXPIRY = f"{OCCURRED_AT}_ttl"
_COMMAND = "python -m shared mongodb indexes"
_WITHOUT_INDEX = "the server made no indexes; lists and filters read more than their page"
_WITHOUT_EXPIRY = "the server made no TTL index; the retention timer alone removes what is past its days"
_DAY_SECONDS = 86_400
_MAX_SECONDS = 2**31 - 1
_NO_SUCH_INDEX = 27

Definitions = Mapping[str, Mapping[str, Any]]


def keys_of(model: type[Record]) -> list[Order]:
    """The keys of a model's indexes besides its ids."""
    filtered: list[Order] = [[(name, 1), *NEWEST_FIRST] for name in model.filterable]
    return [NEWEST_FIRST, [("updatedAt", -1)], *filtered]


@dataclass(frozen=True, slots=True)
class Indexes:
    """The indexes that a model's collection should have, for `days` of retention (0: for ever)."""

    caller: Caller
    collection: AsyncCollection[Document]
    model: type[Record]
    days: int

    async def make(self, at_most: float = IN_LINE) -> list[str]:
        """Set the expiry and make what is missing, where there are `at_most` documents. The names of what was made or changed.

        Raises TransientError, and ConfigurationError where the user may not even ask which there are.
        """
        found: Definitions = (await self.caller.call(self.collection.index_information)).value
        there = [list(definition["key"]) for definition in found.values()]
        missing = [IndexModel(keys) for keys in keys_of(self.model) if [*map(tuple, keys)] not in there]
        seconds = self._expiry_seconds()
        changed, expiry = [], []
        if found.get(EXPIRY, {}).get("expireAfterSeconds") != seconds:
            became = await self._change_expiry(seconds) if EXPIRY in found else "gone"
            if became == "changed":
                changed = [EXPIRY]
            elif became == "gone" and seconds is not None:
                expiry = [IndexModel(OCCURRED_AT, name=EXPIRY, expireAfterSeconds=seconds)]
        if not missing and not expiry:
            return changed
        if (await self.caller.call(self.collection.estimated_document_count)).value > at_most:
            names = [*map(_name, missing), *map(_name, expiry)]
            self._warn(f"indexes are missing that would take long to make: run {_COMMAND}", indexes=names)
            return changed
        return [*changed, *await self._create(missing, _WITHOUT_INDEX), *await self._create(expiry, _WITHOUT_EXPIRY)]

    def _expiry_seconds(self) -> int | None:
        """After how many seconds records expire; None where nothing does and where the server can't count so far.

        Sessions don't: they go by their last activity, which only their records know.
        """
        if self.model not in LOG_MODELS or not self.days:
            return None
        if self.days * _DAY_SECONDS > _MAX_SECONDS:
            self._warn(
                "a TTL index can't count so many days; the retention timer alone removes what is past them", days=self.days
            )
            return None
        return self.days * _DAY_SECONDS

    async def _change_expiry(self, seconds: int | None) -> Literal["changed", "gone", "kept"]:
        """Give the TTL index that there is other days, without a build. What became of it.

        One whose days can't be changed (`collMod` needs more than the role readWrite) is dropped: it would take away what is
        to be kept.
        """
        change = {"name": EXPIRY, "expireAfterSeconds": seconds}
        database, name = self.collection.database, self.collection.name
        if seconds is not None and await self._refusal(lambda: database.command("collMod", name, index=change)) is None:
            return "changed"
        refused = await self._refusal(lambda: self.collection.drop_index(EXPIRY))
        if refused is None or _code(refused) == _NO_SUCH_INDEX:
            return "gone"
        self._warn("the TTL index can neither be changed nor dropped; it removes by the days that it had", refused)
        return "kept"

    async def _create(self, indexes: list[IndexModel], without: str) -> list[str]:
        """Build indexes in one pass; the names of those that there are now.

        What another instance has made meanwhile is left out: FerretDB 1 drops the connection where one of several is there.
        """

        async def send() -> None:
            found = await self.collection.index_information()
            left = [index for index in indexes if _name(index) not in found]
            if left:
                await self.collection.create_indexes(left)

        refused = await self._refusal(send) if indexes else None
        if refused is None:
            return [*map(_name, indexes)]
        self._warn(without, refused)
        return []

    async def _refusal(self, send: Callable[[], Awaitable[Any]]) -> ServiceError | ForbiddenError | None:
        """Why the server did not do it; None where it did. Raises TransientError."""
        try:
            await self.caller.call(send)
        except TransientError:
            raise
        except (ServiceError, ForbiddenError) as error:
            return error
        return None

    def _warn(self, message: str, refused: Exception | None = None, **more: object) -> None:
        code = {} if refused is None else {"code": _code(refused)}
        logger.warning(message, extra={"collection": self.collection.name, **code, **more})


def _name(index: IndexModel) -> str:
    return str(index.document["name"])


def _code(refused: Exception) -> int | None:
    cause = refused.__cause__
    return cause.code if isinstance(cause, OperationFailure) else None
