"""Changes to a stored record by JSON merge patch (RFC 7396). Pure: reading, writing and retrying are the service's."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from shared import jsontext
from shared.errors import Detail, InvalidError
from shared.histograms import buckets_of
from shared.intake import arranged, check_size, contradictions, default_error, future_problems, with_defaults
from shared.models import MAX_RECORD_BYTES, ApiRequestLog, ImageGenerationTransaction, Record
from shared.privacy import Privacy
from shared.query import Stored, WireRecord
from shared.timestamps import parse_timestamp
from shared.validation import MAX_DETAILS, invalid_record, read_members, unknown_field

_PLACE = ("id", "timestamp", "createdAt", "updatedAt")
_DERIVED_BYTES = 4_096
"""What a session's derived fields may add to the largest record that is sent back as it was read."""


class Change(NamedTuple):
    """What a patch makes of a record. `changed` is False where it is what was stored before."""

    stored: Stored
    changed: bool
    redactions: int
    answer: WireRecord


def merge(target: Any, patch: Any) -> Any:
    """The value that a merge patch makes of another; neither is changed. `patch` must not nest without bound."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def apply_patch(
    model: type[Record], stored: Stored, patch: Any, privacy: Privacy, now: str, derived: Mapping[str, Any] | None = None
) -> Change:
    """What the patch makes of a stored record. `derived` are a session's derived fields, which it may repeat.

    Raises InvalidError naming every bad field, and TooLargeError past 256 KB.
    """
    if not isinstance(patch, dict):
        raise InvalidError("A merge patch must be a JSON object.", [Detail("", "must be a JSON object")])
    check_size(model, patch, MAX_RECORD_BYTES + _DERIVED_BYTES)
    current = stored.record
    good, details = _good_names(model, patch)
    cleaned = privacy.clean(good)
    details += _fixed_problems(model, good, cleaned.record, {**current, **(derived or {})})
    fixed = model.immutable | model.server_set
    free = {name: value for name, value in cleaned.record.items() if name not in fixed}
    merged, redactions = _merged(model, current, free, privacy)
    record = _validated(model, current, merged, free, details, now)
    changed = {name for name in {*record, *current} if not _same(record.get(name), current.get(name))}
    if changed:
        record["updatedAt"] = max(now, current["updatedAt"])
        check_size(model, record)
        stored = stored._replace(record=record, hidden=stored.hidden._replace(buckets=buckets_of(model, record)))
    return Change(stored, bool(changed), cleaned.redactions + redactions, _answer(stored.record, patch, changed))


def _good_names(model: type[Record], patch: dict[str, Any]) -> tuple[dict[str, Any], list[Detail]]:
    details: list[Detail] = []
    good: dict[str, Any] = {}
    for name, value in patch.items():
        known = name in model.wire_names
        found = [*islice(jsontext.problems(value, name, 1), MAX_DETAILS + 1)] if known else [unknown_field(model, name)]
        if not found:
            good[name] = value
        elif len(details) <= MAX_DETAILS:
            details += found
    return good, details


def _fixed_problems(model: type[Record], patch: WireRecord, cleaned: WireRecord, current: WireRecord) -> list[Detail]:
    """Fields that never change may be sent as they are, so that a record can be sent back as it was read."""
    details = []
    for name in patch:
        if name in model.server_set and not _same(patch[name], current.get(name)):
            details.append(Detail(name, "is set by the server"))
        elif name in model.immutable and not _unchanged(name, patch[name], cleaned.get(name), current.get(name)):
            details.append(Detail(name, "never changes after creation"))
    return details


def _unchanged(name: str, sent: Any, cleaned: Any, current: Any) -> bool:
    if name == "timestamp" and isinstance(sent, str):
        try:
            sent = parse_timestamp(sent)
        except ValueError:
            return False
    return _same(sent, current) or (name == "userIP" and cleaned is not None and _same(cleaned, current))


def _same(one: Any, other: Any) -> bool:
    # Python holds 1, 1.0 and True equal; JSON does not.
    return one is other or jsontext.canonical(one) == jsontext.canonical(other)


def _merged(model: type[Record], current: WireRecord, patch: WireRecord, privacy: Privacy) -> tuple[WireRecord, int]:
    """The record with the patch in it, and how many secrets only the two together made (`name` here, `value` there)."""
    kept = {name: value for name, value in current.items() if name not in model.server_set}
    _drop_what_follows(model, kept, patch)
    merged: WireRecord = merge(kept, patch)
    cleaned = privacy.clean({name: merged.pop(name) for name in patch if name in merged})
    return {**merged, **cleaned.record}, cleaned.redactions


def _validated(
    model: type[Record], current: WireRecord, merged: WireRecord, patch: WireRecord, details: list[Detail], now: str
) -> WireRecord:
    members, found = read_members(model, merged)
    details += found
    details += contradictions(model, members)
    details += future_problems({"endTime": members.get("endTime") if "endTime" in patch else None}, now)
    if details:
        raise invalid_record(model, details)
    server_set = {name: value for name, value in current.items() if name in model.server_set}
    return arranged(model, {**with_defaults(model, members), **server_set})


def _drop_what_follows(model: type[Record], kept: WireRecord, patch: WireRecord) -> None:
    """Forget what was derived from a field that the patch names, so that it is derived anew."""
    if model is ImageGenerationTransaction and ("status" in patch) != ("success" in patch):
        kept.pop("success" if "status" in patch else "status", None)
    elif model is ApiRequestLog and "statusCode" in patch and kept.get("errorOccurred") is default_error(kept["statusCode"]):
        kept.pop("errorOccurred")


def _answer(record: WireRecord, patch: WireRecord, changed: set[str]) -> WireRecord:
    """What a writer may see: its own fields and what changed by them, nothing that it could not have known."""
    shown = {name: record[name] for name in record if name in _PLACE or name in changed}
    named = {name: _projected(record[name], patch[name]) for name in record if name in patch and name not in _PLACE}
    return {name: {**shown, **named}[name] for name in record if name in shown or name in named}


def _projected(value: Any, patch: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(patch, dict):
        return value
    return {name: _projected(value[name], patch[name]) for name in patch if name in value}
