"""Headers that stand in lists: `[[name, value], ...]` as fetch and WSGI write them, and Node's flat `rawHeaders`.

It says which items are marked by the name before them; ordinary lists of words must not be taken for headers.
"""

from collections.abc import Mapping
from typing import Any

from shared.privacy.forms import compiled
from shared.privacy.names import NameKind, kind_of

_NAME = "[A-Za-z0-9-]{1,64}"
_COMMON = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "host",
        "origin",
        "referer",
        "server",
        "transfer-encoding",
        "user-agent",
        "vary",
    )
)
"""Headers of nearly every message: a list with one of them in the place of a name is a list of headers."""
_BARE = {"authorization": r"[\s\d]", "cookie": "=", "forwarded": "="}
"""Headers whose names are words too, and what their values hold that a word beside them does not."""
_NONE: Mapping[int, NameKind] = {}


def are_pairs(items: list[Any]) -> bool:
    """Whether every item is a pair that starts with a string; false of an empty list."""
    return bool(items) and all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in items)


def kinds_in_pairs(pair: list[Any]) -> Mapping[int, NameKind]:
    """What the second of a pair is, if its name marks it. A list of values is read under the name of a header only."""
    kind = kind_of(pair[0])
    if kind is NameKind.PLAIN:
        return _NONE
    marked = isinstance(pair[1], str) or (isinstance(pair[1], list) and _is_header(pair[0]))
    return {1: kind} if marked else _NONE


def kinds_in_raw(items: list[Any]) -> Mapping[int, NameKind]:
    """What the marked items of a flat list of names and values are, by place; nothing where the list is no such list."""
    if len(items) % 2 or not all(isinstance(item, str) for item in items):
        return _NONE
    names = items[::2]
    is_name = compiled(_NAME).fullmatch
    if not all(is_name(name) for name in names):
        return _NONE
    sure = any(name.lower() in _COMMON for name in names)
    kinds = {}
    for place, name in enumerate(names):
        kind = kind_of(name)
        if kind is not NameKind.PLAIN and _is_header(name) and _is_value_of(name, items[2 * place + 1], sure=sure):
            kinds[2 * place + 1] = kind
    return kinds


def _is_header(name: str) -> bool:
    return "-" in name or name.lower() in _BARE


def _is_value_of(name: str, value: str, *, sure: bool) -> bool:
    """False of the next name where a list holds names only, as those of CORS and of Vary do."""
    if value.lower() in _COMMON or (_is_header(value) and kind_of(value) is not NameKind.PLAIN):
        return False
    shape = _BARE.get(name.lower())
    return sure or shape is None or compiled(shape).search(value) is not None
