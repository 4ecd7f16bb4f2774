"""Makes a record fit to be stored: no secret in it, and no address that the configured mode does not allow."""

import hmac
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from shared.privacy.addresses import Anonymiser, check_mode, parse_address
from shared.privacy.documents import read_document
from shared.privacy.headers import are_pairs, kinds_in_pairs, kinds_in_raw
from shared.privacy.names import NameKind, kind_of
from shared.privacy.redaction import REDACTED, redact

RULES_VERSION = "2"
"""Raised with every change to what is redacted: content hashes of another version are not compared."""
_TOP = {
    "id": NameKind.KEPT,
    "sessionId": NameKind.KEPT,
    "timestamp": NameKind.KEPT,
    "createdAt": NameKind.KEPT,
    "updatedAt": NameKind.KEPT,
    "startTime": NameKind.KEPT,
    "endTime": NameKind.KEPT,
    "lastActivity": NameKind.KEPT,
    "userIP": NameKind.VISITOR,
}
"""Fields of a record that are not read by what their names say elsewhere."""
_NOTHING = object()
_MAX_CACHED_NAME = 64
_NO_NAMES: Mapping[str, NameKind] = {}


class Cleaned(NamedTuple):
    """A record without secrets, and how many were taken out of it."""

    record: dict[str, Any]
    redactions: int


class Privacy:
    """The privacy rules under one salt and one address mode: `truncate`, `hash`, `drop` or `full`.

    `version` names all three, so that hashes of content made under different rules are never compared.
    Raises ValueError for another mode.
    """

    def __init__(self, salt: bytes, mode: str = "truncate") -> None:
        self._anonymiser = Anonymiser(salt, check_mode(mode))
        self.version = f"{RULES_VERSION}.{mode}.{hmac.digest(salt, b'privacy-version', 'sha256')[:4].hex()}"

    def anonymise(self, text: str) -> str | None:
        """What is stored of an address, or of the first of a list of them; None when that is nothing."""
        return self._anonymiser.first(text)

    def clean(self, record: dict[str, Any]) -> Cleaned:
        """A copy of a wire record, or of a merge patch of one, as it may be stored.

        Ids and timestamps are left as they are: their forms are checked by the models, and an id that is a secret is the
        caller's to refuse.
        """
        walk = _Walk(self._anonymiser)
        return Cleaned(walk.members(record, _TOP), walk.redactions)


def holds_secret(text: str) -> bool:
    """Whether the text holds a secret by its value; for ids, which are refused rather than changed."""
    return redact(text)[1] > 0


def _read_name(name: str) -> tuple[NameKind, str, int]:
    return kind_of(name), *redact(name)


_read_short_name = lru_cache(maxsize=4096)(_read_name)


class _Walk:
    """One pass over the members of a record."""

    def __init__(self, anonymiser: Anonymiser) -> None:
        self._anonymiser = anonymiser
        self.redactions = 0

    def members(self, members: dict[str, Any], special: Mapping[str, NameKind] = _NO_NAMES) -> dict[str, Any]:
        if "value" in members:
            special = {**special, "value": _pair_kind(members)}
        cleaned: dict[str, Any] = {}
        repeated: Counter[str] | None = None
        for name, value in members.items():
            kind, text, redactions = _read_short_name(name) if len(name) <= _MAX_CACHED_NAME else _read_name(name)
            kind = special.get(name, kind)
            if kind is NameKind.PLAIN:
                new = self._text(value) if type(value) is str else self._value(value)
            elif (new := self._marked(kind, value)) is _NOTHING:
                continue
            self.redactions += redactions
            if text in cleaned:
                repeated = repeated or Counter()
                text = _free_name(text, cleaned, repeated)
            cleaned[text] = new
        return cleaned

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, dict):
            return self.members(value)
        if isinstance(value, list):
            return self._items(value)
        return value

    def _items(self, items: list[Any]) -> list[Any]:
        if are_pairs(items):
            return [self._listed(pair, kinds_in_pairs(pair)) for pair in items]
        return self._listed(items, kinds_in_raw(items))

    def _listed(self, items: list[Any], kinds: Mapping[int, NameKind]) -> list[Any]:
        """The items under what names beside them say. What is not stored leaves an empty string: others keep their places."""
        if not kinds:
            return [self._value(item) for item in items]
        cleaned = [
            self._marked(kinds[place], item) if place in kinds else self._value(item) for place, item in enumerate(items)
        ]
        return ["" if item is _NOTHING else item for item in cleaned]

    def _text(self, text: str) -> str:
        if text.startswith(("{", "[")) and (document := read_document(text)) is not None:
            counted = self.redactions
            try:
                cleaned = self._value(document.value)
                return text if cleaned == document.value else document.write(cleaned)
            except RecursionError:
                self.redactions = counted
        text, redactions = redact(text)
        self.redactions += redactions
        return text

    def _marked(self, kind: NameKind, value: Any) -> Any:
        if kind is NameKind.KEPT:
            return value
        if kind is NameKind.ADDRESS:
            return self._addresses(value)
        if kind is NameKind.VISITOR:
            return (self._anonymiser.first(value) or _NOTHING) if isinstance(value, str) else value
        if value is None or value in ("", REDACTED):
            return value
        self.redactions += 1
        return REDACTED

    def _addresses(self, value: Any) -> Any:
        if isinstance(value, str):
            stored = self._anonymiser.header(value)
            return _NOTHING if stored is None else self._value(stored)
        if isinstance(value, list):
            items = [item for item in map(self._addresses, value) if item is not _NOTHING]
            return items if items or not value else _NOTHING
        if isinstance(value, dict):
            return self.members({name: item for name, item in value.items() if not self._is_address(item)}) | {
                name: stored
                for name, item in value.items()
                if self._is_address(item) and (stored := self._anonymiser.one(item)) is not None
            }
        return value

    @staticmethod
    def _is_address(value: Any) -> bool:
        return isinstance(value, str) and parse_address(value) is not None


def _free_name(wanted: str, taken: Mapping[str, Any], repeated: Counter[str]) -> str:
    """The wanted name with the next number behind it; two names may be the same once their secrets are gone."""
    name = wanted
    while name in taken:
        repeated[wanted] += 1
        name = f"{wanted} {repeated[wanted] + 1}"
    return name


def _pair_kind(members: dict[str, Any]) -> NameKind:
    """What the value of a `{"name": ..., "value": ...}` pair is, as HTTP archives and settings write members."""
    name = members.get("name", members.get("key"))
    return kind_of(name) if isinstance(name, str) else NameKind.PLAIN
