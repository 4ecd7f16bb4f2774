"""Timestamps: one canonical form whose text order is time order."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.timestamps import EARLIEST, day_of, format_timestamp, from_ms, is_canonical, parse_timestamp, shift, to_ms

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=zones)  # noqa: DTZ001 - zones come apart


@given(moments)
def test_any_offset_has_one_canonical_form(moment: datetime) -> None:
    """The same moment written with any offset is stored as the same text, truncated to the millisecond."""
    canonical = parse_timestamp(moment.isoformat())
    assert canonical == format_timestamp(moment)
    assert is_canonical(canonical)
    truncated = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert datetime.fromisoformat(canonical) == truncated


@given(moments, moments)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    """Canonical timestamps sort as their moments do, to the millisecond."""
    first, second = format_timestamp(one), format_timestamp(other)
    assert (first < second) == (to_ms(first) < to_ms(second))


@given(st.integers(0, to_ms("9999-12-31T23:59:59.999Z")))
def test_milliseconds_and_text_are_two_forms_of_one_thing(milliseconds: int) -> None:
    """Milliseconds since 1970 survive the way to text and back."""
    assert to_ms(from_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2024-01-01T12:00:00Z", "2024-01-01T12:00:00.000Z"),
        ("2024-01-01t12:00:00z", "2024-01-01T12:00:00.000Z"),
        ("2024-01-01 12:00:00+00:00", "2024-01-01T12:00:00.000Z"),
        ("2024-01-01T00:30:00.9999+01:00", "2023-12-31T23:30:00.999Z"),
        ("2024-02-29T23:59:59.123456789-01:30", "2024-03-01T01:29:59.123Z"),
    ],
)
def test_rfc_3339_is_read(text: str, canonical: str) -> None:
    """What RFC 3339 allows is read."""
    assert parse_timestamp(text) == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2024-01-01T12:00:00", "offset"),
        ("2024-01-01", "offset"),
        ("1704110400", "RFC 3339"),
        ("", "RFC 3339"),
        ("now", "RFC 3339"),
        ("2024-01-01T12:00:00.0000000001Z", "RFC 3339"),
        ("2024-01-01T12:00:00Z\n", "RFC 3339"),
        ("٢٠٢٤-01-01T12:00:00Z", "RFC 3339"),
        ("2023-02-29T12:00:00Z", "does not exist"),
        ("2024-01-01T24:00:01Z", "does not exist"),
        ("2024-01-01T12:00:60Z", "does not exist"),
        ("0001-01-01T00:00:00+14:00", "does not exist"),
        ("1969-12-31T23:59:59.999Z", "before 1970"),
    ],
)
def test_other_forms_are_refused_with_the_reason(text: str, says: str) -> None:
    """A timestamp without offset, of no date, or before 1970 is refused in words."""
    with pytest.raises(ValueError, match=says):
        parse_timestamp(text)
    assert not is_canonical(text)


def test_only_the_canonical_form_is_canonical() -> None:
    """Another form of an existing moment is not canonical, nor is a date that does not exist."""
    assert not is_canonical("2024-01-01T12:00:00Z")
    assert not is_canonical("2024-13-01T12:00:00.000Z")


def test_shifting_stops_at_1970() -> None:
    """A window of many years ago starts at the beginning of time."""
    assert shift("2024-01-01T00:00:00.000Z", days=1) == "2024-01-02T00:00:00.000Z"
    assert shift("2024-01-01T00:00:00.000Z", days=-36_500) == EARLIEST
    assert day_of(format_timestamp(datetime(2024, 5, 6, tzinfo=UTC))) == "2024-05-06"


def test_a_shift_past_the_calendar_stops_at_its_end() -> None:
    """Neither far back nor far ahead is an error."""
    assert shift("2024-06-15T12:00:00.000Z", weeks=-999_999) == EARLIEST
    assert shift("2024-06-15T12:00:00.000Z", weeks=999_999) == "9999-12-31T23:59:59.999Z"
