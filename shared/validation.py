"""What is wrong with a record, in words for the client, every bad field named and no value repeated.

It checks fields one by one; what fields say of each other stands in `intake`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic_core import ValidationError

from shared import jsontext
from shared.errors import Detail, InvalidError
from shared.models import Record
from shared.query import WireRecord
from shared.timestamps import parse_timestamp

MAX_DETAILS = 100
_MAX_NAME = 128
_TIMES = frozenset({"timestamp", "endTime"})
"""The fields whose values are stored in another form than they may be sent in, and compared with the clock."""

_MESSAGES = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "extra_forbidden": "is not a known field",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be an integer",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_type": "must be an object",
    "string_pattern_mismatch": "must be 1 to 128 of A-Za-z0-9._:-, the first a letter or digit",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
    "value_error": "{error}",
}


def invalid_record(model: type[Record], details: Iterable[Detail]) -> InvalidError:
    """The refusal of a record, with at most 100 details and a last one that says there are more."""
    listed = list(islice(details, MAX_DETAILS + 1))
    if len(listed) > MAX_DETAILS:
        listed[MAX_DETAILS] = Detail("", "and more problems")
    names = ", ".join(dict.fromkeys(detail.field for detail in listed[:10] if detail.field))
    return InvalidError(f"Invalid {model.__name__}: {names or 'the record'}.", listed)


def validate_record(model: type[Record], raw: Mapping[str, Any]) -> WireRecord:
    """The members as `read_members` reads them. Raises InvalidError naming every bad field by its dotted path."""
    members, details = read_members(model, raw)
    if details:
        raise invalid_record(model, details)
    return members


def read_members(model: type[Record], raw: Mapping[str, Any]) -> tuple[WireRecord, list[Detail]]:
    """The good members in wire form, and what is wrong with the others, at most a little over 100 problems.

    A null counts as absent. Fields that only the server sets are refused.
    """
    members = {name: value for name, value in raw.items() if value is not None}
    if model.server_set.isdisjoint(members) and _are_plain(members.values()):
        try:
            return model.check(members), []
        except ValidationError:
            pass  # what is wrong is told field by field below
    return _read_each(model, members)


def _are_plain(values: Iterable[Any]) -> bool:
    for value in values:
        if type(value) is str and value.isascii() and "\0" not in value:
            continue  # most fields of most records
        if not jsontext.is_plain(value, 1):
            return False
    return True


def _read_each(model: type[Record], sent: WireRecord) -> tuple[WireRecord, list[Detail]]:
    details: list[Detail] = []
    members: WireRecord = {}
    for name, value in sent.items():
        found = _field_problems(model, name, value)
        if found:
            details += found
            if len(details) > MAX_DETAILS:
                return {}, details
        else:
            members[name] = value
    try:
        checked = model.check(members)
    except ValidationError as error:
        refused = {first_name(detail) for detail in details}
        details += (detail for detail in _details(error) if first_name(detail) not in refused)
    else:
        return checked, details
    bad = {first_name(detail) for detail in details}
    return {name: _canonical(name, value) for name, value in members.items() if name not in bad}, details


def first_name(detail: Detail) -> str:
    """The top-level field that a detail is about."""
    return detail.field.partition(".")[0]


def _canonical(name: str, value: Any) -> Any:
    return parse_timestamp(value) if name in _TIMES else value


def _field_problems(model: type[Record], name: str, value: Any) -> Sequence[Detail]:
    if name not in model.wire_names:
        return [unknown_field(model, name)]
    if name in model.server_set:
        return [Detail(name, "is set by the server")]
    return list(islice(jsontext.problems(value, name, 1), MAX_DETAILS + 1))


def unknown_field(model: type[Record], name: str) -> Detail:
    """The refusal of a name that the model does not know, cut to 128 characters that can be written."""
    shown = str(name)[:_MAX_NAME].encode("utf-8", "replace").decode()
    return Detail(shown, f"is not a field of {model.__name__}")


def _details(error: ValidationError) -> Iterable[Detail]:
    for problem in error.errors(include_url=False, include_input=False)[: MAX_DETAILS + 1]:
        template = _MESSAGES.get(problem["type"], "is not valid")
        limits = {name: int(value) if isinstance(value, float) else value for name, value in problem.get("ctx", {}).items()}
        yield Detail(".".join(map(str, problem["loc"])), template.format_map(limits))
