"""Steps that contract tests share: storing, walking pages, comparing. Importable by the other process too."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shared.backends.base import Backend, Outcome
from shared.errors import PreconditionFailedError
from shared.models import MODELS, Record
from shared.query import Query, Stored
from tests.support.records import make

each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
each_order = pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
each_filter = pytest.mark.parametrize(
    ("model", "field"),
    [pytest.param(model, field, id=f"{name}-{field}") for name, model in MODELS.items() for field in model.filterable],
)

quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def kept(outcome: Outcome) -> Stored:
    """What the database has according to an outcome without an error."""
    assert outcome.error is None
    assert outcome.stored is not None
    assert outcome.stored.etag
    return outcome.stored


async def add(backend: Backend, model: type[Record], stored: Stored) -> Stored:
    """Store a record that is new; gives it with its etag."""
    outcome = await backend.create(model, stored)
    assert not outcome.existed
    return kept(outcome)


async def add_all(backend: Backend, model: type[Record], records: Sequence[Stored]) -> list[Stored]:
    """Store records that are all new, as many at a time as the service does."""
    outcomes = [
        outcome
        for start in range(0, len(records), 1_000)
        for outcome in await backend.create_many(model, records[start : start + 1_000])
    ]
    assert not any(outcome.existed for outcome in outcomes)
    return [kept(outcome) for outcome in outcomes]


async def fetch(backend: Backend, model: type[Record], record_id: str) -> Stored:
    """The record of an id that must be there."""
    found = await backend.find_by_id(model, record_id)
    assert found is not None
    return found


async def walk(backend: Backend, query: Query) -> list[Stored]:
    """All records of a query, page after page."""
    items: list[Stored] = []
    while True:
        page = await backend.find(query)
        assert len(page.items) <= query.limit
        items += page.items
        if not page.more:
            return items
        place = page.next
        assert place is not None
        assert query.after is None or (place < query.after if query.descending else place > query.after)
        query = replace(query, after=place)


async def clear(backend: Backend, *models: type[Record]) -> None:
    """Remove every record of the models, for a test that runs many times on one database."""
    for model in models:
        while (await backend.delete_where(Query(model, limit=1_000))).more:
            pass


async def increment(backend: Backend, model: type[Record], record_id: str, times: int) -> int:
    """Count up in a record's metadata, reading again whenever another was faster; gives how often that happened."""
    lost = 0
    for _ in range(times):
        while True:
            found = await fetch(backend, model, record_id)
            changed = make.changed(found, metadata={"n": found.record["metadata"]["n"] + 1})
            try:
                await backend.update(model, changed, found.etag)
            except PreconditionFailedError:
                lost += 1
            else:
                break
    return lost


def ids(items: Iterable[Stored]) -> list[str]:
    """The ids of records, in their order."""
    return [item.id for item in items]


def typed(value: Any) -> Any:
    """A JSON value with the type and sign of every scalar: 1, 1.0 and True differ, and 0.0 and -0.0; member order does not."""
    if isinstance(value, dict):
        return {name: typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, repr(value)
