"""Route constraints of ASP.NET Core (`{id:int}`, `{slug:length(1,8)}`): each a predicate over a route value.

https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-constraints. `datetime` takes ISO 8601
only, which is less than .NET's parser takes.
"""

import re
from collections.abc import Callable
from datetime import datetime

Constraint = Callable[[str], bool]

_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_DECIMAL = re.compile(r"\s*[+-]?(\d[\d,]*(\.\d*)?|\.\d+)\s*", re.ASCII)
_FLOAT = re.compile(r"\s*[+-]?(\d[\d,]*(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_HEX = r"[0-9A-Fa-f]"
_DASHED = rf"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"
_GUID = re.compile(rf"{_HEX}{{32}}|{_DASHED}|\{{{_DASHED}\}}|\({_DASHED}\)")
_ALPHA = re.compile(r"[A-Za-z]*")


def parse_constraint(name: str, argument: str | None) -> Constraint:
    """The predicate of `name` or `name(argument)`. Raises ValueError for what ASP.NET does not know."""
    if argument is None:
        if name in _PLAIN:
            return _PLAIN[name]
    elif name == "regex":
        return _regex(argument)
    elif name in _SIZED:
        numbers = [int(part) for part in argument.split(",")] if re.fullmatch(r"\s*-?\d+\s*(,\s*-?\d+\s*)?", argument) else []
        if len(numbers) in _SIZED[name][0]:
            return _SIZED[name][1](*numbers)
    shown = name if argument is None else f"{name}({argument})"
    raise ValueError(f"the constraint {shown!r} is not one that ASP.NET Core knows")


def _integer(text: str, bits: int) -> bool:
    return _INTEGER.fullmatch(text) is not None and len(text) < 64 and -(1 << bits) <= int(text) < 1 << bits


def _number(text: str) -> int | None:
    return int(text) if _integer(text, 63) else None


def _datetime(text: str) -> bool:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _is_file(text: str) -> bool:
    dot = text.rfind(".", text.rfind("/") + 1)
    return dot >= 0 and dot != len(text) - 1


def _regex(pattern: str) -> Constraint:
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except re.error as error:
        raise ValueError(f"the constraint 'regex({pattern})' is no regular expression: {error}") from None
    return lambda text: search(text) is not None


def _length(least: int, most: int | None = None) -> Constraint:
    return lambda text: least <= len(text) <= (least if most is None else most)


def _between(least: int | None = None, most: int | None = None) -> Constraint:
    def check(text: str) -> bool:
        number = _number(text)
        return number is not None and (least is None or least <= number) and (most is None or number <= most)

    return check


_PLAIN: dict[str, Constraint] = {
    "int": lambda text: _integer(text, 31),
    "long": lambda text: _integer(text, 63),
    "bool": lambda text: text.strip().lower() in {"true", "false"},
    "datetime": _datetime,
    "decimal": lambda text: _DECIMAL.fullmatch(text) is not None,
    "double": lambda text: _FLOAT.fullmatch(text) is not None,
    "float": lambda text: _FLOAT.fullmatch(text) is not None,
    "guid": lambda text: _GUID.fullmatch(text) is not None,
    "alpha": lambda text: _ALPHA.fullmatch(text) is not None,
    "required": bool,
    "file": _is_file,
    "nonfile": lambda text: not _is_file(text),
}
_SIZED: dict[str, tuple[tuple[int, ...], Callable[..., Constraint]]] = {
    "length": ((1, 2), _length),
    "minlength": ((1,), lambda least: lambda text: len(text) >= least),
    "maxlength": ((1,), lambda most: lambda text: len(text) <= most),
    "min": ((1,), _between),
    "max": ((1,), lambda most: _between(None, most)),
    "range": ((2,), _between),
}
