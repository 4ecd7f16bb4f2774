"""Entity tags of records, and the conditions that requests put on them. Source: RFC 9110, sections 8.8.3 and 13.1."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.errors import Detail, InvalidError
from shared.query import Stored
from shared.sessions import derived_hash

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_HEADER = 8_192


def entity_tag(stored: Stored, derived: Mapping[str, Any] | None = None) -> str:
    """The quoted tag of a record; for a session also of its derived fields, after a dot."""
    tag = _stored_part(stored)
    return f'"{tag}"' if derived is None else f'"{tag}.{derived_hash(derived)}"'


def _stored_part(stored: Stored) -> str:
    if _PLAIN.fullmatch(stored.etag):
        return stored.etag
    return hashlib.sha256(stored.etag.encode()).hexdigest()[:32]


class Condition(NamedTuple):
    """The tags that an If-Match or If-None-Match names: (weak, tag without quotes); None is `*`."""

    tags: frozenset[tuple[bool, str]] | None

    def allows_write_to(self, stored: Stored) -> bool:
        """If-Match by strong comparison.

        Only the part before the dot counts: a session's derived fields change with every record, and a change of the
        document overwrites none of them.
        """
        if self.tags is None:
            return True
        current = _stored_part(stored)
        return any(not weak and tag.partition(".")[0] == current for weak, tag in self.tags)

    def names(self, tag: str) -> bool:
        """Whether a quoted tag is among them, by the weak comparison of If-None-Match."""
        return self.tags is None or any(f'"{known}"' == tag for _, known in self.tags)


def read_condition(name: str, header: str | None) -> Condition | None:
    """The condition of a header; None when it is absent. Raises InvalidError naming the header.

    Empty members of the list don't count (RFC 9110, section 5.6.1.2).
    """
    if header is None:
        return None
    if header.strip() == "*":
        return Condition(None)
    if len(header) <= _MAX_HEADER:
        matches = [_TAG.fullmatch(part) for part in _split(header) if part.strip()]
        if matches and all(matches):
            return Condition(frozenset((match[1] is not None, match[2]) for match in matches if match))
    raise InvalidError(f"{name} is not a list of entity tags.", [Detail(name, 'must be "*" or quoted entity tags')])


def _split(header: str) -> list[str]:
    """The parts between commas that stand outside quotes."""
    return re.findall(r'(?:[^,"]|"[^"]*"?)+', header)
