"""Strict JSON: what is refused, and that the answer says where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import jsontext
from shared.datatypes import MAX_INTEGER
from shared.errors import InvalidError
from shared.models import MAX_NESTING

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read_again(value: object) -> None:
    """Compact text holds the same value."""
    assert jsontext.loads(jsontext.encode(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2, max_size=6))
def test_the_canonical_form_does_not_know_the_order_of_members(members: dict[str, int]) -> None:
    """Equal objects have the same canonical bytes, however their members are ordered."""
    assert jsontext.canonical(members) == jsontext.canonical(dict(reversed(members.items())))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": 1, "a": 2}', '"a" stands twice'),
        (b'{"deep": [{"b": 1, "b": 1}]}', '"b" stands twice'),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1,\n 2,]", "line 2 column"),
        (b"{'a': 1}", "line 1 column 2"),
        (b"", "line 1 column 1"),
        (b"[1] 2", "Extra data at line 1 column 5"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ("[1]".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf[1]", "byte order mark"),
        (b"[" * 100_000, "nests too deeply"),
        (b"123456789012345678901", "2\\^53"),
        (b'"\x01"', "control character"),
    ],
)
def test_text_that_is_not_strict_json_is_refused_with_its_place(body: bytes, says: str) -> None:
    """The answer names the line and column, or the name that stands twice."""
    with pytest.raises(InvalidError, match=says) as caught:
        jsontext.loads(body, "items[3]")
    assert caught.value.error_code == "invalid_json"
    assert [detail.field for detail in caught.value.details] == ["items[3]"]


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"a": ["x", "\ud800"]}, "a.1", "lone surrogate"),
        ({"a": "b\0"}, "a", "NUL"),
        ({"a": {"\0": 1}}, "a", "has a name that holds a NUL"),
        ({"a": MAX_INTEGER + 1}, "a", "2^53"),
        ({"a": float("inf")}, "a", "finite"),
        ({"a": {1, 2}}, "a", "not a JSON value"),
        ({"a": {1: 2}}, "a", "a name that is not a string"),
    ],
)
def test_values_that_not_every_database_keeps_are_found(value: object, path: str, says: str) -> None:
    """Each problem comes with the path to it."""
    [problem] = jsontext.problems(value)
    assert problem.field == path
    assert says in problem.message


def test_each_field_of_a_record_may_nest_twenty_deep() -> None:
    """Twenty arrays in a field are kept, one more is not."""
    nested: object = 1
    for _ in range(MAX_NESTING):
        nested = [nested]
    assert list(jsontext.problems({"details": nested})) == []
    [problem] = jsontext.problems({"details": [nested]})
    assert "nests more than 20 deep" in problem.message


@given(values)
def test_what_json_readers_give_has_no_problems_but_text_and_depth(value: object) -> None:
    """Ordinary JSON passes, whatever its shape."""
    plain = json.loads(json.dumps(value).replace("\\u0000", "").replace("\\ud", "x"))
    assert all("nests" in problem.message for problem in jsontext.problems(plain))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "deep": NaN}', "NaN is not JSON at line 1 column 18"),
        ('["NaN \\" NaN",\n -Infinity]', "-Infinity is not JSON at line 2 column 2"),
        ('{"a": -123456789012345678901}', "an integer is past 2^53 at line 1 column 7"),
        ('{"a": {"b": "a"},\n "c": ["a", "a"],\n "\\u0061": 2}', 'the name "a" stands twice in one object at line 3 column 2'),
        ("[" * 100_000, "the body nests too deeply at line 1 column 23"),
    ],
)
def test_what_python_would_take_is_refused_with_its_place(text: str, message: str) -> None:
    """Line and column are told for what the decoder itself has no place for."""
    with pytest.raises(InvalidError) as caught:
        jsontext.loads(text.encode(), "line 3")
    assert [(detail.field, detail.message) for detail in caught.value.details] == [("line 3", message)]


@given(values)
def test_the_size_is_that_of_the_compact_text(value: object) -> None:
    """A value is as large as it would be stored, and what can't be stored has a size too."""
    assert jsontext.size_of(value) == len(jsontext.encode(value))
    assert jsontext.size_of(["\ud800", 1]) == 9


def test_canonical_text_is_sorted_at_every_depth() -> None:
    """Members stand in the order of their names, in objects within lists too; the value itself stays as it was."""
    value = {"b": [{"z": 1, "a": {"y": 1.5, "x": None}}], "a": "\u00e9"}
    assert jsontext.canonical(value) == '{"a":"\u00e9","b":[{"a":{"x":null,"y":1.5},"z":1}]}'.encode()
    assert list(value) == ["b", "a"]


def test_canonical_numbers_stay_as_they_are() -> None:
    """Stored content hashes hang on this text: a change of it raises RULES_VERSION."""
    numbers = [1, 1.0, -0.0, 1e-5, 1e-7, 1e15, 1e16, 5e-324, 1.7976931348623157e308, 0.1]
    text = "[1,1.0,-0.0,0.00001,1e-7,1000000000000000.0,1e+16,5e-324,1.7976931348623157e+308,0.1]"
    assert jsontext.canonical(numbers).decode() == text
