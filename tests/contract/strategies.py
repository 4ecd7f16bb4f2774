"""Records with few different values, so that many of them tie, and queries that match some of them; for hypothesis."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from shared.datatypes import MAX_INTEGER
from shared.ids import mint_id
from shared.models import PUBLIC_MODELS, Record
from shared.query import Aggregation, Key, Query, Stored, Value
from tests.support.records import START, filter_values, make

FEW_IDS = [*"aAbB019", "a1", "A-", "b" * 128, mint_id(START, None, bytes), mint_id("2031-01-01T00:00:00.000Z", "s-1", bytes)]
FEW_TIMES = [
    "2023-12-31T23:59:59.999Z",
    "2024-01-01T00:00:00.000Z",
    "2024-01-01T00:00:00.001Z",
    "2024-01-01T12:00:00.000Z",
    "2024-06-01T00:00:00.000Z",
]

models = st.sampled_from(PUBLIC_MODELS)


def texts(*, max_size: int | None = None) -> st.SearchStrategy[str]:
    """Any text that a record may hold."""
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=max_size)


def records_of(model: type[Record]) -> st.SearchStrategy[list[Stored]]:
    """Records of a model, each filterable field and duration there or not, in any order."""
    durations = st.integers(0, MAX_INTEGER // 100) | st.floats(0, 1e6)
    optional: dict[str, st.SearchStrategy[Any]] = {
        **{name: st.sampled_from(filter_values(name)) for name in model.filterable},
        **dict.fromkeys(model.durations, durations),
    }
    fields = st.fixed_dictionaries({"id": st.sampled_from(FEW_IDS), "timestamp": st.sampled_from(FEW_TIMES)}, optional=optional)
    return st.lists(fields, unique_by=lambda record: str(record["id"])).map(
        lambda items: [make(model, **fields) for fields in items]
    )


def filters_of(model: type[Record]) -> st.SearchStrategy[Mapping[str, tuple[Value, ...]]]:
    """None, or some values of some fields."""
    chosen = {name: st.lists(st.sampled_from(filter_values(name)), max_size=3).map(tuple) for name in model.filterable}
    return st.just({}) | st.fixed_dictionaries({}, optional=chosen)


def queries_of(model: type[Record]) -> st.SearchStrategy[Query]:
    """Queries over such records."""
    times = st.none() | st.sampled_from(FEW_TIMES)
    return st.builds(
        Query,
        st.just(model),
        filters=filters_of(model),
        since=times,
        until=times,
        descending=st.booleans(),
        after=st.none() | st.builds(Key, st.sampled_from(FEW_TIMES), st.sampled_from(FEW_IDS)),
        limit=st.integers(1, 12),
    )


def aggregations_of(model: type[Record]) -> st.SearchStrategy[Aggregation]:
    """Aggregations over such records."""
    times = st.none() | st.sampled_from(FEW_TIMES)
    durations = st.lists(st.sampled_from(model.durations), unique=True).map(tuple) if model.durations else st.just(())
    return st.builds(
        Aggregation,
        st.just(model),
        filters=filters_of(model),
        since=times,
        until=times,
        group_by=st.lists(st.sampled_from(model.filterable), max_size=3, unique=True).map(tuple),
        sums=durations,
        histograms=durations,
    )
