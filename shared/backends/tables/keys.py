r"""Where a record stands: the keys of its entity and of the claim on its id.

A record's PartitionKey is `<bucket>_<day>`, the bucket of its id (0 to 3) and the UTC day of its timestamp counted back from
the end of the year 9999; its RowKey is `<ms>_<id>~`, the timestamp in milliseconds counted back likewise and the id with
every character replaced by its opposite. Keys sort upwards, so a bucket read from its beginning gives its records newest
first and, on one millisecond, by the ids' bytes backwards, over all its days.

The claim on an id decides who has it. A UUIDv7 is claimed at the place that it says itself, so a record whose timestamp is
its id's time is its own claim. Any other id is claimed by an entity in `id_<hash>`, which says the timestamp.

Keys may hold no `/`, `\`, `#`, `?` or control character:
https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

import hashlib
from typing import NamedTuple

from shared.ids import place_of_id, time_of_id
from shared.query import Key
from shared.timestamps import DAY_MS, from_ms, to_ms

BUCKETS = 4
_LAST_MS = to_ms("9999-12-31T23:59:59.999Z")
END = _LAST_MS + 1
"""Past the oldest place: 1970 counted back."""
_ALPHABET = "-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_OPPOSITE = str.maketrans(_ALPHABET, _ALPHABET[::-1])
_AFTER_ALL = "~"
"""Sorts after every character of an id, so that a shorter id comes after the longer ones that begin with it."""
_DIGITS = 15
_OLDEST = f"{_LAST_MS:0{_DIGITS}d}"


class Place(NamedTuple):
    """The keys of an entity."""

    partition: str
    row: str


def bucket_of(record_id: str) -> int:
    """The bucket of an id."""
    return place_of_id(record_id).bucket % BUCKETS


def record_place(key: Key) -> Place:
    """Where the record of a timestamp and an id stands."""
    moment = counted_back(key.timestamp)
    return Place(partition_of(bucket_of(key.id), moment), row_key(key))


def row_key(key: Key) -> str:
    return f"{edge(counted_back(key.timestamp))}_{key.id.translate(_OPPOSITE)}{_AFTER_ALL}"


def is_row_key(row: str) -> bool:
    """Whether a RowKey is one that a record of ours could have."""
    digits = row[:_DIGITS]
    is_moment = digits.isascii() and digits.isdigit() and digits <= _OLDEST
    return is_moment and row[_DIGITS : _DIGITS + 1] == "_" and row.endswith(_AFTER_ALL)


def key_of(row: str) -> Key:
    """The timestamp and id of a record's RowKey. Raises ValueError for another's."""
    if not is_row_key(row):
        raise ValueError("not the key of a record")
    return Key(timestamp_at(moment_of(row)), row[_DIGITS + 1 : -1].translate(_OPPOSITE))


def moment_of(row: str) -> int:
    """The counted-back milliseconds of a RowKey or an edge."""
    return int(row[:_DIGITS])


def counted_back(timestamp: str) -> int:
    """Milliseconds from a timestamp to the end of the year 9999."""
    return _LAST_MS - to_ms(timestamp)


def timestamp_at(moment: int) -> str:
    """The timestamp of counted-back milliseconds."""
    return from_ms(_LAST_MS - moment)


def edge(moment: int) -> str:
    """What sorts before every RowKey of a moment and after those of later times."""
    return f"{moment:0{_DIGITS}d}"


def partition_of(bucket: int, moment: int) -> str:
    return day_partition(bucket, moment // DAY_MS)


def day_partition(bucket: int, day: int) -> str:
    """The partition of a bucket and a counted-back day."""
    return f"{bucket}_{day:07d}"


def claim_place(record_id: str) -> Place:
    """Where the claim on an id stands."""
    time = time_of_id(record_id)
    if time is not None:
        return record_place(Key(time, record_id))
    return Place(f"id_{hashlib.sha256(record_id.encode()).digest()[0] >> 4:x}", record_id)


def is_own_claim(key: Key) -> bool:
    """Whether the record's place is the claim on its id too."""
    return time_of_id(key.id) == key.timestamp
