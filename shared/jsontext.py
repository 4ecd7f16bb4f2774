"""Strict JSON: text in and out, and what a JSON value may hold. It knows nothing of records or HTTP.

Refused: duplicate names, NaN and infinities, integers that lose digits as doubles (RFC 7493), lone surrogates and NUL,
which not every database can keep, and nesting past a limit.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from shared.errors import Detail, InvalidError
from shared.models import MAX_INTEGER, MAX_NESTING

_INFINITY = float("inf")


class _BadTokenError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _BadTokenError(f"the name {json.dumps(name[:100])} stands twice in one object")
    return members


def _no_constant(token: str) -> Any:
    raise _BadTokenError(f"{token} is not JSON")


def _integer(token: str) -> int:
    if len(token) > 20:
        raise _BadTokenError("an integer is past 2^53")
    return int(token)


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
_canonical_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False, sort_keys=True
)


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
        message = str(error)
    except RecursionError:
        message = "the body nests too deeply"
    raise _invalid(where, message)


def _invalid(where: str, message: str) -> InvalidError:
    return InvalidError(f"The body is not valid JSON: {message}.", [Detail(where, message)], code="invalid_json")


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, members in their own order."""
    return to_json(value)


def dumps(value: Any) -> str:
    """Compact JSON text, members in their own order."""
    return encode(value).decode()


def canonical(value: Any) -> bytes:
    """The same bytes for equal values, whatever the order of members; for hashing."""
    return _canonical_encoder.encode(value).encode()


def problems(value: Any, path: str = "", depth: int = 0) -> Iterator[Detail]:
    """What a JSON value holds that can't be kept everywhere, each with the dotted path to it.

    The value is a record: each of its fields may nest up to 20 deep. `depth` is how deep the value stands in it.
    """
    if isinstance(value, dict | list):
        yield from _container_problems(value, path, depth)
    elif (message := _scalar_problem(value)) is not None:
        yield Detail(path, message)


def _container_problems(value: dict[str, Any] | list[Any], path: str, depth: int) -> Iterator[Detail]:
    if depth > MAX_NESTING:
        yield Detail(path, f"nests more than {MAX_NESTING} deep")
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str) and (message := _text_problem(name)) is not None:
            yield Detail(path, f"has a name that {message}")
        else:
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
