"""Reads records: single ones and pages, without what is past its retention, and sessions with their counters."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from shared import jsontext
from shared.backends.base import Backend
from shared.errors import NotFoundError
from shared.etags import entity_tag
from shared.ids import is_valid_id
from shared.intake import arranged
from shared.models import Record, UserSession
from shared.query import ListRequest, Query, Stored, WireRecord
from shared.retention import RetentionPolicy
from shared.sessions import alive_until, derive
from shared.timestamps import format_timestamp

_MAX_ROUNDS = 10
"""How many pages one list of sessions reads at most, where many of them are past their retention."""


class Found(NamedTuple):
    """A record as a reader may see it. `derived` are a session's derived fields, which `record` holds too."""

    record: WireRecord
    stored: Stored
    derived: Mapping[str, Any] | None = None

    @property
    def etag(self) -> str:
        """The quoted entity tag."""
        return entity_tag(self.stored, self.derived)


class Listing(NamedTuple):
    """A page of records in wire form, and the cursor of the next page where there is one."""

    records: list[WireRecord]
    next_cursor: str | None


class Reader:
    """Reads on behalf of clients: nothing that is past its retention comes out of it."""

    def __init__(self, backend: Backend, policy: RetentionPolicy, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._policy = policy
        self._clock = clock

    async def get(self, model: type[Record], record_id: str) -> Found:
        """The record of an id. Raises NotFoundError."""
        stored = await self._backend.find_by_id(model, record_id) if is_valid_id(record_id) else None
        now = format_timestamp(self._clock())
        cutoff = self._policy.cutoff(model, now) or ""
        if stored is not None and model is UserSession:
            [derived] = await derive(self._backend, [stored], self._policy.cutoffs(now))
            if alive_until(stored, derived) >= cutoff:
                return Found(arranged(model, {**stored.record, **derived}), stored, derived)
        elif stored is not None and stored.timestamp >= cutoff:
            return Found(stored.record, stored)
        raise NotFoundError(f"There is no {model.singular} with this id.")

    async def page(self, request: ListRequest) -> Listing:
        """The page of a list."""
        now = format_timestamp(self._clock())
        if request.query.model is UserSession:
            return await self._session_page(request, now)
        query = self._within_retention(request.query, now)
        if query.until is not None and query.since is not None and query.since >= query.until:
            return Listing([], None)
        page = await self._backend.find(query)
        cursor = None if page.next is None else request.cursor_after(page.next)
        return Listing([_shown(stored.record, request.fields) for stored in page.items], cursor)

    def _within_retention(self, query: Query, now: str) -> Query:
        cutoff = self._policy.cutoff(query.model, now)
        return query if cutoff is None else replace(query, since=max(query.since or "", cutoff))

    async def _session_page(self, request: ListRequest, now: str) -> Listing:
        """Reads on until the page is full: which sessions are past their retention shows only in their records."""
        query = request.query
        cutoff = self._policy.cutoff(UserSession, now)
        kept: list[WireRecord] = []
        for _ in range(1 if cutoff is None else _MAX_ROUNDS):
            page = await self._backend.find(query)
            kept += await self._living(page.items, cutoff or "", now)
            if page.next is None:
                return Listing([_shown(record, request.fields) for record in kept], None)
            query = replace(query, after=page.next, limit=request.query.limit - len(kept))
            if query.limit == 0 or _bytes_of(kept) > query.max_bytes // 2:
                break
        assert query.after is not None, "a page that has more tells where"
        return Listing([_shown(record, request.fields) for record in kept], request.cursor_after(query.after))

    async def _living(self, sessions: list[Stored], cutoff: str, now: str) -> list[WireRecord]:
        derived = await derive(self._backend, sessions, self._policy.cutoffs(now))
        return [
            arranged(UserSession, {**stored.record, **fields})
            for stored, fields in zip(sessions, derived, strict=True)
            if alive_until(stored, fields) >= cutoff
        ]


def _bytes_of(records: list[WireRecord]) -> int:
    return sum(len(jsontext.encode(record)) for record in records)


def _shown(record: WireRecord, fields: tuple[str, ...] | None) -> WireRecord:
    return record if fields is None else {name: value for name, value in record.items() if name in fields}
