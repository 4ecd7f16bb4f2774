"""Records as items: where an item lives, what it holds and how a record is read back from it.

An item holds the fields that queries need as JSON members of their own, and the whole record as JSON text. The service
keeps numbers as doubles and may write 1.0 as 1 or 1e15 as a float, so only text gives back exactly what was stored,
types included, at the cost of a few hundred bytes for the fields that stand twice.

    {"id", "pk", "timestamp", "updatedAt", <filterable fields>, <durations in ms>, "ttl" (seconds),
     "logogen": {"record": "<JSON text>", "hash", "privacy", "buckets": {<duration>: <bucket number>}}}

`pk`, `ttl` and `logogen` are no field of any model; an item without `logogen` is someone else's.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from shared import jsontext
from shared.ids import DayPlace, place_of_id
from shared.models import ALL_MODELS, Record, UserSession
from shared.query import Hidden, Stored
from shared.timestamps import to_ms

OWN = "logogen"
RESERVED = ("pk", "ttl", OWN)
assert not any(name in model.wire_names for model in ALL_MODELS for name in RESERVED), "a field has a reserved name"

_DAY_SECONDS = 86_400
_MAX_TTL = 2**31 - 1

Item = dict[str, Any]


def partition_key(record_id: str, buckets: int) -> str:
    """The logical partition of an id: its day and bucket, or its hash."""
    place = place_of_id(record_id)
    if isinstance(place, DayPlace):
        return day_key(place.day, place.bucket % buckets)
    return f"h#{place.bucket:03x}"


def day_key(day: str, bucket: int) -> str:
    """The logical partition of a UTC day (`2024-01-01`) and a bucket."""
    return f"{day}#{bucket}"


def queried_fields(model: type[Record]) -> tuple[str, ...]:
    """The fields that stand in an item beside the record's text."""
    return ("timestamp", "updatedAt", *model.filterable, *model.durations)


class ItemFormat:
    """Writes items and reads them. `retention_days` by model name (0: no expiry)."""

    def __init__(self, buckets: int, retention_days: Mapping[str, int]) -> None:
        self.buckets = buckets
        self._days = retention_days

    def place(self, record_id: str) -> str:
        return partition_key(record_id, self.buckets)

    def write(self, model: type[Record], stored: Stored, now: float) -> Item:
        """The item of a record, at `now` seconds since 1970."""
        record, hidden = stored.record, stored.hidden
        item: Item = {"id": stored.id, "pk": self.place(stored.id)}
        item |= {name: record[name] for name in queried_fields(model) if record.get(name) is not None}
        ttl = self._ttl(model, stored.timestamp, now)
        if ttl is not None:
            item["ttl"] = ttl
        own: Item = {"record": jsontext.dumps(record)}
        if hidden.content_hash is not None:
            own["hash"] = hidden.content_hash
        if hidden.privacy_version is not None:
            own["privacy"] = hidden.privacy_version
        if hidden.buckets:
            own["buckets"] = dict(hidden.buckets)
        item[OWN] = own
        return item

    def _ttl(self, model: type[Record], timestamp: str, now: float) -> int | None:
        """Seconds until a record is past its days, at least 1.

        None where nothing expires, and for sessions: they go by their last activity, which only their records know.
        """
        days = self._days.get(model.__name__, 0)
        if not days or model is UserSession:
            return None
        return min(_MAX_TTL, max(1, math.ceil(to_ms(timestamp) / 1_000 + days * _DAY_SECONDS - now)))


def read_item(item: Mapping[str, Any], etag: str | None = None) -> Stored | None:
    """The record of an item (or of a row with `id`, `logogen` and `_etag`); None where it is not ours."""
    own = item.get(OWN)
    if not isinstance(own, dict) or not isinstance(own.get("record"), str):
        return None
    try:
        record = json.loads(own["record"])
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("id") != item.get("id") or not isinstance(record.get("timestamp"), str):
        return None
    buckets = own.get("buckets")
    buckets = {name: int(number) for name, number in buckets.items()} if isinstance(buckets, dict) else {}
    return Stored(record, Hidden(own.get("hash"), own.get("privacy"), buckets), etag or str(item.get("_etag", "")))
