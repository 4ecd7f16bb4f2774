"""Strict JSON: text in and out, and what a JSON value may hold. It knows nothing of records or HTTP.

Refused: duplicate names, NaN and infinities, integers that lose digits as doubles (RFC 7493), lone surrogates and NUL,
which not every database can keep, and nesting past a limit.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from shared.datatypes import MAX_INTEGER
from shared.errors import Detail, InvalidError
from shared.models import MAX_NESTING, MAX_RECORD_BYTES

_INFINITY = float("inf")


_LONGEST_INTEGER = 20
_LEVELS_ABOVE_FIELDS = 2
"""A batch and the records in it."""
_TOO_DEEP = "the body nests too deeply"
_CONSTANTS = frozenset({"NaN", "Infinity", "-Infinity"})
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)


class _BadTokenError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        raise _BadTokenError(next(_twice(name) for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return members


def _twice(name: str) -> str:
    return f"the name {json.dumps(name[:100])} stands twice in one object"


def _no_constant(token: str) -> Any:
    raise _BadTokenError(_scalar_flaw(token))


def _integer(token: str) -> int:
    if len(token) > _LONGEST_INTEGER:
        raise _BadTokenError(_scalar_flaw(token))
    return int(token)


def _scalar_flaw(token: str) -> str | None:
    """What is wrong with a number or constant that the decoder would take."""
    if token in _CONSTANTS:
        return f"{token} is not JSON"
    is_long = len(token) > _LONGEST_INTEGER and token.removeprefix("-").isdigit()
    return "an integer is past 2^53" if is_long else None


def _placed(text: str, message: str, deepest: int | None = None) -> str:
    """The first flaw of a text with its line and column; the message alone where it lies too far in to be looked for."""
    found = _first_flaw(text, deepest)
    if found is None:
        return message
    message, position = found
    return f"{message} at line {text.count(chr(10), 0, position) + 1} column {position - text.rfind(chr(10), 0, position)}"


def _first_flaw(text: str, deepest: int | None) -> tuple[str, int] | None:
    """Where a token stands that the decoder's hooks refuse, which are told no place."""
    names: list[set[str] | None] = []
    before = ""
    for match in _TOKEN.finditer(text, 0, MAX_RECORD_BYTES):
        token = match[0]
        flaw = None
        if token in ("{", "["):
            names.append(set() if token.startswith("{") else None)
            flaw = _TOO_DEEP if deepest is not None and len(names) > deepest else None
        elif token in ("}", "]"):
            del names[-1:]
        elif not token.startswith('"'):
            flaw = _scalar_flaw(token)
        elif names and (known := names[-1]) is not None and before in ("{", ","):
            name = json.loads(token, strict=False)
            flaw = _twice(name) if name in known else None
            known.add(name)
        if flaw is not None:
            return flaw, match.start()
        before = token
    return None


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)


def loads(body: bytes, where: str = "") -> Any:
    """The value that UTF-8 JSON text holds. Raises InvalidError with line and column, or the repeated name.

    `where` names the part of the request in the error's `details` (`items[3]`).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(where, f"the body is not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _invalid(where, "the body starts with a byte order mark")
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        message = f"{error.msg} at line {error.lineno} column {error.colno}"
    except _BadTokenError as error:
        message = _placed(text, str(error))
    except RecursionError:
        message = _placed(text, _TOO_DEEP, MAX_NESTING + _LEVELS_ABOVE_FIELDS)
    raise _invalid(where, message)


def _invalid(where: str, message: str) -> InvalidError:
    return InvalidError(f"The body is not valid JSON: {message}.", [Detail(where, message)], code="invalid_json")


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, members in their own order. Raises InvalidError for what is none."""
    try:
        return to_json(value)
    except ValueError as error:  # lone surrogates and deep nesting
        raise InvalidError("The record can't be written as JSON.") from error


def size_of(value: Any) -> int:
    """How many bytes a value takes as compact JSON, what can't be stored included; 0 for what is no JSON."""
    try:
        return len(encode(value))
    except InvalidError:
        pass
    try:
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError, RecursionError):
        return 0


def dumps(value: Any) -> str:
    """`encode` as text."""
    return encode(value).decode()


def canonical(value: Any) -> bytes:
    """The same bytes for equal values, whatever the order of members; for hashing."""
    return to_json(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(item) if isinstance(item := value[name], dict | list) else item for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def problems(value: Any, path: str = "", depth: int = 0) -> Iterator[Detail]:
    """What a JSON value holds that can't be kept everywhere, each with the dotted path to it.

    The value is a record: each of its fields may nest up to 20 deep. `depth` is how deep the value stands in it.
    """
    if is_plain(value, depth):
        return
    if isinstance(value, dict | list):
        yield from _container_problems(value, path, depth)
    elif (message := _scalar_problem(value)) is not None:
        yield Detail(path, message)


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether `problems` finds nothing, told without paths: they are made for what is wrong only."""
    if isinstance(value, str):
        return _text_problem(value) is None
    if isinstance(value, dict):
        if depth > MAX_NESTING:
            return False
        for name, item in value.items():
            if not (isinstance(name, str) and _text_problem(name) is None and is_plain(item, depth + 1)):
                return False
        return True
    if isinstance(value, list):
        return depth <= MAX_NESTING and all(is_plain(item, depth + 1) for item in value)
    return _scalar_problem(value) is None


def _container_problems(value: dict[str, Any] | list[Any], path: str, depth: int) -> Iterator[Detail]:
    if depth > MAX_NESTING:
        yield Detail(path, f"nests more than {MAX_NESTING} deep")
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict) and not isinstance(name, str):
            yield Detail(path, "has a name that is not a string")
        elif isinstance(name, str) and (message := _text_problem(name)) is not None:
            yield Detail(path, f"has a name that {message}")
        elif not is_plain(item, depth + 1):
            yield from problems(item, f"{path}.{name}" if path else str(name), depth + 1)


def _scalar_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return _text_problem(value)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -MAX_INTEGER <= value <= MAX_INTEGER else "must be an integer from -2^53 to 2^53"
    if isinstance(value, float):
        return None if -_INFINITY < value < _INFINITY else "must be a finite number"
    return "is not a JSON value"


def _text_problem(text: str) -> str | None:
    if text.isascii():
        return "holds a NUL character" if "\0" in text else None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    return "holds a NUL character" if "\0" in text else None
