"""Objects shaped like the messages between the Functions host and its Python worker.

https://github.com/Azure/azure-functions-language-worker-protobuf. A namespace of this module's names is what the worker's
library takes for its generated classes. Strings are checked as protobuf checks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """A message whose fields are whatever the library sets."""


class StatusResult(Message):
    Failure = 0
    Success = 1


class BindingInfo(Message):
    # directions
    inout = 2
    out = 1
    # data types
    undefined = 0


class SameSite:
    Lax = "Lax"
    Strict = "Strict"
    ExplicitNone = "None"


setattr(SameSite, "None", "")


class RpcHttpCookie(Message):
    SameSite = SameSite


class TypedData:
    """A oneof: the field that is set is the one that was given."""

    def __init__(self, **data: Any) -> None:
        assert len(data) <= 1
        self._kind = next((kind for kind, value in data.items() if value is not None), None)
        self.__dict__.update(data)

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        return self._kind


@dataclass
class RpcHttp:
    """An HTTP request or response; its strings must be text that UTF-8 can carry."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: TypedData = field(default_factory=TypedData)
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    status_code: str = ""
    cookies: list[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False

    def __post_init__(self) -> None:
        for text in (self.method, self.url, self.status_code):
            _check(text)
        for mapping in (self.headers, self.params, self.query):
            for name, value in mapping.items():
                _check(name)
                _check(value)


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"bad argument type for built-in operation: {type(text).__name__}, not str")
    text.encode()


@dataclass
class ParameterBinding:
    name: str
    data: TypedData

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name
        return "data"


WorkerInitResponse = WorkerMetadata = FunctionMetadataResponse = FunctionLoadResponse = InvocationResponse = Message
RpcException = RpcFunctionMetadata = RpcRetryOptions = Message
NullableString = NullableBool = NullableDouble = NullableTimestamp = Timestamp = Message
