"""The four record models and the internal `State`, each the one declaration of its fields.

What can be filtered on, what never changes, what only the server sets and which fields are durations are declared here;
query parameters, backends' indexes and the OpenAPI document follow from it. A model has no instances: records are JSON
objects everywhere, under wire names.
"""

from abc import ABC
from collections.abc import Mapping
from copy import copy
from functools import cache
from typing import Any, ClassVar

from pydantic_core import CoreSchema, SchemaValidator

from shared import datatypes
from shared.datatypes import Field

MAX_RECORD_BYTES = 256 * 1024
MAX_NESTING = 20


def _wire_name(name: str) -> str:
    first, *others = name.split("_")
    return "userIP" if name == "user_ip" else first + "".join(map(str.capitalize, others))


class Record(ABC):  # noqa: B024 - an ABC as it has no instances, and type checkers hold its subclasses hashable
    """What every record has. Attributes in snake_case declare fields; on the wire they are camelCase."""

    route: ClassVar[str] = ""
    singular: ClassVar[str] = ""
    default_limit: ClassVar[int] = 10

    fields: ClassVar[Mapping[str, Field]] = {}
    """By wire name, in the order of the declaration."""
    filterable: ClassVar[tuple[str, ...]] = ()
    immutable: ClassVar[frozenset[str]] = frozenset()
    server_set: ClassVar[frozenset[str]] = frozenset()
    durations: ClassVar[tuple[str, ...]] = ()
    wire_names: ClassVar[frozenset[str]] = frozenset()

    id = Field(datatypes.ID, immutable=True)
    timestamp = Field(datatypes.TIMESTAMP, immutable=True)
    created_at = Field(datatypes.SERVER_TIMESTAMP, immutable=True, server_set=True)
    updated_at = Field(datatypes.SERVER_TIMESTAMP, immutable=True, server_set=True)
    metadata = Field(datatypes.OBJECT, default={})

    def __init_subclass__(cls) -> None:
        declared = [item for base in reversed(cls.__mro__) for item in vars(base).items()]
        cls.fields = {_wire_name(name): field for name, field in declared if isinstance(field, Field)}
        cls.filterable = tuple(name for name, field in cls.fields.items() if field.filterable)
        cls.immutable = frozenset(name for name, field in cls.fields.items() if field.immutable)
        cls.server_set = frozenset(name for name, field in cls.fields.items() if field.server_set)
        cls.durations = tuple(name for name, field in cls.fields.items() if field.duration)
        cls.wire_names = frozenset(cls.fields)

    @classmethod
    def schema(cls) -> CoreSchema:
        """The core schema of the model's records."""
        return datatypes.members(cls.fields, cls.__name__)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """What fields hold that nobody sent, in a new object."""
        return {name: copy(field.default) for name, field in cls.fields.items() if field.default is not None}

    @classmethod
    def check(cls, members: Mapping[str, Any]) -> dict[str, Any]:
        """The members in wire form: times canonical, levels folded; nothing is added.

        Only what the declaration says of each field is checked. Raises pydantic_core.ValidationError.
        """
        checked: dict[str, Any] = _validator(cls).validate_python(members)
        return checked


@cache
def _validator(model: type[Record]) -> SchemaValidator:
    """Built at a model's first use: a cold start builds those it needs."""
    return datatypes.validator(model.schema())


class VisitorRecord(Record):
    """A record of something a visitor did."""

    user_ip = Field(datatypes.LINE, immutable=True)
    user_agent = Field(datatypes.LINE, immutable=True)


class ImageGenerationTransaction(VisitorRecord):
    """One image generation, from the prompt to the file."""

    route = "transactions"
    singular = "transaction"

    session_id = Field(datatypes.ID, filterable=True, immutable=True)
    original_prompt = Field(datatypes.TEXT, required=True)
    enhanced_prompt = Field(datatypes.TEXT)
    final_prompt = Field(datatypes.TEXT)
    image_type = Field(datatypes.NAME, default="logo", filterable=True)
    enhance_prompt_requested = Field(datatypes.FLAG)
    status = Field(datatypes.STATUS, filterable=True)
    success = Field(datatypes.FLAG, filterable=True)
    error_message = Field(datatypes.TEXT)
    image_url = Field(datatypes.TEXT)
    processed_filename = Field(datatypes.LINE)
    original_filename = Field(datatypes.LINE)
    processed_file_path = Field(datatypes.LINE)
    original_file_path = Field(datatypes.LINE)
    file_size = Field(datatypes.BYTES)
    dimensions = Field(datatypes.DIMENSIONS)
    total_duration = Field(datatypes.MILLISECONDS, duration=True)
    prompt_enhancement_duration = Field(datatypes.MILLISECONDS, duration=True)
    image_generation_duration = Field(datatypes.MILLISECONDS, duration=True)
    image_processing_duration = Field(datatypes.MILLISECONDS, duration=True)
    api_model = Field(datatypes.NAME, filterable=True)
    api_base_url = Field(datatypes.LINE)
    llm_model = Field(datatypes.NAME, filterable=True)


class ApiRequestLog(VisitorRecord):
    """One request to the application's API and its answer."""

    route = "requests"
    singular = "request"

    session_id = Field(datatypes.ID, filterable=True, immutable=True)
    method = Field(datatypes.METHOD, required=True, filterable=True)
    endpoint = Field(datatypes.ENDPOINT, required=True, filterable=True)
    request_headers = Field(datatypes.HEADERS)
    request_body = Field(datatypes.JSON)
    status_code = Field(datatypes.STATUS_CODE, required=True, filterable=True)
    response_headers = Field(datatypes.HEADERS)
    response_body = Field(datatypes.JSON)
    duration = Field(datatypes.MILLISECONDS, duration=True)
    error_occurred = Field(datatypes.FLAG, filterable=True)
    error_message = Field(datatypes.TEXT)
    error_stack = Field(datatypes.TEXT)


class SystemEventLog(Record):
    """Something that happened in the system."""

    route = "events"
    singular = "event"
    default_limit = 20

    session_id = Field(datatypes.ID, filterable=True, immutable=True)
    event_type = Field(datatypes.NAME, required=True, filterable=True)
    component = Field(datatypes.NAME, filterable=True)
    level = Field(datatypes.LEVEL, filterable=True)
    message = Field(datatypes.TEXT, required=True)
    details = Field(datatypes.JSON)
    environment = Field(datatypes.NAME, filterable=True)
    version = Field(datatypes.NAME)


class UserSession(VisitorRecord):
    """One visitor's session. Its counters are computed from its records whenever it is read."""

    route = "sessions"
    singular = "session"

    end_time = Field(datatypes.TIMESTAMP)
    country = Field(datatypes.NAME, filterable=True)
    browser = Field(datatypes.NAME, filterable=True)
    os = Field(datatypes.NAME, filterable=True)
    start_time = Field(datatypes.SERVER_TIMESTAMP, immutable=True, server_set=True)
    last_activity = Field(datatypes.SERVER_TIMESTAMP, immutable=True, server_set=True)
    total_requests = Field(datatypes.COUNTER, server_set=True)
    successful_generations = Field(datatypes.COUNTER, server_set=True)
    failed_generations = Field(datatypes.COUNTER, server_set=True)
    total_images_generated = Field(datatypes.COUNTER, server_set=True)
    api_requests = Field(datatypes.COUNTER, server_set=True)


class State(Record):
    """Internal: rollups, markers, receipts and the jobs' own state. Never served."""

    route = "state"
    singular = "state"

    category = Field(datatypes.NAME, required=True, filterable=True)
    data = Field(datatypes.OBJECT, default={})


LOG_MODELS: tuple[type[Record], ...] = (ImageGenerationTransaction, ApiRequestLog, SystemEventLog)
PUBLIC_MODELS: tuple[type[Record], ...] = (*LOG_MODELS, UserSession)
ALL_MODELS: tuple[type[Record], ...] = (*PUBLIC_MODELS, State)
MODELS: dict[str, type[Record]] = {model.__name__: model for model in ALL_MODELS}
