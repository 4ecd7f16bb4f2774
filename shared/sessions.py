"""Sessions: documents that records imply, and counters computed from a session's records whenever it is read."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared import jsontext
from shared.backends.base import Backend
from shared.models import LOG_MODELS, ApiRequestLog, ImageGenerationTransaction, Record
from shared.query import Aggregation, Group, Hidden, Query, Stored, WireRecord

IMPLICIT_HASH = "implicit"
"""The content hash of a session that only records have made: nobody has posted its content yet."""

DERIVED = (
    "startTime",
    "lastActivity",
    "totalRequests",
    "successfulGenerations",
    "failedGenerations",
    "totalImagesGenerated",
    "apiRequests",
)

Cutoffs = Mapping[type[Record], str | None]


class SeenSessions:
    """The sessions that this process knows to be stored: at most `limit`, each for `seconds` after it was last made sure."""

    def __init__(self, *, limit: int = 10_000, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, session_id: str) -> bool:
        return self._until.get(session_id, 0.0) > self._clock()

    def add(self, session_id: str) -> None:
        self._until[session_id] = self._clock() + self._seconds
        self._until.move_to_end(session_id)
        if len(self._until) > self._limit:
            self._until.popitem(last=False)

    def discard(self, session_id: str) -> None:
        self._until.pop(session_id, None)

    def clear(self) -> None:
        self._until.clear()


def implied_session(record: WireRecord, now: str) -> Stored:
    """The session document that a record with a sessionId implies: its visitor as stored and its timestamp."""
    session = {"id": record["sessionId"], "timestamp": record["timestamp"]}
    session |= {name: record[name] for name in ("userIP", "userAgent") if name in record}
    return Stored({**session, "metadata": {}, "createdAt": now, "updatedAt": now}, Hidden(IMPLICIT_HASH))


async def derive(backend: Backend, sessions: Sequence[Stored], cutoffs: Cutoffs) -> list[WireRecord]:
    """The derived fields of each session, in the order given, by one aggregate a record model.

    Records before their model's cutoff play no part. A session without records started and ended with its own timestamp.
    """
    if not sessions:
        return []
    ids = tuple(dict.fromkeys(session.id for session in sessions))
    groups = await asyncio.gather(*(_groups(backend, model, ids, cutoffs.get(model)) for model in LOG_MODELS))
    derived: dict[str, WireRecord] = {}
    for model, found in zip(LOG_MODELS, groups, strict=True):
        for group in found:
            _fold(model, group, derived.setdefault(str(group.key[0]), _nothing()))
    return [_settled(session, derived.get(session.id) or _nothing()) for session in sessions]


async def last_activities(backend: Backend, sessions: Sequence[Stored], cutoffs: Cutoffs) -> list[str]:
    """When each session was last alive: the later of its own timestamp and its last record's."""
    derived = await derive(backend, sessions, cutoffs)
    return [alive_until(session, fields) for session, fields in zip(sessions, derived, strict=True)]


def alive_until(session: Stored, derived: Mapping[str, Any]) -> str:
    """The moment that retention counts from; a session made after its records is not past on the day it was made."""
    return max(session.timestamp, str(derived["lastActivity"]))


async def has_records(backend: Backend, session_id: str, cutoffs: Cutoffs) -> bool:
    """Whether any record that can still be read belongs to the session."""
    found = await asyncio.gather(*(_has_any(backend, model, session_id, cutoffs.get(model)) for model in LOG_MODELS))
    return any(found)


async def _has_any(backend: Backend, model: type[Record], session_id: str, since: str | None) -> bool:
    """Asks for one record: an aggregate would look at all."""
    query = Query(model, {"sessionId": (session_id,)}, since=since, limit=1)
    page = await backend.find(query)
    while not page.items and page.next is not None:
        page = await backend.find(replace(query, after=page.next))
    return bool(page.items)


def derived_hash(derived: Mapping[str, Any]) -> str:
    """A short hash that changes whenever a derived field does."""
    return hashlib.sha256(jsontext.canonical(dict(derived))).hexdigest()[:16]


async def _groups(backend: Backend, model: type[Record], ids: tuple[str, ...], since: str | None) -> list[Group]:
    group_by = ("sessionId", "status") if model is ImageGenerationTransaction else ("sessionId",)
    return await backend.aggregate(Aggregation(model, {"sessionId": ids}, since=since, group_by=group_by))


def _nothing() -> WireRecord:
    return {"startTime": None, "lastActivity": None} | dict.fromkeys(DERIVED[2:], 0)


def _fold(model: type[Record], group: Group, into: WireRecord) -> None:
    into["startTime"] = min(into["startTime"] or group.least, group.least)
    into["lastActivity"] = max(into["lastActivity"] or group.greatest, group.greatest)
    if model is ApiRequestLog:
        into["apiRequests"] += group.count
    elif model is ImageGenerationTransaction:
        into["totalRequests"] += group.count
        if group.key[1] == "completed":
            into["successfulGenerations"] += group.count
            into["totalImagesGenerated"] += group.count
        elif group.key[1] == "failed":
            into["failedGenerations"] += group.count


def _settled(session: Stored, derived: WireRecord) -> WireRecord:
    if derived["startTime"] is None:
        derived |= {"startTime": session.timestamp, "lastActivity": session.timestamp}
    return derived
