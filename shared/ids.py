"""Record ids: minting UUIDv7 ids that carry their place, reading the place back, and deriving session ids.

Source: RFC 9562 (UUIDv7 section 5.7, UUIDv8 section 5.8).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

from shared.timestamps import from_ms, to_ms

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
_ID = re.compile(ID_PATTERN)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_YEAR_2000_MS = to_ms("2000-01-01T00:00:00.000Z")
_YEAR_2100_MS = to_ms("2100-01-01T00:00:00.000Z")

RandomBytes = Callable[[int], bytes]


class DayPlace(NamedTuple):
    """Where an id that carries its place lives: a UTC day and a bucket (0 to 255)."""

    day: str
    bucket: int


class HashPlace(NamedTuple):
    """Where any other id lives: 12 bits of its SHA-256 (0 to 4095)."""

    bucket: int


def is_valid_id(text: str) -> bool:
    """Whether a client may use the text as an id."""
    return _ID.fullmatch(text) is not None


def mint_id(timestamp: str, session_id: str | None, random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """A UUIDv7 whose time is the record's own timestamp and whose last byte is the bucket of its session."""
    random = bytearray(random_bytes(10))
    if session_id is not None:
        random[9] = session_bucket(session_id)
    random[0] = 0x70 | (random[0] & 0x0F)
    random[2] = 0x80 | (random[2] & 0x3F)
    return _uuid_text(to_ms(timestamp).to_bytes(6) + random)


def session_bucket(session_id: str) -> int:
    """The bucket (0 to 255) of a session: the first byte of SHA-256 of its id."""
    return hashlib.sha256(session_id.encode()).digest()[0]


def time_of_id(record_id: str) -> str | None:
    """The canonical timestamp that a canonical lower-case UUIDv7 of the years 2000 to 2099 carries, else None."""
    if _UUID7.fullmatch(record_id) is None:
        return None
    milliseconds = int(record_id[:8] + record_id[9:13], 16)
    if not _YEAR_2000_MS <= milliseconds < _YEAR_2100_MS:
        return None
    return from_ms(milliseconds)


def place_of_id(record_id: str) -> DayPlace | HashPlace:
    """Where a record lives: a function of its id alone, so that every read by id is one point read."""
    timestamp = time_of_id(record_id)
    if timestamp is not None:
        return DayPlace(timestamp[:10], int(record_id[-2:], 16))
    digest = hashlib.sha256(record_id.encode()).digest()
    return HashPlace(int.from_bytes(digest[:2]) >> 4)


def derive_session_id(salt: bytes, address: str, agent: str, day: str) -> str:
    """The UUIDv8 of a visitor's day: the same on every instance, and no way back to the address without the salt.

    `address` is the whole address before anonymisation and `agent` the user agent; either may be empty. `day` is the
    UTC day of the record's timestamp.
    """
    message = b"\0".join((address.encode(), agent.encode(), day.encode()))
    digest = bytearray(hmac.digest(salt, message, "sha256")[:16])
    digest[6] = 0x80 | (digest[6] & 0x0F)
    digest[8] = 0x80 | (digest[8] & 0x3F)
    return _uuid_text(digest)


def _uuid_text(content: bytes | bytearray) -> str:
    digits = content.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
