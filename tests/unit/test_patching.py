"""JSON merge patch by RFC 7396, and what a patch may do to a record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidError, TooLargeError
from shared.histograms import bucket_of
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record
from shared.patching import Change, apply_patch, merge
from shared.privacy import Privacy
from shared.query import Hidden, Stored

NOW = "2024-06-15T12:00:00.000Z"
CREATED = "2024-06-01T00:00:00.000Z"
PRIVACY = Privacy(b"0123456789abcdef", "truncate")

RFC_7396_APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    """The fifteen examples of RFC 7396, appendix A."""
    assert merge(target, patch) == result


@given(json_values, json_values)
def test_merging_twice_is_merging_once(target: Any, patch: Any) -> None:
    """A patch that is sent again changes nothing more."""
    once = merge(target, patch)
    assert merge(once, patch) == once


@given(json_values, json_values)
def test_merging_leaves_its_arguments_alone(target: Any, patch: Any) -> None:
    """Neither the target nor the patch is changed."""
    before = repr((target, patch))
    merge(target, patch)
    assert repr((target, patch)) == before


def transaction(**fields: Any) -> Stored:
    record = {
        "id": "t",
        "timestamp": CREATED,
        "userIP": "192.0.2.0",
        "sessionId": "s",
        "originalPrompt": "a fox",
        "imageType": "logo",
        "status": "pending",
        "metadata": {"kept": 1, "secretive": True},
        "createdAt": CREATED,
        "updatedAt": CREATED,
    }
    return Stored({**record, **fields}, Hidden("hash", "1", {}), etag="1")


def patched(patch: Any, stored: Stored | None = None, model: type[Record] = ImageGenerationTransaction) -> Change:
    return apply_patch(model, stored or transaction(), patch, PRIVACY, NOW)


def test_a_change_is_dated_and_its_histogram_recomputed() -> None:
    """UpdatedAt moves, the buckets follow the durations, the content hash stays that of the creation."""
    change = patched({"status": "completed", "totalDuration": 250})
    assert change.changed
    assert change.stored.record["updatedAt"] == NOW
    assert change.stored.hidden == Hidden("hash", "1", {"totalDuration": bucket_of(250)})


def test_success_follows_status_and_status_success() -> None:
    """When a patch names one of the two, the other is derived anew."""
    assert patched({"status": "failed"}).stored.record["success"] is False
    completed = transaction(status="completed", success=True)
    assert patched({"success": False}, completed).stored.record["status"] == "failed"
    assert "success" not in patched({"status": "pending"}, completed).stored.record


def test_a_contradiction_is_refused() -> None:
    """A patch that names both must make sense."""
    with pytest.raises(InvalidError) as caught:
        patched({"status": "failed", "success": True})
    assert {detail.field for detail in caught.value.details} == {"status", "success"}


def test_error_occurred_follows_the_status_code_where_it_was_the_default() -> None:
    """A log whose errorOccurred was never said otherwise keeps to the rule."""
    record = {"id": "r", "timestamp": CREATED, "method": "GET", "endpoint": "/", "statusCode": 200, "metadata": {}}
    record |= {"createdAt": CREATED, "updatedAt": CREATED}
    followed = patched({"statusCode": 503}, Stored({**record, "errorOccurred": False}), ApiRequestLog)
    assert followed.stored.record["errorOccurred"] is True
    kept = patched({"statusCode": 503}, Stored({**record, "errorOccurred": True}), ApiRequestLog)
    assert kept.stored.record["errorOccurred"] is True


@pytest.mark.parametrize(
    "patch", [{}, {"originalPrompt": "a fox"}, {"metadata": {}}, {"errorMessage": None}, {"metadata": {"kept": 1}}]
)
def test_an_equal_patch_changes_nothing(patch: dict[str, Any]) -> None:
    """What is already so is not written again."""
    change = patched(patch)
    assert not change.changed
    assert change.stored.record == transaction().record


def test_true_and_one_are_different_values() -> None:
    """A patch from 1 to true is a change, though Python calls them equal."""
    assert patched({"metadata": {"kept": True}}).changed


def test_the_whole_record_may_be_sent_back() -> None:
    """Fields that never change may be sent as they were read."""
    assert not patched(transaction().record).changed
    assert not patched({"timestamp": "2024-06-01T02:00:00+02:00", "userIP": "192.0.2.77:443"}).changed


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", "other", "never changes"),
        ("timestamp", "2024-06-02T00:00:00Z", "never changes"),
        ("sessionId", None, "never changes"),
        ("userIP", "198.51.100.1", "never changes"),
        ("userAgent", "Firefox", "never changes"),
        ("createdAt", NOW, "set by the server"),
        ("updatedAt", None, "set by the server"),
        ("originalPrompt", None, "is required"),
        ("fileSize", -1, "at least 0"),
        ("prompt", "x", "not a field"),
        ("prompt", None, "not a field"),
        ("imageType", "a\0b", "NUL"),
    ],
)
def test_what_a_patch_may_not_do_is_named(field: str, value: Any, says: str) -> None:
    """Immutable, server-set, required, invalid and unknown fields are refused by name."""
    with pytest.raises(InvalidError) as caught:
        patched({field: value, "errorMessage": "fine"})
    [detail] = caught.value.details
    assert detail.field == field
    assert says in detail.message


@pytest.mark.parametrize("patch", [[], "x", 1, None, True])
def test_a_patch_is_an_object(patch: Any) -> None:
    """A merge patch that would replace the record is refused."""
    with pytest.raises(InvalidError):
        patched(patch)


def test_a_patch_may_not_make_a_record_too_large() -> None:
    """The limit of a record holds after a patch."""
    with pytest.raises(TooLargeError):
        patched({"metadata": dict.fromkeys("abcde", "x" * 60000)})


def test_secrets_in_a_patch_are_redacted() -> None:
    """A patch goes through privacy as a create does."""
    change = patched({"metadata": {"password": "hunter2"}})
    assert change.redactions == 1
    assert change.stored.record["metadata"]["password"] == "[REDACTED]"


def test_a_writer_sees_what_it_wrote_and_nothing_else() -> None:
    """The answer holds what the patch named and what changed by it; a key for writing reads nothing."""
    change = patched({"status": "completed", "metadata": {"mine": {"a": 1}}})
    assert change.answer == {
        "id": "t",
        "timestamp": CREATED,
        "status": "completed",
        "success": True,
        "metadata": {"mine": {"a": 1}},
        "createdAt": CREATED,
        "updatedAt": NOW,
    }


@pytest.mark.parametrize("patch", [{"value": "hunter2secret"}, {"name": "password", "value": "hunter2secret"}])
def test_a_secret_that_a_patch_completes_is_redacted(patch: dict[str, Any]) -> None:
    """A value whose name was stored before is read with that name, and counted once."""
    change = patched({"metadata": patch}, transaction(metadata={"name": "password"}))
    assert change.stored.record["metadata"] == {"name": "password", "value": "[REDACTED]"}
    assert (change.answer["metadata"]["value"], change.redactions) == ("[REDACTED]", 1)


def test_a_patch_leaves_the_address_that_is_stored() -> None:
    """The address was made anonymous when the record was created, maybe in another mode."""
    change = apply_patch(
        ImageGenerationTransaction, transaction(), {"metadata": {"a": 1}}, Privacy(b"0123456789abcdef", "drop"), NOW
    )
    assert change.stored.record["userIP"] == "192.0.2.0"


def test_every_bad_field_of_a_patch_is_named() -> None:
    """Unknown, invalid, immutable, contradictory and future fields are refused in one answer."""
    with pytest.raises(InvalidError) as caught:
        patched({"nope": 1, "fileSize": -1, "id": "q", "status": "failed", "success": True, "imageType": "a\0"})
    assert {detail.field for detail in caught.value.details} == {"nope", "fileSize", "id", "status", "success", "imageType"}


def test_a_patch_is_measured_before_it_is_read() -> None:
    """A patch that is larger than any record is refused for its size, whatever else is wrong with it."""
    with pytest.raises(TooLargeError):
        patched({"nope": "\ud800" * 200_000})
