"""Stores prepared records with the sessions they imply, and settles what it means when an id exists already."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from shared.backends.base import Backend, Outcome
from shared.errors import ConflictError, DeadlineError, Detail, NotFoundError, PreconditionFailedError, ServiceError
from shared.etags import entity_tag
from shared.intake import Prepared, arranged
from shared.models import Record, UserSession
from shared.query import Stored, WireRecord
from shared.retention import RetentionPolicy
from shared.sessions import IMPLICIT_HASH, SeenSessions, implied_session, last_activities
from shared.timestamps import format_timestamp

_CANCEL_GRACE_SECONDS = 0.05
_MAX_RESOLVE_ATTEMPTS = 10


class Written(NamedTuple):
    """A record that the database has. `record` holds nothing that its writer did not send or the server fill in.

    `stored` is the whole one, for programs inside the trust boundary.
    """

    record: WireRecord
    stored: Stored
    duplicate: bool = False
    redactions: int = 0

    @property
    def etag(self) -> str:
        """The quoted entity tag of the stored document."""
        return entity_tag(self.stored)


Result = Written | ServiceError


@dataclass(slots=True)
class _Batch:
    """Records on their way in. `sessions` holds the sessions that are settled: None when stored, else why not."""

    prepared: Sequence[Prepared]
    now: str
    results: list[Result]
    sessions: dict[str, ServiceError | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """The records of one model that go to the database in one call: where each came from, None for an implied session."""

    places: list[int | None] = field(default_factory=list)
    records: list[Stored] = field(default_factory=list)

    def add(self, place: int | None, stored: Stored) -> None:
        self.places.append(place)
        self.records.append(stored)


class Writer:
    """Writes records durably: what it calls written, the database has."""

    def __init__(self, backend: Backend, policy: RetentionPolicy, clock: Callable[[], datetime], seen: SeenSessions) -> None:
        self._backend = backend
        self._policy = policy
        self._clock = clock
        self._seen = seen

    async def write(self, prepared: Prepared) -> Written:
        """Store one record. Raises ConflictError when its id exists with other content, and what the backend raises."""
        [result] = await self.write_many([prepared])
        if isinstance(result, ServiceError):
            raise result
        return result

    async def write_many(self, prepared: Sequence[Prepared], seconds: float | None = None) -> list[Result]:
        """A result for each record in the order given, each stored on its own.

        What is not settled after `seconds` has DeadlineError: it may be stored or not, and the id makes a retry safe.
        """
        batch = _Batch(prepared, format_timestamp(self._clock()), [_unsettled()] * len(prepared))
        if seconds is None:
            await self._store(batch)
        else:
            await _within(seconds, self._store(batch))
        self._answer_for_sessions(batch)
        return batch.results

    async def _store(self, batch: _Batch) -> None:
        jobs: dict[type[Record], _Job] = {}
        for place, prepared in enumerate(batch.prepared):
            jobs.setdefault(prepared.model, _Job()).add(place, prepared.stored)
        # A session of today is not made for a retry of yesterday's undated record: that one belongs to yesterday's.
        sure = (prepared.stored.record for prepared in batch.prepared if prepared.session_is_sure)
        for session in self._implied(batch, sure):
            jobs.setdefault(UserSession, _Job()).add(None, session)
        await _all(self._run(model, job, batch) for model, job in jobs.items())
        late = _Job()
        for session in self._implied(batch, (result.stored.record for result in batch.results if isinstance(result, Written))):
            late.add(None, session)
        if late.records:
            await self._run(UserSession, late, batch)

    async def _run(self, model: type[Record], job: _Job, batch: _Batch) -> None:
        outcomes: list[Outcome | ServiceError]
        try:
            outcomes = [*await self._backend.create_many(model, job.records)]
        except ServiceError as error:
            outcomes = [error] * len(job.records)
        existing: dict[str, list[tuple[int, Outcome]]] = {}
        for place, record, outcome in zip(job.places, job.records, outcomes, strict=True):
            if place is None:
                self._note_session(batch, record.id, outcome)
            elif isinstance(outcome, Outcome) and outcome.existed:
                existing.setdefault(record.id, []).append((place, outcome))
            else:
                batch.results[place] = _settle(outcome, batch.prepared[place])
        await _all(self._resolve_each(places, batch) for places in existing.values())

    def _note_session(self, batch: _Batch, session_id: str, outcome: Outcome | ServiceError) -> None:
        error = outcome if isinstance(outcome, ServiceError) else outcome.error
        batch.sessions[session_id] = error
        if error is None:
            self._seen.add(session_id)

    async def _resolve_each(self, places: list[tuple[int, Outcome]], batch: _Batch) -> None:
        for place, outcome in places:
            try:
                batch.results[place] = await self._resolve(batch.prepared[place], outcome, batch.now)
            except ServiceError as error:
                batch.results[place] = error

    async def _resolve(self, prepared: Prepared, outcome: Outcome, now: str) -> Result:
        """What it means that the id exists: the record it belongs to may be one that no read returns any more."""
        for _ in range(_MAX_RESOLVE_ATTEMPTS):
            existing = outcome.stored if outcome.existed else None
            if existing is None:
                return _settle(outcome, prepared)
            try:
                if await self._is_past(prepared.model, existing, now):
                    await self._backend.delete(prepared.model, existing.id, existing.etag)
                elif existing.hidden.content_hash == IMPLICIT_HASH:
                    return await self._describe(prepared, existing)
                else:
                    return _settle(outcome, prepared)
            except (NotFoundError, PreconditionFailedError):
                pass  # another writer was there first
            outcome = await self._backend.create(prepared.model, prepared.stored)
        return _unsettled()

    async def _is_past(self, model: type[Record], stored: Stored, now: str) -> bool:
        cutoff = self._policy.cutoff(model, now) or ""
        if stored.timestamp >= cutoff or model is not UserSession:
            return stored.timestamp < cutoff
        [activity] = await last_activities(self._backend, [stored], self._policy.cutoffs(now))
        return activity < cutoff

    async def _describe(self, prepared: Prepared, existing: Stored) -> Written:
        """Fill in a session that only records have made with the content now posted."""
        record = {**existing.record, **prepared.content, "timestamp": existing.timestamp, "id": existing.id}
        record["updatedAt"] = max(prepared.stored.record["updatedAt"], existing.record["updatedAt"])
        described = prepared.stored._replace(record=arranged(prepared.model, record))
        stored = await self._backend.update(prepared.model, described, existing.etag)
        return Written(_as_sent(prepared, stored), stored, redactions=prepared.redactions)

    def _implied(self, batch: _Batch, records: Iterable[WireRecord]) -> list[Stored]:
        """The session documents that have yet to be made sure of."""
        cutoff = self._session_cutoff(batch)
        implied: dict[str, Stored] = {}
        for record in records:
            session_id = record.get("sessionId")
            if session_id is None or session_id in implied or session_id in batch.sessions or record["timestamp"] < cutoff:
                continue
            if session_id in self._seen:
                batch.sessions[session_id] = None
            else:
                implied[session_id] = implied_session(record, batch.now)
        return list(implied.values())

    def _answer_for_sessions(self, batch: _Batch) -> None:
        """A record whose session could not be stored is not acknowledged: sending it again makes good for both."""
        cutoff = self._session_cutoff(batch)
        for place, result in enumerate(batch.results):
            record = result.stored.record if isinstance(result, Written) else {}
            if "sessionId" not in record or record["timestamp"] < cutoff:
                continue
            error = batch.sessions.get(record["sessionId"], _unsettled())
            if error is not None:
                batch.results[place] = error

    def _session_cutoff(self, batch: _Batch) -> str:
        return self._policy.cutoff(UserSession, batch.now) or ""


def _settle(outcome: Outcome | ServiceError, prepared: Prepared) -> Result:
    """The result of a write: a record that has the id already is the same one or another."""
    if isinstance(outcome, ServiceError):
        return outcome
    if outcome.error is not None:
        return outcome.error
    stored = outcome.stored
    assert stored is not None, "an outcome without an error has a record"
    if not outcome.existed:
        return Written(stored.record, stored, redactions=prepared.redactions)
    if _is_other(stored, prepared):
        message = f"The id belongs to {prepared.model.__name__} with other content."
        return ConflictError(message, [Detail("id", "exists with other content")])
    return Written(_as_sent(prepared, stored), stored, duplicate=True, redactions=prepared.redactions)


def _is_other(stored: Stored, prepared: Prepared) -> bool:
    known, sent = stored.hidden, prepared.stored.hidden
    comparable = known.content_hash is not None and known.privacy_version == sent.privacy_version
    return comparable and known.content_hash != sent.content_hash


def _as_sent(prepared: Prepared, stored: Stored) -> WireRecord:
    """What the client sent and where it is stored; nothing of what others have made of the record."""
    place: WireRecord = {name: stored.record[name] for name in ("id", "timestamp", "createdAt", "updatedAt")}
    return arranged(prepared.model, {**prepared.content, **place})


def _unsettled() -> DeadlineError:
    return DeadlineError("There was no time left; the record may be stored or not. Send it again with the same id.")


async def _all(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run calls at the same time; when one fails, none goes on, and its error is raised as it is."""
    pending = list(calls)
    if len(pending) == 1:
        await pending[0]
    elif pending:
        try:
            async with asyncio.TaskGroup() as group:
                for call in pending:
                    group.create_task(call)
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__


async def _within(seconds: float, call: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(call)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if done:
        task.result()
    else:
        await asyncio.wait({task}, timeout=_CANCEL_GRACE_SECONDS)
