"""Records as entities, and the two other kinds of entity: claims on ids and fences.

    record: {PartitionKey, RowKey, <filterable fields>, <durations as doubles>, Bucket_<duration>, updatedAt,
             Hash, Privacy, Write, Fences, Record0, Record1...}
    claim:  {PartitionKey, RowKey, Place: <timestamp of the record>, Write, Contended, Fences: <JSON list of timestamps>}
    fence:  {PartitionKey, RowKey, Write}

`Record0` and those after it are the record's JSON text, at most 32,000 UTF-16 units each (a property holds 64 KB), so that
exactly what was stored comes back. `Write` is different at every write: after a lost answer it tells our own. A fence keeps
out a create that lost its claim; neither it nor a claim is ever listed. A record that took over the claim on its id names the
fences in the claim's place, and so does its etag, so that an update, which replaces the entity, keeps them.

Limits: https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from shared import jsontext
from shared.backends.tables.keys import Place, key_of, record_place
from shared.errors import TooLargeError
from shared.models import ALL_MODELS, Record
from shared.query import Hidden, Stored

MAX_UNITS = 32_000
MARK = "updatedAt"
"""A property that every record has, and no claim or fence."""
_PARTS = tuple(f"Record{number}" for number in range(64))
_BUCKET = "Bucket_"
_OWN = ("PartitionKey", "RowKey", "Timestamp", "Hash", "Privacy", "Write", "Contended", "Fences", "Place", *_PARTS)
assert not any(name in _OWN or name.startswith(_BUCKET) for model in ALL_MODELS for name in model.wire_names), "name taken"
_UNSTORABLE = str.maketrans({"\ufffe": "\t0", "\uffff": "\t1"})
"""Not characters of XML 1.0, which the service's string properties are held to. JSON text never holds a tab as it is, and
JSON's own escapes take 12 bytes where the largest record has 3."""
_ESCAPES = str.maketrans({"\\": "\\\\", **{code: f"\\u{code:04x}" for code in (*range(0x20), 0xFFFE, 0xFFFF)}})
_ESCAPED = re.compile(r"\\(?:u([0-9a-f]{4})|\\)")

_VERSION = re.compile(r'(W/"[\x21\x23-\x7e]{1,128}")(?: (\[.*\]))?')

Entity = dict[str, Any]
T = TypeVar("T")


def new_write() -> str:
    """A name for one write."""
    return secrets.token_hex(8)


def bucket_property(duration: str) -> str:
    return f"{_BUCKET}{duration}"


def write_value(value: T) -> T:
    """What a filterable field is stored and compared as: texts without characters that the service refuses."""
    return value.translate(_ESCAPES) if isinstance(value, str) else value  # type: ignore[return-value]


def read_value(value: T) -> T:
    """The value that `write_value` made this of."""
    if isinstance(value, str) and "\\" in value:
        return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else "\\", value)  # type: ignore[return-value]
    return value


def write_record(model: type[Record], stored: Stored, write: str) -> Entity:
    """The entity of a record. Raises InvalidError and TooLargeError."""
    record, hidden = stored.record, stored.hidden
    place = record_place(stored.key)
    entity: Entity = {"PartitionKey": place.partition, "RowKey": place.row, MARK: str(record[MARK]), "Write": write}
    for name in model.filterable:
        if record.get(name) is not None:
            entity[name] = write_value(record[name])
    for name in model.durations:
        if record.get(name) is not None:
            entity[name] = float(record[name])
    entity |= {bucket_property(name): number for name, number in hidden.buckets.items()}
    if hidden.content_hash is not None:
        entity["Hash"] = hidden.content_hash
    if hidden.privacy_version is not None:
        entity["Privacy"] = hidden.privacy_version
    parts = split(jsontext.dumps(record).translate(_UNSTORABLE))
    if len(parts) > len(_PARTS):
        raise TooLargeError("The record is too large for the database.")
    entity |= zip(_PARTS, parts, strict=False)
    return entity


def split(text: str) -> list[str]:
    """The text in parts of at most MAX_UNITS UTF-16 units, no surrogate pair cut in two."""
    if len(text) <= MAX_UNITS // 2 or (len(text) <= MAX_UNITS and text.isascii()):
        return [text]
    units = text.encode("utf-16-le")
    parts: list[str] = []
    start = 0
    while start < len(units):
        end = min(start + 2 * MAX_UNITS, len(units))
        if end < len(units) and 0xD8 <= units[end - 1] <= 0xDB:
            end -= 2
        parts.append(units[start:end].decode("utf-16-le"))
        start = end
    return parts


def text_of(entity: Mapping[str, Any]) -> str:
    """The JSON text of a record's entity; empty where there is none."""
    first = entity.get("Record0")
    if first is None:
        return ""
    if entity.get("Record1") is None:
        text = str(first)
    else:
        text = "".join(str(part) for part in map(entity.get, _PARTS) if part is not None)
    return text.replace("\t0", "\ufffe").replace("\t1", "\uffff") if "\t" in text else text


def read_record(entity: Mapping[str, Any]) -> Stored | None:
    """The record of an entity; None for a claim, a fence, and what is not ours."""
    try:
        record = json.loads(text_of(entity))
        key = key_of(entity["RowKey"])
        buckets = {
            name.removeprefix(_BUCKET): int(number)
            for name, number in entity.items()
            if name.startswith(_BUCKET) and number is not None
        }
    except (ValueError, TypeError):
        return None
    if not isinstance(record, dict) or (record.get("timestamp"), record.get("id")) != key:
        return None
    hidden = Hidden(entity.get("Hash"), entity.get("Privacy"), buckets)
    return Stored(record, hidden, version(etag_of(entity), fences_of(entity)))


def etag_of(entity: Mapping[str, Any]) -> str:
    """The service's own etag of an entity."""
    return str(getattr(entity, "metadata", {}).get("etag") or "")


def written_at(entity: Mapping[str, Any]) -> datetime | None:
    """When the service last wrote an entity; None where that was not asked for."""
    written: datetime | None = getattr(entity, "metadata", {}).get("timestamp")
    return written


def fences_of(entity: Mapping[str, Any]) -> tuple[str, ...]:
    """The timestamps at which creates of an id were kept out, as its claim or its record names them."""
    return tuple(json.loads(entity.get("Fences") or "[]"))


def with_fences(entity: Entity, fences: Sequence[str]) -> Entity:
    return {**entity, "Fences": json.dumps(fences)} if fences else entity


def version(etag: str, fences: Sequence[str]) -> str:
    """A record's etag as the port knows it."""
    return f"{etag} {json.dumps(fences)}" if fences else etag


class Version(NamedTuple):
    """The parts of a record's etag as the port knows it."""

    etag: str
    fences: tuple[str, ...]


def read_version(text: str) -> Version | None:
    """None for what is no record's etag."""
    found = _VERSION.fullmatch(text)
    return None if found is None else Version(found[1], tuple(json.loads(found[2] or "[]")))


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on an id: the record is the one of that timestamp, if there is one.

    `contended` once a create took it over from another that may still be on its way: while that may be it is left where it is,
    so that whatever arrives late is found. `fences` are the timestamps at which others were kept out, `written` is when the
    service last wrote the claim.
    """

    timestamp: str
    contended: bool = False
    fences: tuple[str, ...] = ()
    etag: str = ""
    written: datetime | None = None


def write_claim(place: Place, claim: Claim, write: str) -> Entity:
    entity: Entity = {"PartitionKey": place.partition, "RowKey": place.row, "Place": claim.timestamp, "Write": write}
    if claim.contended:
        entity["Contended"] = True
    return with_fences(entity, claim.fences)


def read_claim(entity: Mapping[str, Any]) -> Claim | None:
    """The claim of an entity; None for another."""
    timestamp = entity.get("Place")
    if timestamp is None:
        return None
    return Claim(str(timestamp), bool(entity.get("Contended")), fences_of(entity), etag_of(entity), written_at(entity))


def write_fence(place: Place, write: str) -> Entity:
    return {"PartitionKey": place.partition, "RowKey": place.row, "Write": write}
