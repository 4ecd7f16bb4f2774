"""Ids: what a client may send, what the service mints, and the place that an id carries."""

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import (
    DayPlace,
    HashPlace,
    derive_session_id,
    is_valid_id,
    mint_id,
    place_of_id,
    session_bucket,
    time_of_id,
)
from shared.timestamps import from_ms, to_ms

YEAR_2000, YEAR_2100 = to_ms("2000-01-01T00:00:00.000Z"), to_ms("2100-01-01T00:00:00.000Z")
moments = st.integers(YEAR_2000, YEAR_2100 - 1)
session_ids = st.one_of(st.none(), st.text("abcXYZ019._:-", min_size=1, max_size=20))


@given(moments, session_ids)
def test_a_minted_id_carries_the_record_s_own_time_and_its_session_s_bucket(milliseconds: int, session_id: str | None) -> None:
    """A minted id is a canonical UUIDv7 whose time and last byte say where the record lives."""
    minted = mint_id(from_ms(milliseconds), session_id)
    parsed = uuid.UUID(minted)
    assert (str(parsed), parsed.version, parsed.variant) == (minted, 7, uuid.RFC_4122)
    assert time_of_id(minted) == from_ms(milliseconds)
    place = place_of_id(minted)
    assert isinstance(place, DayPlace)
    assert place.day == from_ms(milliseconds)[:10]
    if session_id is not None:
        assert place.bucket == session_bucket(session_id) == hashlib.sha256(session_id.encode()).digest()[0]


def test_minted_ids_differ() -> None:
    """Ids of one session and millisecond are different."""
    assert len({mint_id("2024-01-01T00:00:00.000Z", "one") for _ in range(1_000)}) == 1_000


@given(st.integers(0, YEAR_2000 - 1) | st.integers(YEAR_2100, to_ms("9999-12-31T23:59:59.999Z")))
def test_an_id_of_another_century_has_a_hash_place(milliseconds: int) -> None:
    """A UUIDv7 whose time is not in 2000 to 2099 carries no time and lives by its hash."""
    minted = mint_id(from_ms(milliseconds), None)
    assert time_of_id(minted) is None
    assert isinstance(place_of_id(minted), HashPlace)


@pytest.mark.parametrize(
    "text",
    [
        "018CC251-F400-7000-8000-000000000000",
        "018cc251f40070008000000000000000",
        "018cc251-f400-4000-8000-000000000000",
        "018cc251-f400-7000-c000-000000000000",
        "order-1",
    ],
)
def test_only_a_canonical_lower_case_uuid7_carries_a_time(text: str) -> None:
    """Upper case, no hyphens, another version or variant: the id lives by its hash."""
    assert time_of_id(text) is None
    place = place_of_id(text)
    assert isinstance(place, HashPlace)
    assert place.bucket == int(hashlib.sha256(text.encode()).hexdigest()[:3], 16)


@pytest.mark.parametrize("text", ["a", "0", "A.b_c:d-e", "a" * 128, "a..b"])
def test_letters_digits_and_four_signs_make_an_id(text: str) -> None:
    """1 to 128 of A-Za-z0-9._:- that start with a letter or digit are an id."""
    assert is_valid_id(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "_a", ":a", "a" * 129, "a b", "a/b", "a\n", "é", "a\0", "٣"])
def test_anything_else_is_no_id(text: str) -> None:
    """Other characters, other starts and other lengths are refused."""
    assert not is_valid_id(text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_visitor_s_day_has_one_session(address: str, agent: str) -> None:
    """The derived id is a UUIDv8 that any instance with the same salt derives again."""
    derived = derive_session_id(b"salt" * 8, address, agent, "2024-01-01")
    parsed = uuid.UUID(derived)
    assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)
    assert derived == derive_session_id(b"salt" * 8, address, agent, "2024-01-01")


def test_salt_address_agent_and_day_each_make_another_session() -> None:
    """Whatever differs, the session differs; and nothing moves from the address to the agent unseen."""
    salt = b"0123456789abcdef"
    derived = {
        derive_session_id(salt, "192.0.2.1", "Firefox", "2024-01-01"),
        derive_session_id(b"another-salt-123", "192.0.2.1", "Firefox", "2024-01-01"),
        derive_session_id(salt, "192.0.2.2", "Firefox", "2024-01-01"),
        derive_session_id(salt, "192.0.2.1", "Chrome", "2024-01-01"),
        derive_session_id(salt, "192.0.2.1", "Firefox", "2024-01-02"),
        derive_session_id(salt, "192.0.2.1Firefox", "", "2024-01-01"),
    }
    assert len(derived) == 6
