"""Values of every kind come back identical, types included."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.datatypes import MAX_INTEGER
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, State, SystemEventLog
from shared.query import Aggregation, Query
from tests.contract.steps import add, fetch, quick, typed
from tests.support.records import make

TEXTS = {
    "empty": "",
    "space": " ",
    "padded": "  both sides  ",
    "quotes": "'single' \"double\" `back`",
    "backslashes": "\\ \\\\ \\n \\u0041 \\x41",
    "line-ends": "a\nb\rc\r\nd\n",
    "tab": "a\tb",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "separators": "a\u2028b\u2029c\u0085d",
    "byte-order-mark": "\ufeffat the start, \ufeff inside",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufffd",
    "astral": "🦊👩‍👩‍👧‍👦𝒳𠜎",
    "combining": "e\u0301 \u00e9 n\u0303 Z\u0351\u036b\u0343",
    "right-to-left": "שלום עולם \u202eabc\u202c مرحبا",
    "private-use": "\ue000\uf8ff\U000f0000",
    "numberlike": "0012",
    "jsonlike": '{"a": [1, null, "}"]}',
    "datelike": "2024-01-01T12:00:00.000Z",
    "sqllike": "'); DROP TABLE x; --",
    "marker": '{"_":{"v":1}}',
    "long-run": "\\" * 5_000,
    "astral-at-every-offset": "".join("x" * n + "🦊" for n in range(60)),
    "astral-run": "\U0001d4b3" * 20_000,
    "odd-astral-run": "x" + "🦊" * 20_000,
}
NAMES = [
    "",
    " ",
    ".",
    "..",
    "a.b.c",
    "$",
    "$set",
    "$ref",
    "a$b",
    "_",
    "__",
    "__proto__",
    "__init__",
    "prototype",
    "constructor",
    "id",
    "_id",
    "_etag",
    "_ts",
    "_rid",
    "_self",
    "_v",
    "_hidden",
    "_.",
    "._",
    "$$ROOT",
    "$.a",
    "a.$[].b",
    "etag",
    "ttl",
    "pk",
    "logogen",
    "record",
    "hidden",
    "hash",
    "buckets",
    "doc",
    "data",
    "xmin",
    "expireAt",
    "PartitionKey",
    "RowKey",
    "Timestamp",
    "odata.etag",
    "odata.type",
    "a@odata.type",
    "timestamp",
    "metadata",
    "key with spaces",
    "a/b\\c#d?e",
    "a'b\"c",
    "a\nb",
    "0",
    "-1",
    "🦊",
    "é",
    "e\u0301",
    "\u2028",
    "x" * 1_000,
]
NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**32,
    MAX_INTEGER - 1,
    MAX_INTEGER,
    -MAX_INTEGER,
    2**53 + 1,
    -(2**53) - 1,
    2**62 + 1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.0,
    -1.0,
    100.0,
    0.1,
    0.1 + 0.2,
    1 / 3,
    5e-324,
    -5e-324,
    2.225073858507201e-308,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    1e15,
    1e16,
    1e21,
    1e22,
    1e23,
    1e100,
    123456789.12345679,
    float(2**53),
    float(2**31),
    float(2**63),
    float(-(2**63)),
    float(2**64),
    4503599627370496.5,
    9007199254740993e3,
]
SHAPES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "empty-object": {},
    "empty-array": [],
    "empties": [{}, [], "", [[]], {"a": {}}],
    "null-in-object": {"a": None, "b": {"c": None}},
    "null-in-array": [None, [None, [None]], 1],
    "bool-beside-int": [True, 1, False, 0, 1.0, 0.0, "1", "true"],
    "mixed": [1, "a", None, 2.5, {"b": [True]}],
    "big-array": list(range(10_000)),
    "wide-object": {f"key-{n}": n for n in range(2_000)},
    "repeats": ["same"] * 500,
}


async def round_trip(backend: Backend, metadata: dict[str, Any]) -> None:
    """Check that metadata is read as it was stored, by id and in a list."""
    given = make(SystemEventLog, metadata=metadata)
    stored = await add(backend, SystemEventLog, given)
    found = await fetch(backend, SystemEventLog, given.id)
    [listed] = (await backend.find(Query(SystemEventLog, since=given.timestamp))).items
    assert typed(found.record) == typed(given.record)
    assert typed(stored.record) == typed(given.record)
    assert listed == found


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_texts(backend: Backend, text: str) -> None:
    """Any text comes back character for character."""
    await round_trip(backend, {"text": text, "list": [text], "nested": {"text": text}})


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_texts_in_fields(backend: Backend, text: str) -> None:
    """Any text comes back from a field of the model itself."""
    given = make(SystemEventLog, message=text, details=text)
    await add(backend, SystemEventLog, given)
    assert (await fetch(backend, SystemEventLog, given.id)).record == given.record


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_names(backend: Backend, name: str) -> None:
    """A member of metadata may have any name, at any depth."""
    await round_trip(backend, {name: "value", "nested": {name: {name: [1, {name: None}]}}})


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (SystemEventLog, "details"),
        (ApiRequestLog, "requestBody"),
        (ApiRequestLog, "responseBody"),
        (ApiRequestLog, "requestHeaders"),
        (ApiRequestLog, "responseHeaders"),
        (State, "data"),
    ],
)
async def test_names_in_every_free_field(backend: Backend, model: type[Record], field: str) -> None:
    """Members of every field that is free JSON may have any names, through a create and an update."""
    value = {name: ["value", number] for number, name in enumerate(NAMES)}
    given = make(model, **{field: value})
    stored = await add(backend, model, given)
    assert typed((await fetch(backend, model, given.id)).record) == typed(given.record)
    changed = make.changed(stored, **{field: dict(reversed(value.items()))})
    await backend.update(model, changed, stored.etag)
    assert typed((await fetch(backend, model, given.id)).record) == typed(changed.record)


async def test_empty_strings_in_fields(backend: Backend) -> None:
    """A text field that is empty is there and empty, and one that is not there stays away."""
    names = ("originalPrompt", "enhancedPrompt", "errorMessage", "imageUrl", "originalFilename", "apiBaseUrl", "userAgent")
    given = make(ImageGenerationTransaction, **dict.fromkeys(names, ""))
    await add(backend, ImageGenerationTransaction, given)
    assert (await fetch(backend, ImageGenerationTransaction, given.id)).record == given.record
    [listed] = (await backend.find(Query(ImageGenerationTransaction))).items
    assert listed.record == given.record


async def test_an_update_renames_and_empties(backend: Backend) -> None:
    """After an update nothing is left of members that are gone, at any depth, and order plays no part."""
    stored = await add(
        backend, SystemEventLog, make(SystemEventLog, metadata={"a": {"b": 1, "c": [1, 2]}, "d.e": "x" * 40_000})
    )
    for metadata in ({"a": {"c": []}, "d": {"e": None}}, {}, {"": {"": ""}}, {"a": 1.0}, {"a": 1}):
        stored = await backend.update(SystemEventLog, make.changed(stored, metadata=metadata), stored.etag)
        assert typed((await fetch(backend, SystemEventLog, stored.id)).record["metadata"]) == typed(metadata)


async def test_all_names_together(backend: Backend) -> None:
    """Names that are alike stay apart in one object."""
    await round_trip(backend, {name: number for number, name in enumerate(NAMES)})


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
async def test_numbers(backend: Backend, number: float) -> None:
    """Integers stay integers and floats stay floats, to the last digit and the sign of zero."""
    await round_trip(backend, {"number": number, "list": [number], "nested": {"number": number}})


@pytest.mark.parametrize("value", SHAPES.values(), ids=SHAPES)
async def test_shapes(backend: Backend, value: Any) -> None:
    """Null, booleans, objects and arrays of any shape come back as they are."""
    await round_trip(backend, {"value": value, "list": [value]})


@pytest.mark.parametrize("kind", ["objects", "arrays"])
async def test_deep_nesting(backend: Backend, kind: str) -> None:
    """Metadata nests twenty deep."""
    value: Any = "bottom"
    for _ in range(19):
        value = {"deeper": value} if kind == "objects" else [value]
    await round_trip(backend, {"value": value})


async def test_empty_metadata(backend: Backend) -> None:
    """An empty object is kept."""
    await round_trip(backend, {})


@pytest.mark.parametrize("body", [None, "", "text", 0, 1.0, False, [], {}, [None], {"": None}], ids=repr)
async def test_bodies_of_every_kind(backend: Backend, body: Any) -> None:
    """A field that may be any JSON value keeps what it was, explicit null included."""
    given = make(ApiRequestLog, requestBody=body, responseBody=body)
    await add(backend, ApiRequestLog, given)
    assert typed((await fetch(backend, ApiRequestLog, given.id)).record) == typed(given.record)


@pytest.mark.parametrize(
    "duration", [0, 0.0, -0.0, 5e-324, 1, 1.0, 0.001, 1234.5678, 2**31, MAX_INTEGER, float(MAX_INTEGER)], ids=repr
)
async def test_durations_keep_their_type(backend: Backend, duration: float) -> None:
    """A duration in whole milliseconds stays whole, a broken one broken."""
    given = make(ApiRequestLog, duration=duration)
    await add(backend, ApiRequestLog, given)
    assert typed((await fetch(backend, ApiRequestLog, given.id)).record) == typed(given.record)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, sums=("duration",)))
    assert group.sums["duration"] == duration


async def test_the_largest_file_size(backend: Backend) -> None:
    """An integer field holds 2^53."""
    given = make(ImageGenerationTransaction, fileSize=MAX_INTEGER)
    await add(backend, ImageGenerationTransaction, given)
    assert typed((await fetch(backend, ImageGenerationTransaction, given.id)).record) == typed(given.record)


async def test_state_keeps_any_data(backend: Backend) -> None:
    """The internal model's free data comes back like metadata does."""
    given = make(State, data={"counts": {"2024-01-01T12": {"completed": 3, "ratio": 1.0}}, "_": {"$": [None, True]}})
    await add(backend, State, given)
    assert typed((await fetch(backend, State, given.id)).record) == typed(given.record)


def json_values() -> st.SearchStrategy[Any]:
    """Whatever JSON the service lets through: no NUL, no lone surrogate, no number past a double's digits."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    numbers = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | text | st.sampled_from(list(TEXTS.values()))
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text | st.sampled_from(NAMES), inner, max_size=5),
        max_leaves=20,
    )


@quick
@given(metadata=st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), json_values(), max_size=5))
async def test_any_metadata(backend: Backend, metadata: dict[str, Any]) -> None:
    """Any JSON object comes back equal, types included, after a create and after an update."""
    given = make(SystemEventLog, metadata=metadata)
    stored = await add(backend, SystemEventLog, given)
    assert typed((await fetch(backend, SystemEventLog, given.id)).record) == typed(given.record)
    changed = make.changed(stored, metadata={"again": metadata})
    await backend.update(SystemEventLog, changed, stored.etag)
    assert typed((await fetch(backend, SystemEventLog, given.id)).record) == typed(changed.record)
