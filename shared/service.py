"""DatabaseService: the use cases. The functions, the jobs and the command line talk to nothing below it."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.backends import create_backend
from shared.backends.base import Backend
from shared.batching import BatchAnswer, BatchItem, ItemResult, answer_batch, id_as_sent, split_item
from shared.config import Settings
from shared.errors import (
    ConflictError,
    Detail,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    UnavailableError,
)
from shared.etags import Condition, entity_tag
from shared.generation import generation_record
from shared.ids import RandomBytes, is_valid_id
from shared.intake import Intake, Prepared
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.patching import Change, apply_patch
from shared.privacy import Privacy
from shared.query import ListRequest, Stored, Window, WireRecord, read_list_request, read_window
from shared.reading import Found, Listing, Reader
from shared.retention import RetentionPolicy, RetentionReport, RetentionRun
from shared.sessions import SeenSessions, has_records, implied_session
from shared.statistics import LatencyMeter, Statistics
from shared.timestamps import format_timestamp
from shared.timing import Timer, Timers, remaining_seconds
from shared.writing import Writer, Written

logger = logging.getLogger(__name__)

_ALL_TIME = Window(None, None)
_MAX_UPDATE_ATTEMPTS = 50
_UPDATE_PAUSE_SECONDS = 0.02
_ANSWER_SECONDS = 0.5
"""What a batch leaves of its deadline for writing its answer."""
_LONGEST_STRETCH_SECONDS = 0.005
"""How long a batch is prepared before other requests have their turn."""


def utc_now() -> datetime:
    """The time of the system's clock."""
    return datetime.now(UTC)


class Updated(NamedTuple):
    """A record after a patch, as its writer may see it. `changed` is False where nothing had to be written."""

    record: WireRecord
    stored: Stored
    changed: bool
    redactions: int

    @property
    def etag(self) -> str:
        """The quoted entity tag of the stored document."""
        return entity_tag(self.stored)


class _Parts(NamedTuple):
    """What the service works with once the database is connected."""

    intake: Intake
    reader: Reader
    writer: Writer
    statistics: Statistics


class DatabaseService:
    """Takes records in, answers queries and statistics over them, and forgets them when it must.

    Nothing is connected before the first use; `initialize` may be awaited to do it earlier. Besides what each method
    names, all raise UnavailableError and ThrottledError, and ConfigurationError where a setting is missing.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self.settings = settings
        self.latency = LatencyMeter()
        self._backend = backend if backend is not None else create_backend(settings)
        self._clock = clock
        self._random_bytes = random_bytes
        self._policy = RetentionPolicy(settings.retention_days)
        self._seen = SeenSessions()
        self._timers = Timers()
        self._parts: _Parts | None = None
        self._starting: asyncio.Task[_Parts] | None = None

    # Life cycle

    async def initialize(self) -> None:
        """Connect. Callers at the same time share one attempt; after a failed one the next call tries again."""
        await self._ready()

    async def close(self) -> None:
        """Finish what is in hand and disconnect; a later call connects again."""
        self._parts = None
        self._seen.clear()
        await self._backend.disconnect()

    async def _ready(self) -> _Parts:
        if self._parts is not None:
            return self._parts
        starting = self._starting
        if starting is None or starting.done() or starting.get_loop() is not asyncio.get_running_loop():
            starting = self._starting = asyncio.create_task(self._start())
            starting.add_done_callback(_retrieve)
        return await asyncio.shield(starting)

    async def _start(self) -> _Parts:
        await self._backend.connect()
        salt = (self.settings.privacy_salt or await self._backend.make_salt()).encode()
        privacy = Privacy(salt, self.settings.privacy_ip_mode)
        self._parts = _Parts(
            Intake(privacy, salt, self._policy, self._clock, self._random_bytes),
            Reader(self._backend, self._policy, self._clock),
            Writer(self._backend, self._policy, self._clock, self._seen),
            Statistics(self._backend, self._policy, self._clock),
        )
        return self._parts

    # Records

    async def create(self, model: type[Record], raw: Any, key: str | None = None) -> Written:
        """Store one record of client JSON; `key` is its id where it brings none.

        Raises InvalidError, TooLargeError, and ConflictError when the id exists with other content.
        """
        parts = await self._ready()
        return await parts.writer.write(parts.intake.prepare(model, raw, key))

    async def create_batch(self, items: Sequence[BatchItem]) -> BatchAnswer:
        """Store many, each on its own. What the request's deadline leaves no time for can be sent again."""
        parts = await self._ready()
        results: list[ItemResult | None] = [None] * len(items)
        prepared: dict[int, Prepared] = {}
        resumed = time.monotonic()
        for index, item in enumerate(items):
            try:
                prepared[index] = parts.intake.prepare(*split_item(item))
            except ServiceError as error:
                results[index] = ItemResult(id_as_sent(item), error)
            if time.monotonic() - resumed > _LONGEST_STRETCH_SECONDS:
                await asyncio.sleep(0)
                resumed = time.monotonic()
        remaining = remaining_seconds()
        seconds = None if remaining is None else max(remaining - _ANSWER_SECONDS, remaining / 2)
        written = await parts.writer.write_many(list(prepared.values()), seconds)
        for (index, record), result in zip(prepared.items(), written, strict=True):
            results[index] = ItemResult(record.stored.id, result)
        return answer_batch([result for result in results if result is not None])

    async def get(self, model: type[Record], record_id: str) -> Found:
        """The record of an id. Raises NotFoundError."""
        parts = await self._ready()
        return await parts.reader.get(model, record_id)

    async def page(self, request: ListRequest) -> Listing:
        """A page of a list."""
        parts = await self._ready()
        return await parts.reader.page(request)

    async def update(self, model: type[Record], record_id: str, patch: Any, if_match: Condition | None = None) -> Updated:
        """Change a record by a JSON merge patch (RFC 7396); without a condition it is tried again when others write.

        Raises InvalidError, NotFoundError, TooLargeError, and PreconditionFailedError when the condition fails.
        """
        parts = await self._ready()
        for attempt in range(_MAX_UPDATE_ATTEMPTS):
            found = await parts.reader.get(model, record_id)
            _check_condition(if_match, found.stored)
            now = format_timestamp(self._clock())
            change = apply_patch(model, found.stored, patch, parts.intake.privacy, now, found.derived)
            try:
                return await self._write_change(model, change)
            except PreconditionFailedError:
                if if_match is not None:
                    raise
            await asyncio.sleep(random.uniform(0, _UPDATE_PAUSE_SECONDS * min(attempt + 1, 10)))  # noqa: S311 - spreads writers
        raise UnavailableError(f"The {model.singular} is being changed by too many at once.")

    async def _write_change(self, model: type[Record], change: Change) -> Updated:
        stored = change.stored
        if change.changed:
            stored = await self._backend.update(model, stored, stored.etag)
        return Updated(change.answer, stored, change.changed, change.redactions)

    async def delete(self, model: type[Record], record_id: str, if_match: Condition | None = None) -> None:
        """Delete a record; its id is free afterwards.

        Raises NotFoundError, PreconditionFailedError when the condition fails, and ConflictError for a session that has
        records.
        """
        parts = await self._ready()
        found = await parts.reader.get(model, record_id)
        _check_condition(if_match, found.stored)
        if model is UserSession and await self._has_records(record_id):
            detail = Detail("id", "has records; to remove a session with all its records, ask for an erasure")
            raise ConflictError("The session has records.", [detail])
        await self._backend.delete(model, record_id, None if if_match is None else found.stored.etag)
        self._seen.discard(record_id)
        if model is UserSession and await self._has_records(record_id):  # one came in meanwhile, and found its session
            await self._backend.create(model, implied_session({**found.stored.record, "sessionId": record_id}, self.now()))

    async def _has_records(self, session_id: str) -> bool:
        return await has_records(self._backend, session_id, self._policy.cutoffs(self.now()))

    # Lists and figures as clients ask for them

    def now(self) -> str:
        """The present moment as a canonical timestamp."""
        return format_timestamp(self._clock())

    async def list_records(self, model: type[Record], parameters: Mapping[str, str], session_id: str | None = None) -> Listing:
        """The page that query parameters ask for, of one session where it is named.

        Raises InvalidError, and NotFoundError for what can be no session's id.
        """
        if session_id is not None and not is_valid_id(session_id):
            raise NotFoundError("There is no session with this id.")
        fixed = None if session_id is None else {"sessionId": (session_id,)}
        return await self.page(read_list_request(model, parameters, self.now(), fixed=fixed))

    async def window_stats(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """`get_stats` over the window that query parameters name. Raises InvalidError."""
        return await self.get_stats(read_window(parameters, self.now()))

    async def get_stats(self, window: Window = _ALL_TIME) -> dict[str, Any]:
        """Figures of the database, and of generations, requests and events over a window."""
        parts = await self._ready()
        stats = await parts.statistics.collect(window)
        stats["instance"]["latency"] = self.latency.figures()
        return stats

    async def health(self) -> dict[str, Any]:
        """The database's type and how long it took to answer, in ms. Raises when it does not answer."""
        started = time.monotonic()
        await self._ready()
        await self._backend.health()
        return {"type": self._backend.name, "latencyMs": round((time.monotonic() - started) * 1000, 3)}

    async def run_retention(self, *, past_due: bool = False) -> RetentionReport:
        """Remove what is past its retention and log it as a SystemEventLog; with nothing to expire, do nothing."""
        if self._policy.keeps_everything:
            return RetentionReport(past_due)
        await self._ready()
        report = await RetentionRun(self._backend, self._policy, self._clock).run(past_due=past_due)
        self._seen.clear()
        logger.info("retention", extra={"removed": report.removed, "left": report.left, "duration_ms": report.duration_ms})
        await self.log_system_event(report.as_event())
        return report

    # Calls for programs that live beside the functions

    async def log_image_generation(
        self, request: Mapping[str, Any], response: Mapping[str, Any], performance: Mapping[str, Any]
    ) -> WireRecord:
        """Store the transaction of an image generation, told by three mappings: see `generation_record`."""
        return await self._log(ImageGenerationTransaction, generation_record(request, response, performance))

    async def log_api_request(self, record: Mapping[str, Any]) -> WireRecord:
        """Store an ApiRequestLog in wire form and give back what is stored. Raises as `create` does."""
        return await self._log(ApiRequestLog, record)

    async def log_system_event(self, record: Mapping[str, Any]) -> WireRecord:
        """Store a SystemEventLog in wire form and give back what is stored. Raises as `create` does."""
        return await self._log(SystemEventLog, record)

    async def _log(self, model: type[Record], record: Mapping[str, Any]) -> WireRecord:
        return (await self.create(model, record)).stored.record

    async def get_recent_transactions(self, limit: int = 10) -> list[WireRecord]:
        """The newest transactions, at most `limit` (1 to 1,000)."""
        listing = await self.list_records(ImageGenerationTransaction, {"limit": str(limit)})
        return listing.records

    def start_timer(self, operation_id: str) -> None:
        """Start timing an operation; one that is already timed starts anew."""
        self._timers.start(operation_id)

    def add_timer_checkpoint(self, operation_id: str, name: str) -> None:
        """Note how far the operation is. Raises KeyError for one that was not started."""
        self._timers.checkpoint(operation_id, name)

    def end_timer(self, operation_id: str) -> dict[str, object]:
        """`totalDuration` and `checkpoints` in ms. Raises KeyError for an operation that was not started."""
        return self._timers.end(operation_id)

    @asynccontextmanager
    async def timer(self, operation: str) -> AsyncIterator[Timer]:
        """A timer for a block of code; how long the block took also counts into this process's latencies."""
        timer = Timer()
        try:
            yield timer
        finally:
            self.latency.observe(operation, timer.elapsed())


def _check_condition(condition: Condition | None, stored: Stored) -> None:
    if condition is not None and not condition.allows_write_to(stored):
        raise PreconditionFailedError("The record is no longer the version that If-Match names.")


def _retrieve(task: asyncio.Task[_Parts]) -> None:
    """Whoever waits for the start sees its error; when nobody is left waiting, it is not an unhandled one."""
    if not task.cancelled():
        task.exception()
