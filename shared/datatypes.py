"""What the fields of records can hold and what a model says of each: the vocabulary that `models` is written in.

Types are core schemas of pydantic's engine, written down rather than derived from annotations: a cold start pays for no
model class, and what is checked is the JSON object itself, which every layer works with.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core import core_schema as core

from shared.ids import ID_PATTERN
from shared.timestamps import parse_timestamp

MAX_INTEGER = 2**53
"""Integers past this lose digits in JSON readers and databases that keep numbers as doubles (RFC 7493, section 2.2)."""

_STRICT = core.CoreConfig(strict=True, allow_inf_nan=False)


class Field(NamedTuple):
    """One field of a model.

    `filterable`: lists filter on it by equality, and every backend indexes it. `immutable`: it never changes after the
    record was created. `server_set`: a client that sends it is refused. `duration`: it is kept in histograms. One that is
    neither `required` nor has a `default` may be null, which counts as absent.
    """

    schema: CoreSchema
    required: bool = False
    default: Any = None
    filterable: bool = False
    immutable: bool = False
    server_set: bool = False
    duration: bool = False


def members(fields: Mapping[str, Field], name: str) -> CoreSchema:
    """The schema of an object with these fields and no others; `name` is what documentation calls it."""
    typed = {wire_name: core.typed_dict_field(_member(field), required=field.required) for wire_name, field in fields.items()}
    return core.typed_dict_schema(typed, cls_name=name, extra_behavior="forbid", config=_STRICT)


def _member(field: Field) -> CoreSchema:
    may_be_null = not field.required and field.default is None and field.schema is not JSON
    return core.nullable_schema(field.schema) if may_be_null else field.schema


def validator(schema: CoreSchema) -> SchemaValidator:
    """Checks values strictly: nothing is converted but what the schema's own functions convert."""
    return SchemaValidator(schema, _STRICT)


def _told(**told: Any) -> dict[str, Any]:
    """What documentation says of a type beyond its schema."""
    return {"pydantic_js_updates": told}


def _lower_level(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    level = value.lower()
    return {"warning": "warn", "fatal": "error", "critical": "error"}.get(level, level)


def _keep_integer(value: Any, validate: Callable[[Any], float]) -> float:
    number = validate(value)
    return value if type(value) is int else number


def _plain_header(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise ValueError("must be a string, a number or a list of them")
    return value


JSON = core.any_schema()
"""What JSON may hold is for `jsontext.problems` to say."""
OBJECT = core.dict_schema(core.str_schema(), JSON)
HEADERS = core.dict_schema(core.str_schema(), core.no_info_after_validator_function(_plain_header, JSON))
FLAG = core.bool_schema()
ID = core.str_schema(
    pattern=rf"^{ID_PATTERN}$", metadata=_told(description="1 to 128 of A-Za-z0-9._:-, the first a letter or digit")
)
NAME = core.str_schema(min_length=1, max_length=256)
LINE = core.str_schema(max_length=2_048)
TEXT = core.str_schema(max_length=65_536)
TIMESTAMP = core.no_info_after_validator_function(parse_timestamp, core.str_schema(), metadata=_told(format="date-time"))
SERVER_TIMESTAMP = core.str_schema(metadata=_told(format="date-time", readOnly=True))
COUNTER = core.int_schema(ge=0, metadata=_told(readOnly=True))
BYTES = core.int_schema(ge=0, le=MAX_INTEGER, metadata=_told(description="bytes"))
PIXELS = core.int_schema(ge=0, le=1_000_000, metadata=_told(description="pixels"))
MILLISECONDS = core.no_info_wrap_validator_function(
    _keep_integer, core.float_schema(ge=0, le=MAX_INTEGER), metadata=_told(description="milliseconds")
)
DIMENSIONS = members({name: Field(PIXELS, required=True) for name in ("width", "height")}, "Dimensions")
STATUS = core.literal_schema(["pending", "completed", "failed"])
LEVEL = core.no_info_before_validator_function(_lower_level, core.literal_schema(["debug", "info", "warn", "error"]))
METHOD = core.str_schema(min_length=1, max_length=32)
ENDPOINT = core.str_schema(min_length=1, max_length=2_048)
STATUS_CODE = core.int_schema(ge=100, le=599)
