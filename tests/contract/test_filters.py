"""Filters compare values as they are: nothing in a value is a pattern, an escape or a command, and no letters are alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend, Deleted
from shared.models import ApiRequestLog, SystemEventLog
from shared.query import Aggregation, Query
from shared.timestamps import from_ms, to_ms
from tests.contract.reference import aggregate, in_order, select
from tests.contract.steps import add, add_all, clear, each_order, ids, quick, walk
from tests.contract.strategies import texts
from tests.support.records import START, make

ALIKE = {
    "quotes": ["it's", "its", "it''s", "it\\'s", 'say "hi"', "say 'hi'", "`hi`", '"', "'", "''"],
    "patterns": ["100%", "100", "1000", "under_score", "underXscore", "%", "_", "*", "?", ".", ".*", "[a-z]", "a", "^a$"],
    "escapes": ["\\", "\\\\", "back\\slash", "back\\\\slash", "\\n", "\n", "\\u0041", "A", "\\x41", "%41", "&#65;"],
    "commands": ["'; DROP TABLE events; --", "' OR '1'='1", "1; SELECT 1", "/* */", "eq", "a eq 'b'", "') or true or ('"],
    "names": ["$gt", "$where", "$$ROOT", "$1", "@t", "@p0", "${a}", ":a", "%s", "%(a)s", "{0}", "{a}", "?", "c.id"],
    "types": ['{"$gt": ""}', '{"$ne": null}', "[]", "{}", "null", "true", "1", "1.0", "01", "1e0", "0x1", "NaN", "-0"],
    "spaces": ["padded", " padded", "padded ", " padded ", "padded\t", "padded\n", "\tpadded", "\u00a0padded", "padded\u3000"],
    "controls": [*("a" + chr(code) + "b" for code in (1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127, 0x80, 0x85, 0x9F)), "ab"],
    "separators": ["a/b", "a#b", "a?b", "a\\b", "a|b", "a,b", "a;b", "a\u2028b", "a\u2029b", "a:b", "a&b", "a+b", "a b"],
    "case": ["strasse", "STRASSE", "straße", "i", "I", "\u0131", "\u0130", "\u03c3", "ς", "Σ", "k", "K", "\u212a", "\u212b"],
    "composed": ["é", "e\u0301", "e", "É", "ﬁ", "fi", "①", "1\u20e3", "\uff21", "A", "\ud55c", "\u1112\u1161\u11ab"],
    "scripts": ["日本語", "日本", "日本語 ", "שלום", "مرحبا", "\u202eabc", "abc", "हिन्दी"],
    "planes": ["🦊", "🦊🦊", "👩\u200d👧", "👩👧", "\U0001d4b3", "X", "\U0010ffff", "\uffff", "\ufffd", "a\ufeff", "a"],
    "ignorable": ["a\u200b", "a\u200d", "a\u00ad", "a\ufe0f", "a\u034f", "a", "a\u0301\u0323", "a\u0323\u0301"],
}  # fmt: skip
each_kind = pytest.mark.parametrize("values", ALIKE.values(), ids=ALIKE)


@each_kind
async def test_values_that_are_alike_are_told_apart(backend: Backend, values: list[str]) -> None:
    """Each of several values that something might take for one another finds, counts and groups its own records."""
    values = list(dict.fromkeys(values))
    stored = await add_all(backend, SystemEventLog, [make(SystemEventLog, component=value) for value in values])
    for item, value in zip(stored, values, strict=True):
        query = Query(SystemEventLog, {"component": (value,)}, limit=50)
        assert (await backend.find(query)).items == [item]
        assert await backend.count(query) == 1
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component",)))
    assert sorted((group.key, group.count) for group in groups) == sorted(((value,), 1) for value in values)
    some = Query(SystemEventLog, {"component": tuple(values[::2])}, descending=False, limit=50)
    assert (await backend.find(some)).items == stored[::2]


@each_kind
async def test_values_that_no_record_has_match_nothing(backend: Backend, values: list[str]) -> None:
    """A value finds and deletes no record that has only something like it."""
    first, *others = dict.fromkeys(values)
    stored = await add(backend, SystemEventLog, make(SystemEventLog, component=first))
    for other in others:
        query = Query(SystemEventLog, {"component": (other,)})
        assert await backend.count(query) == 0
        assert await backend.delete_where(query) == Deleted(0, more=False)
    assert (await backend.find(Query(SystemEventLog, {"component": (*others, first)}))).items == [stored]


@each_kind
async def test_records_are_deleted_by_unusual_values(backend: Backend, values: list[str]) -> None:
    """A delete by a value takes the records that have it and no others."""
    values = list(dict.fromkeys(values))
    await add_all(backend, SystemEventLog, [make(SystemEventLog, component=value) for value in values])
    for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
        assert await backend.delete_where(Query(SystemEventLog, {"component": (value,)}, limit=50)) == Deleted(1, more=False)
        assert await backend.count(Query(SystemEventLog)) == left


@each_order
@pytest.mark.parametrize("value", ["zażółć", "日本語", "🦊", "'", "%", "\\"])
async def test_a_walk_under_an_unusual_filter(backend: Backend, value: str, *, descending: bool) -> None:
    """Pages of ties under such a filter, in a window, are the whole list."""
    given = [
        make(SystemEventLog, component=(value, value + "x")[n % 2], level="info", timestamp=from_ms(to_ms(START) + n // 8))
        for n in range(60)
    ]
    await add_all(backend, SystemEventLog, given)
    filters = {"component": (value,), "level": ("info", "warn")}
    query = Query(SystemEventLog, filters, START, from_ms(to_ms(START) + 6), descending=descending, limit=5)
    assert ids(await walk(backend, query)) == ids(select(given, query))


async def test_an_empty_string_and_no_field(backend: Backend) -> None:
    """A filter for an empty string finds neither the records without the field nor the others."""
    given = [make(SystemEventLog, component="x"), make(SystemEventLog), make(SystemEventLog, component=" ")]
    given[0].record["component"] = ""  # which the service lets nobody send
    await add_all(backend, SystemEventLog, given)
    for value, record in (("", given[0]), (" ", given[2])):
        assert ids((await backend.find(Query(SystemEventLog, {"component": (value,)}))).items) == [record.id]


async def test_values_that_look_like_other_types(backend: Backend) -> None:
    """Texts that look like numbers, truth or nothing are texts, and true numbers and booleans are none."""
    given = [make(ApiRequestLog, endpoint=text, statusCode=200, errorOccurred=False) for text in ("200", "false", "null", "0")]
    await add_all(backend, ApiRequestLog, given)
    for record in given:
        query = Query(
            ApiRequestLog, {"endpoint": (record.record["endpoint"],), "statusCode": (200,), "errorOccurred": (False,)}
        )
        assert ids((await backend.find(query)).items) == [record.id]
    assert await backend.count(Query(ApiRequestLog, {"statusCode": (200, 100, 599)})) == 4
    assert await backend.count(Query(ApiRequestLog, {"errorOccurred": (True,)})) == 0


@quick
@given(values=st.lists(texts(max_size=256).filter(bool), max_size=8), other=texts(max_size=20).filter(bool))
async def test_any_values_are_filtered_and_grouped(backend: Backend, values: list[str], other: str) -> None:
    """Whatever the texts, a filter finds those equal to it, and groups are of equal ones."""
    await clear(backend, SystemEventLog)
    given_events = [make(SystemEventLog, component=value) for value in values]
    await add_all(backend, SystemEventLog, given_events)
    for value in {*values, other}:
        query = Query(SystemEventLog, {"component": (value,)})
        assert ids((await backend.find(query)).items) == ids(select(given_events, query))
    asked = Aggregation(SystemEventLog, group_by=("component",))
    assert in_order(await backend.aggregate(asked)) == in_order(aggregate(given_events, asked))
