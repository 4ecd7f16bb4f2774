"""What is wrong with a record, in words for the client, every bad field named and no value repeated.

It checks fields one by one; what fields say of each other stands in `intake`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from shared import jsontext
from shared.errors import Detail, InvalidError
from shared.models import Record

MAX_DETAILS = 100
_MAX_NAME = 128

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
    """The refusal of a record, with at most 100 details and a last one that counts the rest."""
    listed = list(details)
    if len(listed) > MAX_DETAILS:
        listed = [*listed[:MAX_DETAILS], Detail("", f"and {len(listed) - MAX_DETAILS} more problems")]
    names = ", ".join(dict.fromkeys(detail.field for detail in listed[:10] if detail.field))
    return InvalidError(f"Invalid {model.__name__}: {names or 'the record'}.", listed)


def validate_record(model: type[Record], raw: Mapping[str, Any]) -> Record:
    """The record that wire members make. Raises InvalidError naming every bad field by its dotted path.

    A null counts as absent. Fields that only the server sets are refused.
    """
    details: list[Detail] = []
    members: dict[str, Any] = {}
    for name, value in raw.items():
        if value is None:
            continue
        found = _field_problems(model, name, value)
        if found:
            details += found
        else:
            members[name] = value
    try:
        record = model.model_validate(members)
    except ValidationError as error:
        refused = {detail.field.partition(".")[0] for detail in details}
        details += (detail for detail in _details(error) if detail.field.partition(".")[0] not in refused)
    if details:
        raise invalid_record(model, details)
    return record


def _field_problems(model: type[Record], name: str, value: Any) -> Sequence[Detail]:
    if name not in model.wire_names:
        return [unknown_field(model, name)]
    if name in model.server_set:
        return [Detail(name, "is set by the server")]
    if type(value) is str and value.isascii() and "\0" not in value:
        return ()  # most fields of most records
    return list(jsontext.problems(value, name, 1))


def unknown_field(model: type[Record], name: str) -> Detail:
    """The refusal of a name that the model does not know, cut to 128 characters that can be written."""
    shown = str(name)[:_MAX_NAME].encode("utf-8", "replace").decode()
    return Detail(shown, f"is not a field of {model.__name__}")


def _details(error: ValidationError) -> Iterable[Detail]:
    for problem in error.errors(include_url=False, include_input=False):
        template = _MESSAGES.get(problem["type"], "is not valid")
        limits = {name: int(value) if isinstance(value, float) else value for name, value in problem.get("ctx", {}).items()}
        yield Detail(".".join(map(str, problem["loc"])), template.format_map(limits))
