"""Lines of a segment: a record as JSON with the reserved `_` object, or a tombstone. No files here.

A record's line: `{"id": ..., "timestamp": ..., ..., "_": {"version": 1, "hash": ..., "privacy": ..., "buckets": {...}}}`.
A tombstone: `{"id": ..., "_": {"version": 2}}`. A line without `_` was added by hand and is version 0.
"""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import ValidationError, from_json

from shared import jsontext
from shared.histograms import buckets_of
from shared.ids import is_valid_id
from shared.models import Record
from shared.query import Hidden, Stored, WireRecord
from shared.timestamps import is_canonical, to_ms

RESERVED = "_"
MAX_VERSION = 2**53
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableLineError(ValueError):
    """A line is neither a record of its model nor a tombstone; the message says why, without its content."""


class Line(NamedTuple):
    """What a line says: version `version` of the record `id` is this record, or, where `record` is None, deleted."""

    id: str
    version: int
    record: WireRecord | None
    hidden: Hidden


def encode_record(stored: Stored, version: int) -> bytes:
    """The line of a record, newline included."""
    hidden = stored.hidden
    reserved: dict[str, Any] = {"version": version}
    if hidden.content_hash is not None:
        reserved["hash"] = hidden.content_hash
    if hidden.privacy_version is not None:
        reserved["privacy"] = hidden.privacy_version
    if hidden.buckets:
        reserved["buckets"] = dict(hidden.buckets)
    return jsontext.encode({**stored.record, RESERVED: reserved}) + b"\n"


def encode_tombstone(record_id: str, version: int) -> bytes:
    """The line that says a record is deleted, newline included."""
    return jsontext.encode({"id": record_id, RESERVED: {"version": version}}) + b"\n"


def checksum(line: bytes) -> int:
    """32 bits that change when the line does."""
    return zlib.crc32(line)


def etag(version: int, line_checksum: int) -> str:
    """The etag of a line: unlike that of any other line of the same id."""
    return f"{version}-{line_checksum:08x}"


def updated_ms(record: WireRecord) -> int | None:
    """When a record was last updated (ms), None where it does not say."""
    updated = record.get("updatedAt")
    return to_ms(updated) if isinstance(updated, str) and is_canonical(updated) else None


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing: white space only."""
    return not line.strip()


def decode_id(line: bytes) -> str:
    """The id that a line is of, whatever else it says. Raises UnreadableLineError."""
    return _content(line)[1]


def _content(line: bytes) -> tuple[WireRecord, str]:
    try:
        content = from_json(line.removeprefix(_BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError:
        raise UnreadableLineError("is not JSON") from None
    if not isinstance(content, dict):
        raise UnreadableLineError("is not a JSON object")
    record_id = content.get("id")
    if not isinstance(record_id, str) or not is_valid_id(record_id):
        raise UnreadableLineError("has no id that is allowed")
    return content, record_id


def decode(model: type[Record], line: bytes) -> Line:
    """Read a line. Raises UnreadableLineError."""
    content, record_id = _content(line)
    reserved = content.pop(RESERVED, None)
    if not isinstance(reserved, dict) or type(reserved.get("version")) is not int:
        return Line(record_id, 0, *_by_hand(model, content))
    version = reserved["version"]
    if not 0 <= version <= MAX_VERSION:
        raise UnreadableLineError("has a version out of range")
    if len(content) == 1:
        return Line(record_id, version, None, Hidden())
    timestamp = content.get("timestamp")
    if not isinstance(timestamp, str) or not is_canonical(timestamp):
        raise UnreadableLineError("has no timestamp in canonical form")
    return Line(record_id, version, *complete(content, reserved))


def complete(record: WireRecord, reserved: Mapping[str, Any]) -> tuple[WireRecord, Hidden]:
    """A record as it is served, and what is hidden beside it; members that someone cut from the line are made up for."""
    record.setdefault("metadata", {})
    record.setdefault("createdAt", record["timestamp"])
    record.setdefault("updatedAt", record["createdAt"])
    buckets = reserved.get("buckets")
    return record, Hidden(reserved.get("hash"), reserved.get("privacy"), buckets if isinstance(buckets, dict) else {})


def _by_hand(model: type[Record], content: WireRecord) -> tuple[WireRecord, Hidden]:
    problem = next(jsontext.problems(content), None)
    if problem is not None:
        raise UnreadableLineError(f"has a bad value in {problem.field}")
    try:
        members = {**model.defaults(), **model.check(content)}
    except ValidationError as error:
        fields = sorted({str(item["loc"][0]) if item["loc"] else "the record" for item in error.errors()})
        raise UnreadableLineError(f"is no valid {model.__name__}: {', '.join(fields)}") from None
    record = {name: members[name] for name in model.fields if members.get(name) is not None}
    if "timestamp" not in record:
        raise UnreadableLineError("has no timestamp")
    return complete(record, {"buckets": buckets_of(model, record)})
