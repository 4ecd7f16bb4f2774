"""Reading list parameters: what may be asked, and cursors that belong to one query."""

import base64
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidError
from shared.ids import ID_PATTERN
from shared.models import PUBLIC_MODELS, ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog
from shared.query import Key, read_list_request, read_window
from shared.timestamps import EARLIEST, from_ms

NOW = "2024-06-15T12:00:00.000Z"
keys = st.builds(Key, st.integers(0, 253_402_300_799_999).map(from_ms), st.from_regex(ID_PATTERN, fullmatch=True))


def refused(model: type[Record], parameters: Mapping[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        read_list_request(model, parameters, NOW)
    return {detail.field: detail.message for detail in caught.value.details}


def test_without_parameters_the_newest_come_first() -> None:
    """The default page is the model's own, newest first, over all time."""
    query = read_list_request(SystemEventLog, {}, NOW).query
    assert (query.limit, query.descending, query.since, query.until, dict(query.filters)) == (20, True, None, None, {})
    assert read_list_request(ApiRequestLog, {}, NOW).query.limit == 10


@pytest.mark.parametrize("model", PUBLIC_MODELS)
def test_every_filterable_field_is_a_parameter(model: type[Record]) -> None:
    """A filter has the type of its field."""
    typed = {"success": "true", "errorOccurred": "false", "statusCode": "404", "level": "error", "status": "failed"}
    texts = {name: typed.get(name, "abc") for name in model.filterable}
    filters = read_list_request(model, texts, NOW).query.filters
    assert set(filters) == set(model.filterable)
    if model is ApiRequestLog:
        assert filters["statusCode"] == (404,)
        assert filters["errorOccurred"] == (False,)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "abc", "", "1.0", "1e2", " 5", "٣", "9" * 30])
def test_limits_outside_1_to_1000_are_refused(limit: str) -> None:
    """A limit is an integer from 1 to 1,000."""
    assert refused(ApiRequestLog, {"limit": limit}) == {"limit": "must be an integer from 1 to 1000"}


def test_every_bad_parameter_is_named() -> None:
    """One answer tells of everything that is wrong."""
    parameters = {"limit": "0", "order": "up", "since": "yesterday", "statusCode": "ok", "errorOccurred": "1", "prompt": "x"}
    assert set(refused(ApiRequestLog, {**parameters, "fields": "id,nothing", "cursor": "!"})) == {
        *parameters,
        "fields",
        "cursor",
    }


def test_a_prompt_is_no_filter() -> None:
    """Only declared fields can be filtered on."""
    assert "originalPrompt" in refused(ImageGenerationTransaction, {"originalPrompt": "a fox"})


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", "2024-06-14T12:00:00.000Z"),
        ("7d", "2024-06-08T12:00:00.000Z"),
        ("90m", "2024-06-15T10:30:00.000Z"),
        ("2w", "2024-06-01T12:00:00.000Z"),
        ("2024-06-01T00:00:00+02:00", "2024-05-31T22:00:00.000Z"),
    ],
)
def test_times_are_absolute_or_ago(text: str, moment: str) -> None:
    """Since and until take RFC 3339 or a time ago."""
    assert read_list_request(ApiRequestLog, {"since": text}, NOW).query.since == moment
    assert read_window({"since": text}, NOW).since == moment


@pytest.mark.parametrize("text", ["0h", "1y", "-1d", "1234567d", "2024-06-01", "2024-06-01T00:00:00", ""])
def test_times_in_other_forms_are_refused(text: str) -> None:
    """A date without offset or a time ago in other units is named."""
    assert set(refused(ApiRequestLog, {"until": text})) == {"until"}


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    """Since must not be after until."""
    assert set(refused(ApiRequestLog, {"since": "1h", "until": "2h"})) == {"since"}
    with pytest.raises(InvalidError):
        read_window({"since": "1h", "until": "2h"}, NOW)


def test_a_window_knows_no_other_parameters() -> None:
    """Statistics take since and until."""
    with pytest.raises(InvalidError, match="limit"):
        read_window({"limit": "5"}, NOW)


@given(keys)
def test_a_cursor_brings_back_its_key(key: Key) -> None:
    """Whatever the last record was, the next page goes on after it."""
    parameters = {"statusCode": "404", "since": "24h"}
    cursor = read_list_request(ApiRequestLog, parameters, NOW).cursor_after(key)
    query = read_list_request(ApiRequestLog, {**parameters, "cursor": cursor}, NOW).query
    assert query.after == key


def test_a_cursor_keeps_the_window_that_its_list_began_with() -> None:
    """A relative window does not move while a client reads page after page."""
    first = read_list_request(ApiRequestLog, {"since": "24h"}, NOW)
    cursor = first.cursor_after(Key(NOW, "a"))
    later = read_list_request(ApiRequestLog, {"since": "24h", "cursor": cursor}, "2024-06-16T00:00:00.000Z")
    assert later.query.since == first.query.since


@pytest.mark.parametrize(
    "parameters",
    [{}, {"statusCode": "500"}, {"statusCode": "404", "order": "asc"}, {"statusCode": "404", "since": "1h"}],
)
def test_a_cursor_of_another_query_is_refused(parameters: dict[str, str]) -> None:
    """Other filters, another order or another window: the cursor is not theirs."""
    cursor = read_list_request(ApiRequestLog, {"statusCode": "404"}, NOW).cursor_after(Key(NOW, "a"))
    assert "other filters" in refused(ApiRequestLog, {**parameters, "cursor": cursor})["cursor"]


def test_a_cursor_works_with_another_limit_and_other_fields() -> None:
    """How much of each record and how many at once may change from page to page."""
    cursor = read_list_request(ApiRequestLog, {"limit": "5"}, NOW).cursor_after(Key(NOW, "a"))
    read_list_request(ApiRequestLog, {"limit": "7", "fields": "id", "cursor": cursor}, NOW)


@given(st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()) | st.text(max_size=60))
def test_anything_else_is_no_cursor(text: str) -> None:
    """A made-up cursor is refused, whatever it decodes to."""
    assert set(refused(ApiRequestLog, {"cursor": text})) == {"cursor"}


@pytest.mark.parametrize("content", ["[]", "[1]", "null", "{}", '[2,"x","y","z",null,null]', "[1,null,null,null,null,null]"])
def test_json_that_is_no_cursor_is_refused(content: str) -> None:
    """A cursor of another version or shape is refused."""
    cursor = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
    assert set(refused(ApiRequestLog, {"cursor": cursor})) == {"cursor"}


def test_a_forged_key_is_refused() -> None:
    """A cursor whose time or id can't be a record's is refused even where the rest of it is right."""
    request = read_list_request(ApiRequestLog, {}, NOW)
    for key in (Key("soon", "a"), Key(NOW, "../etc"), Key(NOW, "")):
        assert set(refused(ApiRequestLog, {"cursor": request.cursor_after(key)})) == {"cursor"}


def test_a_session_s_list_does_not_take_another_session() -> None:
    """A filter that the route itself sets is not a parameter."""
    fixed = {"sessionId": ("one",)}
    request = read_list_request(ImageGenerationTransaction, {"status": "failed"}, NOW, fixed=fixed)
    assert request.query.filters == {"sessionId": ("one",), "status": ("failed",)}
    with pytest.raises(InvalidError, match="sessionId"):
        read_list_request(ImageGenerationTransaction, {"sessionId": "two"}, NOW, fixed=fixed)


def test_a_time_long_ago_is_1970() -> None:
    """The largest relative time is before every record, and no error."""
    assert read_list_request(SystemEventLog, {"since": "999999w"}, NOW).query.since == EARLIEST
    assert read_window({"since": "999999w"}, NOW).since == EARLIEST


@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_a_cursor_that_was_changed_is_refused(place: int) -> None:
    """Neither its place nor its window can be edited."""
    parameters = {"since": "24h", "until": "1h"}
    cursor = read_list_request(SystemEventLog, parameters, NOW).cursor_after(Key(NOW, "a"))
    content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    content[place] = "b" if place == 3 else "2024-01-01T00:00:00.000Z"
    forged = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    assert set(refused(SystemEventLog, {**parameters, "cursor": forged})) == {"cursor"}
