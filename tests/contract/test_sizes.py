"""Records of the largest size, whatever they are made of, and fields at their longest."""

from typing import Any

import pytest

from shared import jsontext
from shared.backends.base import Backend
from shared.errors import TooLargeError
from shared.models import MAX_NESTING, MAX_RECORD_BYTES, ApiRequestLog, ImageGenerationTransaction, SystemEventLog
from shared.query import Aggregation, Query, Stored
from tests.contract.steps import add, add_all, fetch, ids, typed, walk
from tests.support.records import make

MODEL = ImageGenerationTransaction


def nested(depth: int, bottom: Any) -> Any:
    """Objects and arrays by turns, so many deep."""
    for level in range(depth):
        bottom = {"deeper": bottom} if level % 2 else [bottom]
    return bottom


def repeated(item: Any, size: int = MAX_RECORD_BYTES - 1_000) -> list[Any]:
    """As many of an item as fit."""
    return [item] * (size // (len(jsontext.encode(item)) + 1))


FILLINGS: dict[str, Any] = {
    "one-string": "x" * (MAX_RECORD_BYTES - 2_000),
    "one-latin-string": "é" * ((MAX_RECORD_BYTES - 2_000) // 2),
    "one-asian-string": "漢" * ((MAX_RECORD_BYTES - 2_000) // 3),
    "one-astral-string": "🦊" * ((MAX_RECORD_BYTES - 2_000) // 4),
    "one-odd-astral-string": "x" + "🦊" * ((MAX_RECORD_BYTES - 2_000) // 4),
    "one-string-of-controls": "\x01" * ((MAX_RECORD_BYTES - 2_000) // 6),
    "one-string-of-noncharacters": "\ufffe\uffff" * ((MAX_RECORD_BYTES - 400) // 6),
    "one-string-of-quotes": '"' * ((MAX_RECORD_BYTES - 2_000) // 2),
    "strings": repeated("plain ascii text"),
    "astral-strings": repeated("🦊🎨"),
    "escapes": repeated('"\\\n'),
    "small-members": {f"{n}": n for n in range(18_000)},
    "members-without-content": {f"k{n}": {} for n in range(20_000)},
    "one-long-name": {"n" * (MAX_RECORD_BYTES - 2_000): None},
    "digits": repeated(7),
    "empty-arrays": repeated([]),
    "numbers": repeated(0.1 + 0.2),
    "nulls": repeated(None),
    "deep": nested(MAX_NESTING - 1, "x" * (MAX_RECORD_BYTES - 2_000)),
    "deep-and-wide": nested(MAX_NESTING - 3, [{f"k{n}": n} for n in range(15_000)]),
}
each_filling = pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS)


def largest(filling: Any) -> Stored:
    """A record of exactly the largest size."""
    stored = make(MODEL, metadata={"filling": filling, "rest": ""})
    rest = MAX_RECORD_BYTES - jsontext.size_of(stored.record)
    stored.record["metadata"]["rest"] = "." * rest
    assert jsontext.size_of(stored.record) == MAX_RECORD_BYTES
    return stored


def sized(text: str, size: int) -> Stored:
    """A record of about so many bytes of JSON, filled with a text."""
    return make(MODEL, metadata={"fill": repeated(text, size - 1_000)})


@each_filling
async def test_a_record_of_exactly_the_largest_size(backend: Backend, filling: Any) -> None:
    """256 KB of any JSON are stored, read, listed, updated and deleted."""
    given = largest(filling)
    stored = await add(backend, MODEL, given)
    assert typed((await fetch(backend, MODEL, given.id)).record) == typed(given.record)
    changed = make.changed(stored, originalPrompt=stored.record["originalPrompt"][::-1])
    updated = await backend.update(MODEL, changed, stored.etag)
    assert (await fetch(backend, MODEL, given.id)) == updated
    assert typed(updated.record) == typed(changed.record)
    assert (await backend.find(Query(MODEL, {"imageType": ("logo",)}))).items == [updated]
    await backend.delete(MODEL, given.id, updated.etag)
    assert await backend.count(Query(MODEL)) == 0


async def test_the_largest_records_among_small_ones(backend: Backend) -> None:
    """A batch of small and large records is stored, found again as duplicates, walked through and purged."""
    given = [largest("🦊" * 60_000) if n % 4 == 0 else make(MODEL) for n in range(12)]
    stored = await add_all(backend, MODEL, given)
    again = await backend.create_many(MODEL, given[::-1])
    assert [outcome.stored for outcome in again] == stored[::-1]
    assert await walk(backend, Query(MODEL, descending=False, limit=5, max_bytes=300_000)) == stored
    assert await backend.purge(MODEL, ids(stored[::4])) == 3
    assert await walk(backend, Query(MODEL, limit=5)) == [item for item in stored[::-1] if item not in stored[::4]]


async def test_a_record_that_only_some_databases_hold(backend: Backend) -> None:
    """Far past the service's limit a record is stored or refused for its size; those beside it in the batch are stored."""
    given = make.many(MODEL, 3)
    given[1] = make(MODEL, metadata={"filling": "x" * (17 * 1024 * 1024)})
    outcomes = await backend.create_many(MODEL, given)
    assert [outcome.existed for outcome in outcomes] == [False] * 3
    for one, outcome in zip(given, outcomes, strict=True):
        assert outcome.error is None or (one is given[1] and isinstance(outcome.error, TooLargeError))
        assert (await backend.find_by_id(MODEL, one.id) is None) == (outcome.error is not None)


async def test_a_record_that_grows_and_shrinks(backend: Backend) -> None:
    """An update to the largest size and back leaves nothing of what was there before."""
    stored = await add(backend, MODEL, make(MODEL))
    large = largest("🦊" * 60_000).record["metadata"]
    for metadata in ({"filling": "x" * 50_000}, large, {"filling": "x" * 33_000, "rest": "y"}, {}, large, {"rest": None}):
        stored = await backend.update(MODEL, make.changed(stored, metadata=metadata), stored.etag)
        assert await backend.find_by_id(MODEL, stored.id) == stored
        assert typed(stored.record["metadata"]) == typed(metadata)


async def test_a_batch_of_large_records(backend: Backend) -> None:
    """Four megabytes go in at once and come out page by page."""
    given = [sized("x" * 50, 200 * 1024) for _ in range(20)]
    assert sum(jsontext.size_of(stored.record) for stored in given) > 4_000_000
    stored = await add_all(backend, MODEL, given)
    query = Query(MODEL, descending=False, limit=1_000, max_bytes=1_000_000)
    assert ids(await walk(backend, query)) == ids(stored)


@pytest.mark.parametrize("character", ["x", "é", "漢", "🦊", "'", "\\", "\x01"], ids=ascii)
async def test_every_filterable_field_at_its_longest(backend: Backend, character: str) -> None:
    """Fields at their longest are filtered on, told apart by their last character, and grouped, all at once."""
    name, endpoint, session = character * 256, character * 2_048, "s" * 128
    longest = {"sessionId": session, "method": character * 32, "endpoint": endpoint}
    shorter = {field: text[:-1] for field, text in longest.items()}
    requests = await add_all(backend, ApiRequestLog, [make(ApiRequestLog, **longest), make(ApiRequestLog, **shorter)])
    page = await backend.find(Query(ApiRequestLog, {field: (text,) for field, text in longest.items()}))
    assert page.items == requests[:1]
    groups = await backend.aggregate(Aggregation(ApiRequestLog, group_by=("endpoint", "method", "sessionId")))
    assert {group.key for group in groups} == {
        (fields["endpoint"], fields["method"], fields["sessionId"]) for fields in (longest, shorter)
    }
    fields = dict.fromkeys(("eventType", "component", "environment"), name)
    [event] = await add_all(backend, SystemEventLog, [make(SystemEventLog, id="i" * 128, **fields)])
    assert (await backend.find(Query(SystemEventLog, {field: (text,) for field, text in fields.items()}))).items == [event]
