"""Turns what a client sent into what is stored: validation, privacy, ids, defaults, hidden fields. No I/O.

A record passes through here once, when it is created; changes to it go through `patching`.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from shared import jsontext
from shared.errors import Detail, InvalidError, TooLargeError
from shared.histograms import buckets_of
from shared.ids import RandomBytes, derive_session_id, is_valid_id, mint_id, time_of_id
from shared.models import (
    MAX_RECORD_BYTES,
    ApiRequestLog,
    ImageGenerationTransaction,
    Record,
    UserSession,
)
from shared.privacy import Privacy, holds_secret, whole_address
from shared.query import Hidden, Stored, WireRecord
from shared.retention import RetentionPolicy
from shared.timestamps import day_of, format_timestamp, shift
from shared.validation import invalid_record, read_members, validate_record

_LAST_MEMBERS = ("metadata", "createdAt", "updatedAt")
_STATUS_OF_SUCCESS = {True: "completed", False: "failed", None: "pending"}
_SUCCESS_OF_STATUS = {"completed": True, "failed": False}


class Prepared(NamedTuple):
    """A record ready to be stored.

    `content` is what the client sent, after privacy. `session_is_sure` is False where the session was derived from today's
    date though the id may have been stored on another day.
    """

    model: type[Record]
    stored: Stored
    content: WireRecord
    redactions: int
    session_is_sure: bool


class Intake:
    """Prepares records for storing under one salt, privacy configuration and retention policy."""

    def __init__(
        self,
        privacy: Privacy,
        salt: bytes,
        policy: RetentionPolicy,
        clock: Callable[[], datetime],
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self.privacy = privacy
        self._salt = salt
        self._policy = policy
        self._clock = clock
        self._random_bytes = random_bytes

    def prepare(self, model: type[Record], raw: Any, key: str | None = None) -> Prepared:
        """The record that a client's JSON makes. `key` is the id of one that brings none.

        Raises InvalidError naming every bad field, and TooLargeError past 256 KB.
        """
        if not isinstance(raw, Mapping):
            raise InvalidError(f"{model.__name__} must be a JSON object.", [Detail("", "must be a JSON object")])
        check_size(model, raw)
        now = format_timestamp(self._clock())
        sent, details = read_members(model, raw)
        source, record_id = _source_of_id(raw, sent, key)
        times = _times(raw, sent, source, record_id)
        details += contradictions(model, sent)
        details += _id_problems(source, record_id, sent)
        details += future_problems({**times, "endTime": sent.get("endTime")}, now)
        self._refuse(model, details, times, now)
        timestamp = next(iter(times.values()), None)
        cleaned = self.privacy.clean(sent)
        if cleaned.redactions:
            validate_record(model, cleaned.record)
        content = cleaned.record
        record = with_defaults(model, content)
        record["timestamp"] = timestamp or now
        self._add_session(model, record, sent)
        record["id"] = record_id or mint_id(record["timestamp"], record.get("sessionId"), self._random_bytes)
        record["createdAt"] = record["updatedAt"] = now
        record = arranged(model, record)
        check_size(model, record)
        hidden = Hidden(content_hash(content), self.privacy.version, buckets_of(model, record))
        session_is_sure = timestamp is not None or record_id is None or "sessionId" in content
        return Prepared(model, Stored(record, hidden), content, cleaned.redactions, session_is_sure)

    def _refuse(self, model: type[Record], details: list[Detail], times: Mapping[str, str], now: str) -> None:
        cutoff = self._policy.cutoff(model, now) or ""
        message = f"is past the retention of {model.__name__}, which starts at {cutoff}"
        past = [Detail(source, message) for source, timestamp in times.items() if timestamp < cutoff]
        if past and not details:
            raise InvalidError("The record is already past its retention.", past, code="past_retention")
        if details:
            raise invalid_record(model, [*details, *past])

    def _add_session(self, model: type[Record], record: WireRecord, sent: WireRecord) -> None:
        if model is UserSession or "sessionId" in record or "userIP" not in model.wire_names:
            return
        address, agent = whole_address(sent.get("userIP") or "") or "", sent.get("userAgent") or ""
        if address or agent:
            record["sessionId"] = derive_session_id(self._salt, address, agent, day_of(record["timestamp"]))


def _source_of_id(raw: Mapping[str, Any], sent: WireRecord, key: str | None) -> tuple[str, str | None]:
    """Where the id comes from, and the id if there is a good one."""
    if raw.get("id") is None and key is not None:
        return "Idempotency-Key", key
    return "id", sent.get("id")


def _times(raw: Mapping[str, Any], sent: WireRecord, source: str, record_id: str | None) -> dict[str, str]:
    """The record's own time by the field that it comes from; none where the server's clock gives it."""
    if raw.get("timestamp") is not None:
        return {"timestamp": sent["timestamp"]} if "timestamp" in sent else {}
    carried = None if record_id is None else time_of_id(record_id)
    return {} if carried is None else {source: carried}


def _id_problems(source: str, record_id: str | None, sent: WireRecord) -> list[Detail]:
    details = []
    if record_id is not None and not is_valid_id(record_id):
        details.append(Detail(source, "must be 1 to 128 of A-Za-z0-9._:-, the first a letter or digit"))
    for name, value in ((source, record_id), ("sessionId", sent.get("sessionId"))):
        if value is not None and holds_secret(value):
            details.append(Detail(name, "looks like a secret, which is never stored"))
    return details


def contradictions(model: type[Record], members: WireRecord) -> list[Detail]:
    """What is wrong where a transaction's status and success say different things."""
    if model is not ImageGenerationTransaction or "status" not in members or "success" not in members:
        return []
    if _SUCCESS_OF_STATUS.get(members["status"]) is members["success"]:
        return []
    return [Detail("status", "contradicts success"), Detail("success", "contradicts status")]


def future_problems(times: Mapping[str, str | None], now: str) -> list[Detail]:
    """Names each time that is more than 24 h ahead of `now`."""
    ahead = {name: time for name, time in times.items() if time is not None and time > now}
    latest = shift(now, hours=24) if ahead else now
    return [Detail(name, "is more than 24 h ahead") for name, time in ahead.items() if time > latest]


def with_defaults(model: type[Record], members: WireRecord) -> WireRecord:
    """A copy of the members with what follows from them filled in."""
    record = {**model.defaults(), **members}
    if model is ImageGenerationTransaction:
        record.setdefault("status", _STATUS_OF_SUCCESS[record.get("success")])
        if record["status"] != "pending":
            record.setdefault("success", _SUCCESS_OF_STATUS[record["status"]])
    elif model is ApiRequestLog:
        record.setdefault("errorOccurred", default_error(record["statusCode"]))
    return record


def default_error(status_code: int) -> bool:
    """Whether a request with this status counts as failed unless its log says otherwise."""
    return status_code >= 500


def content_hash(content: WireRecord) -> str:
    """SHA-256 (hex) of what a client sent, after privacy, whatever the order of its members and whatever its id."""
    return hashlib.sha256(jsontext.canonical({name: value for name, value in content.items() if name != "id"})).hexdigest()


_orders: dict[type[Record], tuple[str, ...]] = {}


def arranged(model: type[Record], members: WireRecord) -> WireRecord:
    """The members in the order that every stored record of the model has."""
    order = _orders.get(model)
    if order is None:
        order = _orders[model] = (*(name for name in model.fields if name not in _LAST_MEMBERS), *_LAST_MEMBERS)
    return {name: members[name] for name in order if name in members}


def check_size(model: type[Record], record: Mapping[str, Any], most: int = MAX_RECORD_BYTES) -> None:
    """Raise TooLargeError for a record of more than 256 KB as compact JSON."""
    size = jsontext.size_of(record)
    if size > most:
        message = f"is {size} bytes as JSON; {MAX_RECORD_BYTES} is the most"
        raise TooLargeError(f"The {model.singular} is too large.", [Detail("", message)])
