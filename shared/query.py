"""What can be asked of the records: queries, pages, aggregations, and the reading of query parameters and cursors."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, ValidationError

from shared import datatypes, jsontext
from shared.errors import Detail, InvalidError
from shared.ids import is_valid_id
from shared.models import Record
from shared.timestamps import is_canonical, parse_timestamp, shift

MAX_LIMIT = 1_000
MAX_PAGE_BYTES = 4 * 1024 * 1024
_CURSOR_VERSION = 2
_RELATIVE = re.compile(r"([1-9]\d{0,5})([mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Value = str | int | bool
WireRecord = dict[str, Any]


class Hidden(NamedTuple):
    """What is stored beside a record and never goes on the wire.

    `content_hash` is SHA-256 (hex) of what the client first sent, after privacy; `privacy_version` names the rules,
    address mode and salt it was made under; `buckets` are the histogram buckets of the record's durations.
    """

    content_hash: str | None = None
    privacy_version: str | None = None
    buckets: Mapping[str, int] = {}


class Stored(NamedTuple):
    """A record in wire form with what is hidden beside it. `etag` is the backend's own and opaque; empty before storing."""

    record: WireRecord
    hidden: Hidden = Hidden()
    etag: str = ""

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def timestamp(self) -> str:
        return str(self.record["timestamp"])

    @property
    def key(self) -> "Key":
        return Key(self.timestamp, self.id)


class Key(NamedTuple):
    """A place in the order of a list: (timestamp, id) in byte order."""

    timestamp: str
    id: str


@dataclass(frozen=True, slots=True)
class Query:
    """Records of one model, in order.

    `filters` maps a filterable field to the values it may have (any of them). `since` is included, `until` is not; both
    are canonical timestamps. `after` is the last key already seen, in the query's own order.
    """

    model: type[Record]
    filters: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    descending: bool = True
    after: Key | None = None
    limit: int = 10
    max_bytes: int = MAX_PAGE_BYTES


class Page(NamedTuple):
    """The records of a page in the query's order, and whether there may be more after the last one.

    `resume` is where the next page begins when this one ended before it was full: no record that matches stands between the
    last item, if any, and it.
    """

    items: list[Stored]
    more: bool
    resume: Key | None = None

    @property
    def next(self) -> Key | None:
        """The place after which the next page begins; None on the last page."""
        if not self.more:
            return None
        return self.resume or (self.items[-1].key if self.items else None)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Counts over a model's records, grouped by filterable fields.

    `sums` and `histograms` name duration fields. Filters and window as in Query.
    """

    model: type[Record]
    filters: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    group_by: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    histograms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its key in the order of `group_by` (None where a record lacks the field), count, bounds and sums.

    `least` and `greatest` are timestamps, sums are in ms (0 where no record has the field), and each histogram counts
    the records of each bucket number.
    """

    key: tuple[Value | None, ...]
    count: int
    least: str
    greatest: str
    sums: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


class ListRequest(NamedTuple):
    """A list as a client asked for it: the query, the fields to show (None: all), and what its cursors must carry."""

    query: Query
    fields: tuple[str, ...] | None
    fingerprint: str

    def cursor_after(self, last: Key) -> str:
        """The opaque cursor of the page after `last`."""
        place = (last.timestamp, last.id, self.query.since, self.query.until)
        content = [_CURSOR_VERSION, _seal(self.fingerprint, place), *place]
        return base64.urlsafe_b64encode(jsontext.dumps(content).encode()).decode().rstrip("=")


def read_list_request(
    model: type[Record],
    parameters: Mapping[str, str],
    now: str,
    *,
    fixed: Mapping[str, tuple[Value, ...]] | None = None,
) -> ListRequest:
    """The list that query parameters ask for. Raises InvalidError naming every bad parameter.

    `now` resolves relative times; `fixed` are filters that the route itself sets (a session's transactions).
    """
    fixed = fixed or {}
    reader = _Reader(parameters)
    filters = dict(fixed)
    for name in model.filterable:
        if name in parameters and name not in fixed:
            reader.read(name, lambda text, name=name: filters.__setitem__(name, (_filter_value(model, name, text),)))
    since, until = reader.read("since", lambda text: _moment(text, now)), reader.read("until", lambda text: _moment(text, now))
    order = reader.read("order", _order) or "desc"
    limit = reader.read("limit", _limit) or model.default_limit
    fields = reader.read("fields", lambda text: _fields(model, text))
    if since and until and since > until:
        reader.details.append(Detail("since", "is after until"))
    reader.refuse_unknown(("cursor", *(name for name in model.filterable if name not in fixed)))
    fingerprint = _fingerprint(model, filters, parameters, order)
    query = Query(model, filters, since, until, descending=order == "desc", limit=limit)
    cursor = reader.read("cursor", lambda text: _read_cursor(text, fingerprint))
    reader.finish()
    if cursor is not None:
        after, since, until = cursor
        query = replace(query, after=after, since=since, until=until)
    return ListRequest(query, fields, fingerprint)


class Window(NamedTuple):
    """A window of time: `since` included, `until` not; None is unbounded."""

    since: str | None
    until: str | None


def read_window(parameters: Mapping[str, str], now: str) -> Window:
    """The window of `since` and `until` parameters. Raises InvalidError naming every bad parameter."""
    reader = _Reader(parameters)
    window = Window(
        reader.read("since", lambda text: _moment(text, now)), reader.read("until", lambda text: _moment(text, now))
    )
    if window.since and window.until and window.since > window.until:
        reader.details.append(Detail("since", "is after until"))
    reader.refuse_unknown(())
    reader.finish()
    return window


class _Reader:
    """Reads parameters one by one and remembers what was wrong with each."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self._known: set[str] = set()
        self.details: list[Detail] = []

    def read(self, name: str, convert: Any) -> Any:
        self._known.add(name)
        text = self._parameters.get(name)
        if text is None:
            return None
        try:
            return convert(text)
        except ValueError as error:
            self.details.append(Detail(name, str(error)))
            return None

    def refuse_unknown(self, known: Iterable[str]) -> None:
        allowed = self._known | set(known)
        self.details += [Detail(name, "is not a parameter of this list") for name in self._parameters if name not in allowed]

    def finish(self) -> None:
        if self.details:
            names = ", ".join(detail.field for detail in self.details)
            raise InvalidError(f"Invalid query parameters: {names}.", self.details)


def _moment(text: str, now: str) -> str:
    match = _RELATIVE.fullmatch(text)
    if match is not None:
        return shift(now, **{_UNITS[match[2]]: -int(match[1])})
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor a time ago such as 24h or 7d") from None


def _order(text: str) -> str:
    if text not in ("asc", "desc"):
        raise ValueError("must be asc or desc")
    return text


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"must be an integer from 1 to {MAX_LIMIT}")
    return int(text)


def _fields(model: type[Record], text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in model.wire_names]
    if unknown:
        raise ValueError(f"names no field of {model.__name__}: {', '.join(name[:64] for name in unknown)}")
    return names


def _filter_value(model: type[Record], name: str, text: str) -> Value:
    validator, kind = _filter_type(model, name)
    value: Value = text
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        value = text == "true"
    elif kind is int:
        if not re.fullmatch(r"-?\d{1,16}", text, re.ASCII):
            raise ValueError("must be an integer")
        value = int(text)
    if next(jsontext.problems(text), None) is not None:
        raise ValueError("holds a character that no record has")
    try:
        return validator.validate_python(value)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise ValueError(_plain_message(error)) from None


def _plain_message(error: ValidationError) -> str:
    message = error.errors(include_url=False, include_input=False)[0]["msg"]
    return message.replace("Input should be", "must be").replace("String should", "must").replace("Value error, ", "")


def value_kind(model: type[Record], name: str) -> type:
    """What a filterable field holds: str, int or bool."""
    return _filter_type(model, name)[1]


@cache
def _filter_type(model: type[Record], name: str) -> tuple[SchemaValidator, type]:
    schema = model.fields[name].schema
    return datatypes.validator(schema), {"bool": bool, "int": int}.get(schema["type"], str)


def _fingerprint(
    model: type[Record], filters: Mapping[str, tuple[Value, ...]], parameters: Mapping[str, str], order: str
) -> str:
    content = [model.__name__, dict(filters), parameters.get("since"), parameters.get("until"), order]
    return hashlib.sha256(jsontext.canonical(content)).hexdigest()[:16]


def _seal(fingerprint: str, place: Iterable[str | None]) -> str:
    """Ties a place and its window to the query they belong to, so that none of them is changed by hand."""
    return hashlib.sha256(jsontext.canonical([fingerprint, *place])).hexdigest()[:16]


def _read_cursor(text: str, fingerprint: str) -> tuple[Key, str | None, str | None]:
    try:
        content = jsontext.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, seal, timestamp, record_id, since, until = content
    except (binascii.Error, InvalidError, ValueError, TypeError):
        raise ValueError("is not a cursor of this service") from None
    if version != _CURSOR_VERSION:
        raise ValueError("was made by another version of this service")
    moments_ok = all(moment is None or (isinstance(moment, str) and is_canonical(moment)) for moment in (since, until))
    key_ok = isinstance(timestamp, str) and is_canonical(timestamp) and isinstance(record_id, str) and is_valid_id(record_id)
    if not (moments_ok and key_ok):
        raise ValueError("is not a cursor of this service")
    if seal != _seal(fingerprint, (timestamp, record_id, since, until)):
        raise ValueError("belongs to a query with other filters, times or order")
    return Key(timestamp, record_id), since, until
