"""Which names mark a secret and which an address, in objects, headers and text. It looks at names only, never at values."""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any

PASSWORDS = ("password", "passwd", "passphrase", "pwd")
"""Names that no sentence uses before `=` or `:` by chance when what follows looks like a secret."""

COMPOUNDS = (
    "api-key",
    "api key",
    "function-key",
    "functions-key",
    "account-key",
    "private-key",
    "secret-key",
    "secret-access-key",
    "shared-access-key",
    "shared-access-signature",
    "subscription-key",
    "signing-key",
    "encryption-key",
    "master-key",
    "connection-string",
    "client-secret",
    "access-token",
    "refresh-token",
    "auth-token",
    "session-token",
    "security-token",
    "id-token",
    "csrf-token",
)
"""Names made of several words, which only machines write."""

WORDS = ("authorization", "cookie", "cookies", "secret", "token")
"""Names that prose uses too."""

PARAMETERS = (
    "code",
    "code-verifier",
    "sig",
    "signature",
    "x-amz-signature",
    "x-goog-signature",
    "key",
    "token",
    "token-auth",
    "secret",
    "password",
    "passwd",
    "pass",
    "pwd",
    "sas",
    "jwt",
)
"""Names that hold a secret as a parameter of a URL or form, though some mean nothing as a member of an object."""

_ADDRESS_NAMES = frozenset(
    (
        "forwarded",
        "forwardedfor",
        "xforwarded",
        "xforwardedfor",
        "xoriginalforwardedfor",
        "xvercelforwardedfor",
        "xvercelproxiedfor",
        "xrealip",
        "realip",
        "clientip",
        "xclientip",
        "trueclientip",
        "xtrueclientip",
        "cfconnectingip",
        "cfconnectingipv6",
        "cfpseudoipv4",
        "doconnectingip",
        "fastlyclientip",
        "flyclientip",
        "xazureclientip",
        "xazuresocketip",
        "xclusterclientip",
        "xmsclientip",
        "xmsforwardedclientip",
        "xnfclientconnectionip",
        "xappengineuserip",
        "xenvoyexternaladdress",
        "xoriginatingip",
        "xremoteip",
        "xremoteaddr",
        "xremoteaddress",
        "remoteip",
        "remoteaddr",
        "remoteaddress",
        "userip",
        "wlproxyclientip",
        "proxyclientip",
    )
)
_MAX_NAME = 64
_SEPARATORS = str.maketrans("", "", "-_. ")


class NameKind(Enum):
    """What the value under a name is."""

    PLAIN = "plain"
    SECRET = "secret"  # noqa: S105
    ADDRESS = "address"
    VISITOR = "the visitor's address"
    KEPT = "kept as it is"


def _normal(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


_SECRET_ENDINGS = tuple(sorted({_normal(name) for name in (*PASSWORDS, *COMPOUNDS, *WORDS)}))


def kind_of(name: str) -> NameKind:
    """What a name says of its value. Case, `-`, `_`, `.` and spaces are ignored; past 64 characters it is no name."""
    if len(name) > _MAX_NAME:
        return NameKind.PLAIN
    normal = _normal(name)
    if normal.endswith(_SECRET_ENDINGS):
        return NameKind.SECRET
    if normal.removeprefix("http") in _ADDRESS_NAMES:
        return NameKind.ADDRESS
    return NameKind.PLAIN


def alternation(*names: str) -> str:
    """A regular expression for any of the names in lower-case text, with `-` and `_` optional between their words."""
    return shared_starts(["[-_]?" if character == "-" else re.escape(character) for character in name] for name in names)


def shortest(literals: Iterable[str]) -> tuple[str, ...]:
    """The literals that hold no other one: a text holds one of them if and only if it holds one of all."""
    found: list[str] = []
    for literal in sorted(set(literals), key=len):
        if not any(other in literal for other in found):
            found.append(literal)
    return tuple(found)


def shared_starts(phrases: Iterable[Iterable[str]]) -> str:
    """A regular expression for any of the phrases, each a series of expressions.

    Those that start alike share their start, so that a search tries each character of the text once.
    """
    tree: dict[str, Any] = {}
    for phrase in phrases:
        node = tree
        for part in phrase:
            node = node.setdefault(part, {})
        node[""] = {}
    return _branches(tree)


def _branches(tree: dict[str, Any]) -> str:
    branches = [part + _branches(rest) for part, rest in sorted(tree.items(), reverse=True) if part]
    if not branches:
        return ""
    if "" in tree:
        branches.append("")
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
