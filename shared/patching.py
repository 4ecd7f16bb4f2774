"""Changes to a stored record by JSON merge patch (RFC 7396). Pure: reading, writing and retrying are the service's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared import jsontext
from shared.errors import Detail, InvalidError
from shared.histograms import buckets_of
from shared.intake import arranged, check_contradiction, check_future, check_size, default_error, with_defaults
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record
from shared.privacy import Privacy
from shared.query import Stored, WireRecord
from shared.timestamps import parse_timestamp
from shared.validation import invalid_record, unknown_field, validate_record

_PLACE = ("id", "timestamp", "createdAt", "updatedAt")


@dataclass(frozen=True, slots=True)
class Change:
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
    current = stored.record
    _check_names(model, patch)
    cleaned = privacy.clean(patch)
    _check_fixed(model, patch, cleaned.record, {**current, **(derived or {})})
    fixed = model.immutable | model.server_set
    free = {name: value for name, value in cleaned.record.items() if name not in fixed}
    record = _validated(model, current, free, now)
    changed = {name for name in {*record, *current} if not _same(record.get(name), current.get(name))}
    if changed:
        record["updatedAt"] = max(now, current["updatedAt"])
        check_size(model, record)
        stored = replace(stored, record=record, hidden=replace(stored.hidden, buckets=buckets_of(model, record)))
    return Change(stored, bool(changed), cleaned.redactions, _answer(stored.record, patch, changed))


def _check_names(model: type[Record], patch: dict[str, Any]) -> None:
    details: list[Detail] = []
    for name, value in patch.items():
        if name in model.wire_names:
            details += jsontext.problems(value, name, 1)
        else:
            details.append(unknown_field(model, name))
    if details:
        raise invalid_record(model, details)


def _check_fixed(model: type[Record], patch: WireRecord, cleaned: WireRecord, current: WireRecord) -> None:
    """Fields that never change may be sent as they are, so that a record can be sent back as it was read."""
    details = []
    for name in patch:
        if name in model.server_set and not _same(patch[name], current.get(name)):
            details.append(Detail(name, "is set by the server"))
        elif name in model.immutable and not _unchanged(name, patch[name], cleaned.get(name), current.get(name)):
            details.append(Detail(name, "never changes after creation"))
    if details:
        raise invalid_record(model, details)


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


def _validated(model: type[Record], current: WireRecord, patch: WireRecord, now: str) -> WireRecord:
    kept = {name: value for name, value in current.items() if name not in model.server_set}
    _drop_what_follows(model, kept, patch)
    members = validate_record(model, merge(kept, patch)).model_dump(by_alias=True, exclude_unset=True)
    check_contradiction(model, members)
    check_future(model, {"endTime": members.get("endTime") if "endTime" in patch else None}, now)
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
