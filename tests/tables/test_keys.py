"""Keys: newest first in their own order, no two alike, readable back, and made of what keys may hold."""

import re

from hypothesis import given
from hypothesis import strategies as st

from shared.backends.tables.keys import bucket_of, claim_place, is_own_claim, key_of, record_place, row_key
from shared.ids import ID_PATTERN, mint_id
from shared.query import Key
from shared.timestamps import from_ms

ids = st.from_regex(ID_PATTERN, fullmatch=True)
times = st.integers(0, 253_402_300_799_999).map(from_ms)
keys = st.builds(Key, times, ids)


@given(keys, keys)
def test_row_keys_sort_backwards(one: Key, other: Key) -> None:
    """Row keys are in the exact reverse of the order of (timestamp, id)."""
    assert (row_key(one) < row_key(other)) == (one > other)


@given(times, ids, ids)
def test_ids_on_one_millisecond(time: str, one: str, other: str) -> None:
    """Ids order by their bytes backwards, a prefix after the longer id."""
    assert (row_key(Key(time, one)) < row_key(Key(time, other))) == (one > other)


@given(keys)
def test_row_keys_are_read_back(key: Key) -> None:
    """Timestamp and id are in the row key."""
    assert key_of(row_key(key)) == key


@given(keys, keys)
def test_partitions_of_a_bucket_sort_backwards(one: Key, other: Key) -> None:
    """Inside a bucket, a later day's partition comes first."""
    first, second = record_place(one), record_place(other)
    if bucket_of(one.id) == bucket_of(other.id) and one.timestamp[:10] > other.timestamp[:10]:
        assert first.partition < second.partition


@given(keys)
def test_keys_hold_only_what_keys_may(key: Key) -> None:
    """No key has a character that the service refuses, or is longer than 512."""
    for text in (*record_place(key), *claim_place(key.id)):
        assert re.fullmatch(r"[A-Za-z0-9._:~-]{1,512}", text)


def test_a_minted_id_is_its_own_claim() -> None:
    """Where id and timestamp say the same moment, the record's place is the claim's."""
    key = Key("2024-01-01T12:00:00.000Z", mint_id("2024-01-01T12:00:00.000Z", None, bytes))
    assert is_own_claim(key)
    assert claim_place(key.id) == record_place(key)
    assert not is_own_claim(Key("2024-01-01T12:00:00.001Z", key.id))


@given(ids)
def test_claims_of_other_ids_stand_apart(record_id: str) -> None:
    """A claim never stands where a record of another id could."""
    place = claim_place(record_id)
    assert place.partition.startswith("id_") or key_of(place.row).id == record_id
