"""Counts, least and greatest times, sums and histograms, grouped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backends.base import Backend
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog
from shared.query import Aggregation, Group, Hidden, Stored, Value
from tests.contract.reference import aggregate, in_order
from tests.contract.steps import add, add_all, clear, each_filter, each_model, quick
from tests.contract.strategies import aggregations_of, models, records_of
from tests.support.records import filter_values, make

MODEL = ImageGenerationTransaction


async def agree(backend: Backend, aggregation: Aggregation, given: list[Stored]) -> None:
    """Check an aggregation against the one computed over the records."""
    assert in_order(await backend.aggregate(aggregation)) == in_order(aggregate(given, aggregation))


@each_model
async def test_nothing_has_no_groups(backend: Backend, model: type[Record]) -> None:
    """Without records there is no group, not even an empty one."""
    assert await backend.aggregate(Aggregation(model)) == []
    assert await backend.aggregate(Aggregation(model, group_by=model.filterable[:1])) == []


@each_model
async def test_one_group_of_everything(backend: Backend, model: type[Record]) -> None:
    """Without grouping there is one group with an empty key, the count, the least and the greatest time."""
    given = make.many(model, 5)
    await add_all(backend, model, given[::-1])
    assert await backend.aggregate(Aggregation(model)) == [Group((), 5, given[0].timestamp, given[-1].timestamp)]


@each_filter
async def test_grouping_by_every_filterable_field(backend: Backend, model: type[Record], field: str) -> None:
    """Each value of a field is a group, told apart by case and kept in its type."""
    values = filter_values(field)
    given = [make(model, **{field: value}) for index, value in enumerate(values) for _ in range(index + 1)]
    await add_all(backend, model, given)
    groups = await backend.aggregate(Aggregation(model, group_by=(field,)))
    counts = [(type(group.key[0]), group.key[0], group.count) for group in groups]
    assert sorted(counts, key=str) == sorted(((type(value), value, n + 1) for n, value in enumerate(values)), key=str)


async def test_records_without_the_field_are_a_group(backend: Backend) -> None:
    """Where records lack the field, the key is None."""
    given = [make(SystemEventLog, component="one"), make(SystemEventLog), make(SystemEventLog)]
    await add_all(backend, SystemEventLog, given)
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component",)))
    assert {group.key: group.count for group in groups} == {("one",): 1, (None,): 2}


async def test_group_keys_that_look_like_nothing(backend: Backend) -> None:
    """No field, an empty string and words for nothing are groups apart."""
    names = ["", " ", "None", "null", "NULL", "nil", "undefined", "false", "0"]
    given = [make(SystemEventLog, component=name or "?") for n, name in enumerate(names) for _ in range(n + 1)]
    given[0].record["component"] = ""  # which the service lets nobody send
    given += [make(SystemEventLog) for _ in range(20)]
    await add_all(backend, SystemEventLog, given)
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component",)))
    expected: dict[tuple[Value | None, ...], int] = {(name,): n for n, name in enumerate(names, 1)}
    assert {group.key: group.count for group in groups} == {(None,): 20, **expected}
    pairs = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component", "environment")))
    assert {group.key for group in pairs} == {(None, None), *((name, None) for name in names)}


async def test_keys_of_several_fields_do_not_run_together(backend: Backend) -> None:
    """Combinations whose values make the same text in a row are groups apart."""
    pairs = [
        ("a", "b c"),
        ("a b", "c"),
        ("a,b", "c"),
        ("a", "b,c"),
        ("a|b", "c"),
        ("a", "b|c"),
        ("a\x1fb", "c"),
        ("a", "b\x1fc"),
    ]
    pairs += [('a","b', "c"), ("a", 'b","c'), ("A", "b c"), ("a ", "b c")]
    given = [make(SystemEventLog, component=component, environment=environment) for component, environment in pairs]
    await add_all(backend, SystemEventLog, given)
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component", "environment")))
    assert sorted(group.key for group in groups) == sorted(pairs)


async def test_grouping_by_two_fields(backend: Backend) -> None:
    """Keys stand in the order of the fields asked for, each combination that occurs once."""
    pairs = [("s-1", True), ("s-1", False), ("s-1", True), ("s-2", None), (None, None), (None, True)]
    given = []
    for session, success in pairs:
        fields = {"sessionId": session, "success": success}
        given.append(make(MODEL, **{name: value for name, value in fields.items() if value is not None}))
    await add_all(backend, MODEL, given)
    groups = await backend.aggregate(Aggregation(MODEL, group_by=("sessionId", "success")))
    counts = {group.key: group.count for group in groups}
    assert counts == {("s-1", True): 2, ("s-1", False): 1, ("s-2", None): 1, (None, None): 1, (None, True): 1}
    turned = await backend.aggregate(Aggregation(MODEL, group_by=("success", "sessionId")))
    assert {group.key[::-1]: group.count for group in turned} == counts


async def test_times_of_each_group(backend: Backend) -> None:
    """Least and greatest time are the group's own."""
    given = [make(SystemEventLog, level=level) for level in ("info", "warn", "info", "warn", "warn")]
    await add_all(backend, SystemEventLog, given)
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("level",)))
    assert {group.key: (group.least, group.greatest) for group in groups} == {
        ("info",): (given[0].timestamp, given[2].timestamp),
        ("warn",): (given[1].timestamp, given[4].timestamp),
    }


async def test_sums(backend: Backend) -> None:
    """Sums add whole and broken milliseconds of the records that have the field."""
    given = [make(ApiRequestLog, duration=value) for value in (10, 2.5, 0, 0.25)] + [make(ApiRequestLog)]
    await add_all(backend, ApiRequestLog, given)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, sums=("duration",)))
    assert dict(group.sums) == {"duration": pytest.approx(12.75)}


async def test_a_sum_that_no_record_has(backend: Backend) -> None:
    """The sum of a field that no record of the group has is 0."""
    await add(backend, ApiRequestLog, make(ApiRequestLog))
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, sums=("duration",)))
    assert dict(group.sums) == {"duration": 0}


async def test_several_sums_per_group(backend: Backend) -> None:
    """Each group has a sum for each field asked for."""
    given = [make(MODEL, apiModel=name, totalDuration=n, imageGenerationDuration=n * 10) for n, name in enumerate("abab", 1)]
    await add_all(backend, MODEL, given)
    await agree(backend, Aggregation(MODEL, group_by=("apiModel",), sums=("totalDuration", "imageGenerationDuration")), given)


async def test_large_sums_stay_exact(backend: Backend) -> None:
    """Whole milliseconds add up exactly as long as doubles can hold them."""
    given = [make(ApiRequestLog, duration=2**50 + n) for n in range(4)]
    await add_all(backend, ApiRequestLog, given)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, sums=("duration",)))
    assert group.sums["duration"] == 2**52 + 6


async def test_histograms_count_the_hidden_buckets(backend: Backend) -> None:
    """A histogram counts the bucket numbers stored beside the records, whatever the durations are."""
    numbers = [7, 7, 300, 0, -12]
    given = [make(ApiRequestLog, Hidden(buckets={"duration": number}), duration=5) for number in numbers]
    given.append(make(ApiRequestLog, Hidden(), duration=5))
    await add_all(backend, ApiRequestLog, given)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, histograms=("duration",)))
    assert (group.count, group.histograms) == (6, {"duration": {7: 2, 300: 1, 0: 1, -12: 1}})


async def test_a_histogram_that_no_record_has(backend: Backend) -> None:
    """The histogram of a field that no record of the group has is empty."""
    await add(backend, ApiRequestLog, make(ApiRequestLog))
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, histograms=("duration",)))
    assert group.histograms == {"duration": {}}


async def test_several_histograms_per_group(backend: Backend) -> None:
    """Each group has a histogram for each field asked for, beside its sums."""
    given = [
        make(MODEL, status=status, totalDuration=n * 100, imageProcessingDuration=n % 3)
        for n, status in enumerate(("completed", "failed", "completed") * 5)
    ]
    await add_all(backend, MODEL, given)
    both = ("totalDuration", "imageProcessingDuration")
    await agree(backend, Aggregation(MODEL, group_by=("status",), sums=both, histograms=both), given)


async def test_histograms_follow_updates_and_deletes(backend: Backend) -> None:
    """A histogram counts the records that there are, as they are."""
    first, second = await add_all(
        backend, ApiRequestLog, [make(ApiRequestLog, Hidden(buckets={"duration": n})) for n in (1, 2)]
    )
    changed = Stored(first.record, Hidden(buckets={"duration": 9}))
    await backend.update(ApiRequestLog, changed, first.etag)
    await backend.delete(ApiRequestLog, second.id)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, histograms=("duration",)))
    assert group.histograms == {"duration": {9: 1}}


async def test_aggregates_pass_filters(backend: Backend) -> None:
    """Only records that pass every filter are grouped."""
    given = [
        make(ApiRequestLog, method=method, statusCode=code, errorOccurred=code == 500)
        for method in ("GET", "POST")
        for code in (200, 404, 500)
    ]
    await add_all(backend, ApiRequestLog, given)
    filters: dict[str, tuple[Value, ...]] = {"errorOccurred": (False,), "method": ("GET",), "statusCode": (200, 500)}
    await agree(backend, Aggregation(ApiRequestLog, filters, group_by=("statusCode",)), given)


async def test_aggregates_keep_to_their_window(backend: Backend) -> None:
    """`since` is included and `until` is not."""
    given = make.many(SystemEventLog, 6)
    await add_all(backend, SystemEventLog, given)
    [group] = await backend.aggregate(Aggregation(SystemEventLog, since=given[1].timestamp, until=given[4].timestamp))
    assert (group.count, group.least, group.greatest) == (3, given[1].timestamp, given[3].timestamp)


async def test_groups_of_a_page_of_sessions(backend: Backend) -> None:
    """A thousand sessions are asked for at once and each has its own figures; the others stay out."""
    given = [make(MODEL, sessionId=f"s-{n % 1_100}", status=("completed", "failed")[n // 1_100]) for n in range(2_000)]
    await add_all(backend, MODEL, given)
    wanted = tuple(f"s-{n}" for n in range(1_000))
    await agree(backend, Aggregation(MODEL, {"sessionId": wanted}, group_by=("sessionId", "status")), given)


async def test_a_filter_without_values_has_no_groups(backend: Backend) -> None:
    """No record has any of no sessions."""
    await add(backend, MODEL, make(MODEL, sessionId="s-1"))
    assert await backend.aggregate(Aggregation(MODEL, {"sessionId": ()}, group_by=("sessionId",))) == []


async def test_aggregates_of_other_models_stay_apart(backend: Backend) -> None:
    """An aggregate is over one model's records."""
    await add(backend, ApiRequestLog, make(ApiRequestLog, sessionId="s-1"))
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2, sessionId="s-1"))
    [group] = await backend.aggregate(Aggregation(SystemEventLog, {"sessionId": ("s-1",)}))
    assert group.count == 2


@quick
@given(data=st.data(), model=models)
async def test_any_aggregate_is_what_it_means(backend: Backend, model: type[Record], data: st.DataObject) -> None:
    """Groups are those of a plain loop over the records, for any records of any model and any aggregation."""
    await clear(backend, model)
    stored = data.draw(records_of(model))
    await add_all(backend, model, stored)
    for asked in data.draw(st.lists(aggregations_of(model), min_size=1, max_size=4)):
        groups = await backend.aggregate(asked)
        for group, expected in zip(in_order(groups), in_order(aggregate(stored, asked)), strict=True):
            assert group.sums == pytest.approx(expected.sums)
            assert (group.key, group.count, group.least, group.greatest, group.histograms) == (
                expected.key, expected.count, expected.least, expected.greatest, expected.histograms
            )  # fmt: skip
