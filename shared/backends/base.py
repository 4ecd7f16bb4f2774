"""The port: what every database does for the service. The contract is said here once; backends don't repeat it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.errors import ConfigurationError, ServiceError
from shared.models import Record
from shared.query import Aggregation, Group, Page, Query, Stored


class Outcome(NamedTuple):
    """What became of one record of a write.

    `stored` with its etag when the database has it: the record just written, or with `existed` the one that already
    had the id. `error` when it could not be written: a TransientError where a retry may help, else what is wrong with it.
    """

    stored: Stored | None = None
    existed: bool = False
    error: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many records a bounded delete removed, and whether more match."""

    count: int
    more: bool


@dataclass(frozen=True, slots=True)
class ModelStats:
    """Figures of one model: how many records, greatest `updatedAt` (None when empty), bytes stored (None: not known)."""

    count: int
    last_modified: str | None
    size_bytes: int | None = None
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Figures by model name, and what the backend tells of its storage, cache and pool (JSON values, camelCase)."""

    models: Mapping[str, ModelStats]
    storage: Mapping[str, Any] = field(default_factory=dict)
    cache: Mapping[str, Any] | None = None
    pool: Mapping[str, Any] | None = None


class Backend(ABC):
    """A database.

    Ids are unique per model. Every method raises UnavailableError when the database can't be reached and
    ThrottledError when it asks to be called less; nothing of such a call is acknowledged. A driver's own errors never
    pass. No method blocks the event loop. Instances serve many tasks at once.
    """

    name: str
    """The value of DATABASE_TYPE."""
    counts_by_reading = False
    """Whether `count` reads every record that matches; an approximate figure is then not made exact by it."""

    @abstractmethod
    async def connect(self) -> None:
        """Make ready. Raises ConfigurationError when settings are wrong. Connecting twice is one connection."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Finish what is in hand and free everything. Never raises for a backend that was not connected."""

    @abstractmethod
    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """Store records that are new, each on its own, durably, before it returns: never all or nothing.

        An outcome for each in the order given. A record whose id exists is not written: its outcome has `existed` and
        the stored one. An id twice in `records` is settled in the order given: the second finds the first.
        """

    @abstractmethod
    async def put_raw(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """Store records as they are, server fields and hidden fields included, for migration and restore.

        As `create_many` otherwise: an existing id is left alone.
        """

    async def create(self, model: type[Record], stored: Stored) -> Outcome:
        """Store one record. Raises the outcome's error, if any."""
        [outcome] = await self.create_many(model, [stored])
        if outcome.error is not None:
            raise outcome.error
        return outcome

    @abstractmethod
    async def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        """The record, or None."""

    @abstractmethod
    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        """Replace the record of that id if it still has the etag. Returns it with its new etag.

        Raises NotFoundError when there is none and PreconditionFailedError when the etag is another.
        """

    @abstractmethod
    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        """Delete the record; the id is free afterwards. Raises as `update` does (any etag when None)."""

    @abstractmethod
    async def find(self, query: Query) -> Page:
        """A page of records ordered by (timestamp, id) in byte order.

        At most `query.limit` records and about `query.max_bytes` of JSON (at least one record where one matches).
        """

    @abstractmethod
    async def count(self, query: Query) -> int:
        """How many records match filters and window; `after`, `limit` and `max_bytes` play no part."""

    @abstractmethod
    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        """The groups that have records, in no particular order."""

    @abstractmethod
    async def delete_where(self, query: Query) -> Deleted:
        """Delete up to `query.limit` of the records that match, in the query's order."""

    @abstractmethod
    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        """Delete records and leave no copy of them, in no log, journal or file of the backend's own. How many there were.

        An id that has no record any more is purged of what deletes and updates left behind.
        """

    @abstractmethod
    async def get_stats(self) -> BackendStats:
        """Figures of every model, at a cost that does not grow with the records where the database can."""

    async def make_salt(self) -> str:
        """The salt of a store that can keep one secret beside its data. Raises ConfigurationError where it can't."""
        raise ConfigurationError("PRIVACY_SALT is not set; must be 16 characters or more")

    @abstractmethod
    async def health(self) -> None:
        """Return when the database answers."""
