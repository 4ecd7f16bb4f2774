"""Entity tags and the conditions on them, as RFC 9110 says."""

import pytest

from shared.errors import InvalidError
from shared.etags import entity_tag, read_condition
from shared.query import Stored

STORED = Stored({"id": "a"}, etag="3-abc")


def test_a_header_that_is_not_there_is_no_condition() -> None:
    """Without the header nothing is asked."""
    assert read_condition("If-Match", None) is None


@pytest.mark.parametrize(
    ("header", "writes", "unchanged"),
    [
        ("*", True, True),
        ('"3-abc"', True, True),
        (' "x" , "3-abc"', True, True),
        ('W/"3-abc"', False, True),
        ('"x", W/"3-abc"', False, True),
        ('"3-ab"', False, False),
        ('"a,b", "c"', False, False),
        ('""', False, False),
    ],
)
def test_strong_and_weak_comparison(header: str, writes: bool, unchanged: bool) -> None:  # noqa: FBT001 - a table's column
    """If-Match takes strong tags only, If-None-Match weak ones too."""
    condition = read_condition("If-Match", header)
    assert condition is not None
    assert condition.allows_write_to(STORED) is writes
    assert condition.names(entity_tag(STORED)) is unchanged


@pytest.mark.parametrize("header", ["", "3-abc", '"open', 'w/"x"', '"a" "b"', "'x'", '"' * 9_000])
def test_what_is_no_list_of_tags_is_refused(header: str) -> None:
    """A malformed condition is an error rather than no condition."""
    with pytest.raises(InvalidError) as caught:
        read_condition("If-Match", header)
    assert [detail.field for detail in caught.value.details] == ["If-Match"]


def test_a_session_s_counters_do_not_stand_in_the_way_of_a_write() -> None:
    """A session's tag changes with its records, but a write asks only for the document's own version."""
    before, after = entity_tag(STORED, {"apiRequests": 1}), entity_tag(STORED, {"apiRequests": 2})
    assert before != after
    condition = read_condition("If-Match", before)
    assert condition is not None
    assert condition.allows_write_to(STORED)
    assert not condition.names(after)


def test_a_backend_s_own_tag_may_hold_anything() -> None:
    """Quotes, dots and spaces of a database's tag don't reach the wire."""
    tag = entity_tag(Stored({"id": "a"}, etag='"0x8D.1 2"'))
    condition = read_condition("If-Match", tag)
    assert condition is not None
    assert condition.allows_write_to(Stored({"id": "a"}, etag='"0x8D.1 2"'))


def test_empty_members_of_a_list_do_not_count() -> None:
    """A list of tags may hold empty members (RFC 9110, section 5.6.1.2), but not only those."""
    condition = read_condition("If-None-Match", ' , ,"3-abc", ')
    assert condition is not None
    assert condition.names(entity_tag(STORED))
    with pytest.raises(InvalidError):
        read_condition("If-None-Match", " , ,")
