"""Records as entities: long texts in parts, and everything back as it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.tables.entities import MAX_UNITS, Entity, read_record, split, write_record
from shared.models import ImageGenerationTransaction, SystemEventLog
from tests.contract.test_sizes import each_filling, largest
from tests.support.records import make


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(st.lists(st.sampled_from(["a", "é", "語", "🦊", "ab"]), max_size=12), st.integers(1, 9_000))
def test_parts_of_a_text(letters: list[str], times: int) -> None:
    """Parts are no longer than a property may be, cut no surrogate pair, and are the text together."""
    text = "".join(letters) * times
    parts = split(text)
    assert "".join(parts) == text
    assert all(units(part) <= MAX_UNITS for part in parts)


@pytest.mark.parametrize("before", range(3))
def test_a_pair_at_the_edge(before: int) -> None:
    """A character of two units that would be cut goes whole into the next part."""
    text = "a" * (MAX_UNITS - before) + "🦊" * 3
    parts = split(text)
    assert "".join(parts) == text
    assert all(part.encode() for part in parts)
    assert units(parts[0]) == (MAX_UNITS - 1 if before == 1 else MAX_UNITS)


def test_an_entity_is_read_back() -> None:
    """Record and hidden fields are those that were written."""
    given_record = make.full(SystemEventLog, message="🦊 \ufffe\uffff", details={"n": 1.0, "__proto__": None})
    entity = write_record(SystemEventLog, given_record, "w")
    found = read_record(entity)
    assert found is not None
    assert (found.record, found.hidden) == (given_record.record, given_record.hidden)


def test_only_xml_characters_are_stored() -> None:
    """The text holds no character that the service's string properties can't."""
    entity = write_record(SystemEventLog, make(SystemEventLog, message="\ufffe\uffff\x01"), "w")
    assert not set(entity["Record0"]) & {"\ufffe", "\uffff", "\x01"}


@given(st.text(st.sampled_from('\ufffe\uffff\t01\\t"\n'), max_size=12), st.integers(MAX_UNITS - 40, MAX_UNITS))
def test_every_text_comes_back(text: str, before: int) -> None:
    """What stands for a character that can't be stored is told from the same characters in a text, cut in two or not."""
    stored = make(SystemEventLog, message=text, details="x" * before + text)
    found = read_record(write_record(SystemEventLog, stored, "w"))
    assert found is not None
    assert found.record == stored.record


@each_filling
def test_the_largest_record_fits_an_entity(filling: Any) -> None:
    """It takes less than 1 MiB as the service counts, which Azurite does not."""
    assert size_of(write_record(ImageGenerationTransaction, largest(filling), "w")) < 1_048_576


def size_of(entity: Entity) -> int:
    """By the formula that `docs/databases.md` refers to."""
    keys = units(entity["PartitionKey"]) + units(entity["RowKey"])
    properties = {name: value for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}}
    values = (4 + 2 * units(value) if isinstance(value, str) else 8 for value in properties.values())
    return 4 + 2 * keys + sum(8 + 2 * units(name) for name in properties) + sum(values)


@pytest.mark.parametrize("change", [{"Record0": "{"}, {"Record0": '["a"]'}, {"RowKey": "foreign"}, {"Record0": None}])
def test_what_is_not_ours_is_no_record(change: dict[str, object]) -> None:
    """An entity that someone else wrote or changed is not read as a record."""
    entity = write_record(SystemEventLog, make(SystemEventLog), "w")
    assert read_record({**entity, **change}) is None
