"""Canonical timestamps: UTC, truncated to the millisecond, `2024-01-01T12:00:00.000Z`, so that text order is time order."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_OFFSET_MISSING = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?", re.ASCII)
_CANONICAL = re.compile(r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)

DAY_MS = 86_400_000
EARLIEST = "1970-01-01T00:00:00.000Z"


def parse_timestamp(text: str) -> str:
    """The canonical form of an RFC 3339 timestamp from 1970 on, with any offset. Raises ValueError saying what is wrong."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        if _OFFSET_MISSING.fullmatch(text):
            raise ValueError("needs a time and an offset, such as 2024-01-01T12:00:00.000Z")
        raise ValueError("is not an RFC 3339 timestamp such as 2024-01-01T12:00:00.000Z")
    date, time, fraction, offset = match.groups()
    milliseconds = ((fraction or "") + "000")[:3]
    if offset in "Zz":
        offset = "+00:00"
    try:
        moment = datetime.fromisoformat(f"{date}T{time}.{milliseconds}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("names a date, time or offset that does not exist") from None
    if moment < _EPOCH:
        raise ValueError("is before 1970")
    return format_timestamp(moment)


def is_canonical(text: str) -> bool:
    """Whether the text is a canonical timestamp of a moment that exists."""
    return _CANONICAL.fullmatch(text) is not None and _day_ms(text[:10]) is not None


@lru_cache(maxsize=4_096)
def _day_ms(day: str) -> int | None:
    """Milliseconds from 1970 to the start of a day; None where there is no such day, or it is before 1970."""
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH.toordinal()
    except ValueError:
        return None
    return days * DAY_MS if days >= 0 else None


def format_timestamp(moment: datetime) -> str:
    """The canonical form of an aware datetime, truncated to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_ms(timestamp: str) -> int:
    """Milliseconds since 1970 of a canonical timestamp."""
    day = _day_ms(timestamp[:10])
    if day is None:
        raise ValueError("is not a canonical timestamp")
    return day + int(timestamp[11:13]) * 3_600_000 + int(timestamp[14:16]) * 60_000 + int(timestamp[17:19] + timestamp[20:23])


def from_ms(milliseconds: int) -> str:
    """The canonical timestamp of milliseconds since 1970 (0 to the end of the year 9999)."""
    return format_timestamp(_EPOCH + timedelta(milliseconds=milliseconds))


def day_of(timestamp: str) -> str:
    """The UTC day (`2024-01-01`) of a canonical timestamp."""
    return timestamp[:10]


def shift(timestamp: str, **delta: float) -> str:
    """The canonical timestamp that much later (`days=1`) or earlier (`hours=-24`); from 1970 to the end of the year 9999."""
    difference = timedelta(**delta)
    try:
        moment = datetime.fromisoformat(timestamp) + difference
    except OverflowError:
        moment = _EPOCH if difference < timedelta() else _LATEST
    return format_timestamp(max(moment, _EPOCH))
