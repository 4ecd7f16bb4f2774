"""Which records a list holds, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.ids import mint_id
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.query import Page, Query
from tests.contract.reference import matches, select
from tests.contract.steps import add, add_all, clear, each_filter, each_model, each_order, ids, quick
from tests.contract.strategies import models, queries_of, records_of
from tests.support.records import START, filter_values, make


async def found(backend: Backend, query: Query) -> list[str]:
    """The ids of one page."""
    return ids((await backend.find(query)).items)


@each_model
async def test_an_empty_model(backend: Backend, model: type[Record]) -> None:
    """A model without records has an empty page and no more."""
    assert await backend.find(Query(model)) == Page([], more=False)


@each_model
async def test_newest_first(backend: Backend, model: type[Record]) -> None:
    """Lists are in descending order of time unless asked otherwise."""
    given = make.many(model, 5)
    await add_all(backend, model, given)
    assert await found(backend, Query(model)) == ids(given[::-1])


@each_order
async def test_order_is_by_time_and_not_by_arrival(backend: Backend, *, descending: bool) -> None:
    """Records that arrive in any order are listed by their timestamps."""
    given = make.many(SystemEventLog, 9)
    await add_all(backend, SystemEventLog, given[4:])
    await add_all(backend, SystemEventLog, given[:4][::-1])
    assert await found(backend, Query(SystemEventLog, descending=descending)) == ids(given[::-1] if descending else given)


@each_order
async def test_order_over_days_and_years(backend: Backend, *, descending: bool) -> None:
    """The order goes over days, months and years."""
    days = ["1970-01-01", "1999-12-31", "2000-01-01", "2023-12-31", "2024-02-29", "2024-03-01", "2099-12-31", "9999-12-31"]
    stored = [make(SystemEventLog, timestamp=f"{day}T23:59:59.999Z") for day in days]
    await add_all(backend, SystemEventLog, stored[::2] + stored[1::2])
    assert await found(backend, Query(SystemEventLog, descending=descending)) == ids(stored[::-1] if descending else stored)


@each_order
async def test_ties_are_ordered_by_id_in_byte_order(backend: Backend, *, descending: bool) -> None:
    """On one millisecond ids order by their bytes: digits, capitals, small letters, and a prefix before the longer one."""
    names = ["0", "00", "1", "10", "9", "A", "A-b", "A.b", "A1", "A:b", "AA", "A_b", "Aa", "B", "Z", "a", "a-", "aA", "b", "z"]
    stored = [make(SystemEventLog, id=name, timestamp=START) for name in names]
    await add_all(backend, SystemEventLog, stored[1::2] + stored[::2])
    expected = sorted(names, key=str.encode, reverse=descending)
    assert await found(backend, Query(SystemEventLog, descending=descending, limit=50)) == expected


@each_order
async def test_order_goes_by_the_timestamp_and_not_by_the_time_of_the_id(backend: Backend, *, descending: bool) -> None:
    """A client's UUIDv7 may carry any time without moving its record in lists."""
    times = ["2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z", "2024-01-03T00:00:00.000Z"]
    stored = [
        make(SystemEventLog, id=mint_id(of_id, None, bytes), timestamp=time)
        for time, of_id in zip(times, ["2031-01-01T00:00:00.000Z", times[0], "2010-01-01T00:00:00.000Z"], strict=True)
    ]
    await add_all(backend, SystemEventLog, stored)
    assert await found(backend, Query(SystemEventLog, descending=descending)) == ids(stored[::-1] if descending else stored)


@each_filter
async def test_every_filterable_field_is_filtered_on(backend: Backend, model: type[Record], field: str) -> None:
    """Each value of a filterable field gives the records that have it, and none that lack the field."""
    values = filter_values(field)
    given = [make(model, **{field: value}) for value in values for _ in range(2)]
    if not model.fields[field].required:
        plain = make(model)
        plain.record.pop(field, None)
        given.append(plain)
    await add_all(backend, model, given)
    for value in values:
        query = Query(model, {field: (value,)}, descending=False)
        assert await found(backend, query) == ids(select(given, query))


@each_filter
async def test_any_of_several_values(backend: Backend, model: type[Record], field: str) -> None:
    """A filter with several values gives the records that have any of them."""
    values = filter_values(field)
    given = [make(model, **{field: value}) for value in (*values, *values)]
    await add_all(backend, model, given)
    query = Query(model, {field: (values[1], values[0], values[1])}, descending=False)
    assert await found(backend, query) == ids(select(given, query))


async def test_a_filter_without_values(backend: Backend) -> None:
    """No record has any of no values."""
    await add(backend, SystemEventLog, make(SystemEventLog, level="info"))
    query = Query(SystemEventLog, {"level": ()})
    assert await backend.find(query) == Page([], more=False)
    assert await backend.count(query) == 0


async def test_a_filter_that_nothing_passes(backend: Backend) -> None:
    """A value that no record has gives an empty page."""
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 3))
    assert await backend.find(Query(SystemEventLog, {"component": ("unknown",)})) == Page([], more=False)


async def test_combined_filters(backend: Backend) -> None:
    """Records pass all the filters of a query."""
    given = [
        make(ImageGenerationTransaction, status=status, sessionId=session, imageType=kind)
        for status in ("completed", "failed")
        for session in ("s-1", "s-2")
        for kind in ("logo", "icon")
    ]
    await add_all(backend, ImageGenerationTransaction, given)
    query = Query(ImageGenerationTransaction, {"status": ("failed",), "sessionId": ("s-1", "s-2"), "imageType": ("icon",)})
    assert await found(backend, query) == ids([given[7], given[5]])


async def test_a_thousand_values_in_a_filter(backend: Backend) -> None:
    """A filter may name as many values as a page has records."""
    given = [make(ImageGenerationTransaction, sessionId=f"s-{n}") for n in range(0, 1_500, 100)]
    await add_all(backend, ImageGenerationTransaction, given)
    query = Query(ImageGenerationTransaction, {"sessionId": tuple(f"s-{n}" for n in range(1_000))}, descending=False, limit=50)
    assert await found(backend, query) == ids(given[:10])


@each_order
@pytest.mark.parametrize(("since", "until", "kept"), [
    (None, None, slice(0, 5)),
    (1, None, slice(1, 5)),
    (None, 3, slice(0, 3)),
    (1, 3, slice(1, 3)),
    (2, 2, slice(0, 0)),
    (4, None, slice(4, 5)),
    (None, 0, slice(0, 0)),
])  # fmt: skip
async def test_windows(backend: Backend, since: int | None, until: int | None, kept: slice, *, descending: bool) -> None:
    """A window includes its `since` to the millisecond and excludes its `until`."""
    given = make.many(SystemEventLog, 5)
    await add_all(backend, SystemEventLog, given)
    query = Query(
        SystemEventLog,
        since=None if since is None else given[since].timestamp,
        until=None if until is None else given[until].timestamp,
        descending=descending,
    )
    assert await found(backend, query) == ids(given[kept][::-1] if descending else given[kept])


async def test_windows_to_the_millisecond(backend: Backend) -> None:
    """Neighbouring milliseconds around midnight are told apart."""
    times = [
        "2024-01-01T23:59:59.998Z",
        "2024-01-01T23:59:59.999Z",
        "2024-01-02T00:00:00.000Z",
        "2024-01-02T00:00:00.001Z",
    ]
    given = [make(SystemEventLog, timestamp=time) for time in times]
    await add_all(backend, SystemEventLog, given)
    assert await found(backend, Query(SystemEventLog, since=times[1], until=times[3])) == ids([given[2], given[1]])


async def test_windows_far_from_any_record(backend: Backend) -> None:
    """Windows before the first and after the last record are empty, wide ones hold everything."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    assert await found(backend, Query(SystemEventLog, until="1970-01-01T00:00:00.000Z")) == []
    assert await found(backend, Query(SystemEventLog, since="9999-12-31T23:59:59.999Z")) == []
    wide = Query(SystemEventLog, since="1970-01-01T00:00:00.000Z", until="9999-12-31T23:59:59.999Z")
    assert await found(backend, wide) == [stored.id]


async def test_windows_and_filters(backend: Backend) -> None:
    """A query's window and filters both hold."""
    given = [make(UserSession, country=country) for country in ("NL", "BE", "NL", "BE", "NL")]
    await add_all(backend, UserSession, given)
    query = Query(UserSession, {"country": ("NL",)}, since=given[1].timestamp, until=given[4].timestamp)
    assert await found(backend, query) == [given[2].id]


async def test_records_of_other_models_stay_out(backend: Backend) -> None:
    """A list holds one model's records."""
    await add(backend, ApiRequestLog, make(ApiRequestLog, sessionId="s-1"))
    event = await add(backend, SystemEventLog, make(SystemEventLog, sessionId="s-1"))
    assert (await backend.find(Query(SystemEventLog, {"sessionId": ("s-1",)}))).items == [event]


@each_model
async def test_count(backend: Backend, model: type[Record]) -> None:
    """A count without filters is of all the model's records."""
    assert await backend.count(Query(model)) == 0
    await add_all(backend, model, make.many(model, 7))
    assert await backend.count(Query(model)) == 7


async def test_count_of_filters_and_window(backend: Backend) -> None:
    """A count is of the records that pass the filters from `since` to before `until`."""
    given = [make(SystemEventLog, level=level) for level in ("info", "warn", "info", "info", "warn", "info")]
    await add_all(backend, SystemEventLog, given)
    query = Query(SystemEventLog, {"level": ("info",)}, since=given[2].timestamp, until=given[5].timestamp)
    assert await backend.count(query) == 2


async def test_count_ignores_paging(backend: Backend) -> None:
    """Place, limit and size of a page play no part in a count."""
    given = make.many(SystemEventLog, 7)
    await add_all(backend, SystemEventLog, given)
    assert await backend.count(Query(SystemEventLog, after=given[3].key, limit=1, max_bytes=1)) == 7


@quick
@given(data=st.data(), model=models)
async def test_any_query_gives_what_it_means(backend: Backend, model: type[Record], data: st.DataObject) -> None:
    """Pages and counts are those of a sorted and filtered list, for any records of any model and any query."""
    await clear(backend, model)
    stored = data.draw(records_of(model))
    await add_all(backend, model, stored)
    for query in data.draw(st.lists(queries_of(model), min_size=1, max_size=8)):
        expected = select(stored, query)
        page = await backend.find(query)
        assert ids(page.items) == ids(expected[: query.limit])
        assert page.more == (len(expected) > query.limit)
        assert await backend.count(query) == sum(matches(record, query) for record in stored)
