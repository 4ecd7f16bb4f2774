"""Reads client addresses out of what proxies write and turns them into what may be stored.

Sources: RFC 7239 (Forwarded), RFC 4291 section 2.5.5.2 (IPv4-mapped), RFC 4007 section 11 (zones).
"""

import hmac
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal, cast, get_args

from shared.privacy.forms import compiled, many

Mode = Literal["truncate", "hash", "drop", "full"]

_MAX_ADDRESS = 80
_MAX_LISTED = 256
_IPV4 = r"(\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?"
_BRACKETED = r"\[([^\[\]]*)\](?::\d{1,5})?"
_HASHED = r"ip-[0-9a-f]{16}"
_QUOTED = '"' + many(r'[^"\\]++', r"\\.", least=0) + '"?+'
_PAIR = rf'[^;"]*+(?:{_QUOTED}[^;"]*+)*+'
_ELEMENT = rf'[^,"]*+(?:{_QUOTED}[^,"]*+)*+'
_LOWEST_80_BITS = (1 << 80) - 1


def check_mode(mode: str) -> Mode:
    """The mode, or ValueError naming the ones there are."""
    if mode not in get_args(Mode):
        raise ValueError(f"must be one of {', '.join(get_args(Mode))}")
    return cast("Mode", mode)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """One address without its port, brackets, quotes or zone; IPv4-mapped as IPv4. None when it does not parse."""
    text = text.strip(' \t"')
    if len(text) > _MAX_ADDRESS:
        return None
    try:
        if (match := compiled(_IPV4).fullmatch(text)) is not None:
            return IPv4Address(match[1])
        if (match := compiled(_BRACKETED).fullmatch(text)) is not None:
            text = match[1]
        address = IPv6Address(text.partition("%")[0])
    except AddressValueError:
        return None
    return address.ipv4_mapped or address


def whole_address(text: str) -> str | None:
    """The first address of a list in canonical text (RFC 5952), without port, brackets or zone; None when it does not parse."""
    address = parse_address(_first(text))
    return None if address is None else str(address)


def _first(text: str) -> str:
    return text.lstrip(" \t,").partition(",")[0]


class Anonymiser:
    """Turns addresses into what is stored, in one of four modes: truncate, hash (keyed with the salt), drop, full."""

    def __init__(self, salt: bytes, mode: Mode) -> None:
        self._salt = salt
        self._mode = mode

    def first(self, text: str) -> str | None:
        """What is stored of a list of addresses: its first. None when that is nothing."""
        return self.one(_first(text))

    def one(self, text: str) -> str | None:
        """What is stored of one address; None when that is nothing. What the hash mode made stays as it is."""
        if self._mode == "drop":
            return None
        if compiled(_HASHED).fullmatch(text.strip()):
            return text.strip()
        address = parse_address(text)
        if address is None:
            return None
        if self._mode == "truncate":
            return _network(address)
        if self._mode == "hash":
            return "ip-" + hmac.digest(self._salt, b"address\0" + str(address).encode(), "sha256")[:8].hex()
        return str(address)

    def header(self, text: str) -> str | None:
        """A forwarding header with each address anonymised and what is none left out; None when nothing is left.

        Both a plain list and the `for=...;proto=...` form are read, at most 256 entries.
        """
        if "=" in text:
            elements = [self._forwarded_element(element) for element in _split(_ELEMENT, text)]
        else:
            elements = [self.one(entry) or "" for entry in text.split(",", _MAX_LISTED)[:_MAX_LISTED]]
        return ", ".join(element for element in elements if element) or None

    def _forwarded_element(self, element: str) -> str:
        pairs = (self._forwarded_pair(pair.strip()) for pair in _split(_PAIR, element))
        return ";".join(pair for pair in pairs if pair)

    def _forwarded_pair(self, pair: str) -> str:
        name, _, value = pair.partition("=")
        if name.strip().lower() not in {"for", "by"}:
            return pair if name.strip().lower() in {"proto", "host"} else ""
        stored = self.one(value)
        if stored is None:
            return ""
        return f'{name}="[{stored}]"' if ":" in stored else f"{name}={stored}"


def _network(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address).rpartition(".")[0] + ".0"
    return str(IPv6Address(int(address) & ~_LOWEST_80_BITS))


def _split(expression: str, text: str) -> list[str]:
    part = compiled(expression, re.DOTALL)
    parts: list[str] = []
    position = 0
    while position <= len(text) and len(parts) < _MAX_LISTED:
        match = part.match(text, position)
        assert match is not None
        parts.append(match[0])
        position = match.end() + 1
    return parts
