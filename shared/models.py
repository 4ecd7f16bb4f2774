"""The four record models and the internal `State`, each the one declaration of its fields.

What can be filtered on, what never changes, what only the server sets and which fields are durations are declared here
as `Annotated` metadata; query parameters, backends' indexes and the OpenAPI document follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WrapValidator
from pydantic.alias_generators import to_camel

from shared.ids import ID_PATTERN
from shared.timestamps import parse_timestamp

MAX_RECORD_BYTES = 256 * 1024
MAX_NESTING = 20
MAX_INTEGER = 2**53
"""Integers past this lose digits in JSON readers and databases that keep numbers as doubles (RFC 7493, section 2.2)."""


@dataclass(frozen=True, slots=True)
class Filterable:
    """The field can be filtered on by equality, and every backend indexes it."""


@dataclass(frozen=True, slots=True)
class Immutable:
    """The field never changes after the record was created."""


@dataclass(frozen=True, slots=True)
class ServerSet:
    """The server sets the field; a client that sends it is refused."""


@dataclass(frozen=True, slots=True)
class Duration:
    """The field is a duration in milliseconds, kept in histograms."""


def _lower_level(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    level = value.lower()
    return {"warning": "warn", "fatal": "error", "critical": "error"}.get(level, level)


def _keep_integer(value: Any, validate: Callable[[Any], float]) -> float:
    number = validate(value)
    return value if type(value) is int else number


def _plain_header(value: JsonValue) -> JsonValue:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise ValueError("must be a string, a number or a list of them")
    return value


def _wire_name(name: str) -> str:
    return "userIP" if name == "user_ip" else to_camel(name)


Json = JsonValue
Id = Annotated[str, Field(pattern=rf"^{ID_PATTERN}$", description="1 to 128 of A-Za-z0-9._:-, the first a letter or digit")]
Timestamp = Annotated[str, AfterValidator(parse_timestamp), Field(json_schema_extra={"format": "date-time"})]
ServerTimestamp = Annotated[str, ServerSet(), Immutable(), Field(json_schema_extra={"format": "date-time", "readOnly": True})]
Counter = Annotated[int, ServerSet(), Field(ge=0, json_schema_extra={"readOnly": True})]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Line = Annotated[str, Field(max_length=2_048)]
Text = Annotated[str, Field(max_length=65_536)]
Milliseconds = Annotated[
    float, Field(ge=0, le=MAX_INTEGER, description="milliseconds"), WrapValidator(_keep_integer), Duration()
]
Pixels = Annotated[int, Field(ge=0, le=1_000_000, description="pixels")]
Level = Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(_lower_level)]
Headers = dict[str, Annotated[JsonValue, AfterValidator(_plain_header)]]


class WireModel(BaseModel):
    """camelCase on the wire, snake_case in Python, strict types, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,  # a cold start builds the validators of the models it uses
    )


class Dimensions(WireModel):
    """Width and height of an image in pixels."""

    width: Pixels
    height: Pixels


class Record(WireModel):
    """What every record has."""

    route: ClassVar[str] = ""
    singular: ClassVar[str] = ""
    default_limit: ClassVar[int] = 10

    filterable: ClassVar[tuple[str, ...]] = ()
    immutable: ClassVar[frozenset[str]] = frozenset()
    server_set: ClassVar[frozenset[str]] = frozenset()
    durations: ClassVar[tuple[str, ...]] = ()
    wire_names: ClassVar[frozenset[str]] = frozenset()

    id: Annotated[Id | None, Immutable()] = None
    timestamp: Annotated[Timestamp | None, Immutable()] = None
    created_at: ServerTimestamp | None = None
    updated_at: ServerTimestamp | None = None
    metadata: dict[str, Json] = Field(default_factory=dict)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.filterable = cls._fields_marked(Filterable)
        cls.immutable = frozenset(cls._fields_marked(Immutable))
        cls.server_set = frozenset(cls._fields_marked(ServerSet))
        cls.durations = cls._fields_marked(Duration)
        cls.wire_names = frozenset(_wire_name(name) for name in cls.model_fields)

    @classmethod
    def _fields_marked(cls, marker: type) -> tuple[str, ...]:
        return tuple(_wire_name(name) for name, field in cls.model_fields.items() if _carries(field, marker))


def _carries(field: Any, marker: type) -> bool:
    if any(isinstance(item, marker) for item in field.metadata):
        return True
    parts = getattr(field.annotation, "__args__", ())
    return any(isinstance(item, marker) for part in parts for item in getattr(part, "__metadata__", ()))


class VisitorRecord(Record):
    """A record of something a visitor did."""

    user_ip: Annotated[Line | None, Immutable()] = None
    user_agent: Annotated[Line | None, Immutable()] = None


class ImageGenerationTransaction(VisitorRecord):
    """One image generation, from the prompt to the file."""

    route: ClassVar[str] = "transactions"
    singular: ClassVar[str] = "transaction"

    session_id: Annotated[Id | None, Filterable(), Immutable()] = None
    original_prompt: Text
    enhanced_prompt: Text | None = None
    final_prompt: Text | None = None
    image_type: Annotated[Name, Filterable()] = "logo"
    enhance_prompt_requested: bool | None = None
    status: Annotated[Literal["pending", "completed", "failed"] | None, Filterable()] = None
    success: Annotated[bool | None, Filterable()] = None
    error_message: Text | None = None
    image_url: Text | None = None
    processed_filename: Line | None = None
    original_filename: Line | None = None
    processed_file_path: Line | None = None
    original_file_path: Line | None = None
    file_size: Annotated[int | None, Field(ge=0, le=MAX_INTEGER, description="bytes")] = None
    dimensions: Dimensions | None = None
    total_duration: Milliseconds | None = None
    prompt_enhancement_duration: Milliseconds | None = None
    image_generation_duration: Milliseconds | None = None
    image_processing_duration: Milliseconds | None = None
    api_model: Annotated[Name | None, Filterable()] = None
    api_base_url: Line | None = None
    llm_model: Annotated[Name | None, Filterable()] = None


class ApiRequestLog(VisitorRecord):
    """One request to the application's API and its answer."""

    route: ClassVar[str] = "requests"
    singular: ClassVar[str] = "request"

    session_id: Annotated[Id | None, Filterable(), Immutable()] = None
    method: Annotated[str, Field(min_length=1, max_length=32), Filterable()]
    endpoint: Annotated[str, Field(min_length=1, max_length=2_048), Filterable()]
    request_headers: Headers | None = None
    request_body: Json = None
    status_code: Annotated[int, Field(ge=100, le=599), Filterable()]
    response_headers: Headers | None = None
    response_body: Json = None
    duration: Milliseconds | None = None
    error_occurred: Annotated[bool | None, Filterable()] = None
    error_message: Text | None = None
    error_stack: Text | None = None


class SystemEventLog(Record):
    """Something that happened in the system."""

    route: ClassVar[str] = "events"
    singular: ClassVar[str] = "event"
    default_limit: ClassVar[int] = 20

    session_id: Annotated[Id | None, Filterable(), Immutable()] = None
    event_type: Annotated[Name, Filterable()]
    component: Annotated[Name | None, Filterable()] = None
    level: Annotated[Level | None, Filterable()] = None
    message: Text
    details: Json = None
    environment: Annotated[Name | None, Filterable()] = None
    version: Name | None = None


class UserSession(VisitorRecord):
    """One visitor's session. Its counters are computed from its records whenever it is read."""

    route: ClassVar[str] = "sessions"
    singular: ClassVar[str] = "session"

    end_time: Timestamp | None = None
    country: Annotated[Name | None, Filterable()] = None
    browser: Annotated[Name | None, Filterable()] = None
    os: Annotated[Name | None, Filterable()] = None
    start_time: ServerTimestamp | None = None
    last_activity: ServerTimestamp | None = None
    total_requests: Counter | None = None
    successful_generations: Counter | None = None
    failed_generations: Counter | None = None
    total_images_generated: Counter | None = None
    api_requests: Counter | None = None


class State(Record):
    """Internal: rollups, markers, receipts and the jobs' own state. Never served."""

    route: ClassVar[str] = "state"
    singular: ClassVar[str] = "state"

    category: Annotated[Name, Filterable()]
    data: dict[str, Json] = Field(default_factory=dict)


LOG_MODELS: tuple[type[Record], ...] = (ImageGenerationTransaction, ApiRequestLog, SystemEventLog)
PUBLIC_MODELS: tuple[type[Record], ...] = (*LOG_MODELS, UserSession)
ALL_MODELS: tuple[type[Record], ...] = (*PUBLIC_MODELS, State)
MODELS: dict[str, type[Record]] = {model.__name__: model for model in ALL_MODELS}
