"""What the table of rules is written in: the row itself and the pieces that its patterns share."""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from shared.privacy.names import COMPOUNDS, PARAMETERS, PASSWORDS, WORDS, alternation


class Rule(NamedTuple):
    """One form of secret.

    What is redacted is the last group of `expression` that took part, or the whole match where there is no group.

    A rule with `names` says what follows the name of a secret in lower-case text; it is tried behind every name of those
    classes where the next character is one of `hints`. Any other rule is tried on the text as it is (`folded`: in lower
    case) where that holds one of `hints`.

    `confirm` judges what was found, `extent` says where a secret ends whose start the pattern found, `trim` are characters
    that belong to the sentence around a secret, and `quoted` puts the replacement into the quotes of the group `quote`.
    """

    name: str
    source: str
    expression: str
    hints: tuple[str, ...]
    names: tuple["NameClass", ...] = ()
    folded: bool = False
    confirm: Callable[[str], bool] | None = None
    extent: Callable[[str, int], int] | None = None
    trim: str = ""
    quoted: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """The expression compiled, on first use: most rules are never tried in the life of a process."""
        return compiled(self.expression)


@cache
def compiled(expression: str, flags: int = re.ASCII) -> re.Pattern[str]:
    """Of ASCII classes only, so that a word character and a digit are what the sources mean.

    Kept for good, so meant for the expressions of this package, and compiled on first use, so that an import stays cheap.
    """
    return re.compile(expression, flags)


def pattern(*parts: str) -> str:
    """One expression of its parts."""
    return "".join(parts)


def many(*alternatives: str, least: int = 1) -> str:
    """As many of the alternatives as there are, given back to nobody.

    The empty last alternative puts CPython before 3.11.5 back where a failed one began (gh-106052).
    """
    return f"(?:{'|'.join(alternatives)}|(?!)){'++' if least else '*+'}"


def starting(start: str, *rest: str) -> str:
    """A token that starts with `start`, of fixed width, where no letter or digit stands before it but that of an escape."""
    escapes = "|".join(f"(?<={escape}{start})" for escape in (r"\\[nrtbf]", r"\\u[0-9A-Fa-f]{4}"))
    return pattern(start, f"(?:(?<![A-Za-z0-9]{start})|{escapes})", *rest)


class NameClass(NamedTuple):
    """Names that are read alike: an expression for their ends, and literals of which each holds one."""

    ends: str
    hints: tuple[str, ...]


PASSWORD = NameClass(alternation(*PASSWORDS), ("pass", "pwd"))
COMPOUND = NameClass(
    f"(?:{alternation(*COMPOUNDS)}|t(?<=[a-z0-9_]t)oken|s(?<=[a-z0-9_]s)ecret)",
    ("key", "signature", "string", "secret", "token"),
)
"""Names of several words, `token` and `secret` at the end of another word among them."""
WORD = NameClass(alternation(*WORDS), ("secret", "token", "cookie", "authorization"))
ANY = (PASSWORD, COMPOUND, WORD)

PARAMETER = alternation(*PARAMETERS)
PARAMETER_HINTS = ("code", "sig", "key", "token", "secret", "pass", "pwd", "sas", "jwt")

START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
DONE = r"(?!\[redacted\])"
JSON_SPACE = r"(?:\s|\\[nrt]){0,64}+"
SPACE = r"[ \t]{0,16}+"
GAP = r"[ \t]{1,16}+"
DIGIT_NEAR = r"(?=[^\s\d]{0,63}+\d)"
_MEMBER_VALUES = (
    '"(' + many(r'[^"\\]++', r"\\.") + ")",
    "[bu]?'(" + many(r"[^'\\]++", r"\\.") + ")",
    r"\\" + '"(' + many(r'[^"\\]++', r"\\\\(?:\\.|[^\\])") + ")",
    r"\\{3}" + '"(' + many(r'[^"\\]++', r'\\{4,}+"?+', r'\\{1,3}+(?![\\"])') + ")",
    r"\\{7}" + '"(' + many(r'[^"\\]++', r'\\{8,}+"?+', r'\\{1,7}+(?![\\"])') + ")",
)
MEMBER_VALUE = f"(?:{'|'.join(_MEMBER_VALUES)})"
"""A string as JSON and its kin write it, and as JSON in strings of JSON does, up to three deep."""
URL_SPACE = r"[ \t+]"
SEPARATOR = r"(?:\?|&(?:amp;)?|#|\\u0026)"
VALUE = r"""[^\s&;,"'<>`\\]"""
PARAMETER_VALUE = r"""([^\s&"'<>`\\#]++)"""
COOKIE_NAME = r"""[^\s=;,"'<>\\()]{1,256}+"""
COOKIE_VALUE = r"""[^\s;&,"'<>\\()]"""
QUOTABLE = r"[\w$/+!#%^*@~.-]"
LINE = many(
    r"""[^\r\n"'\\=]++""",
    rf"""="{QUOTABLE}[^"\r\n\\,{{}}]*+\"""",
    rf"""=\\"{QUOTABLE}[^"\r\n\\,{{}}]*+\\\"""",
    "=",
)
_END = r"""(?=[\s&;,"'<>)\]}`\\]|\Z)"""
_PATH = many(r"[a-z_$]++\.", least=0)
NO_CODE = (
    rf"(?!\$[({{]|\{{[\w.]*+\}}|%\(|(?:%s|\*++|null|none|nil|undefined|true|false|string){_END}"
    rf"|{_PATH}[a-z_$]++\(|(?=[a-z_$]++\.){_PATH}[a-z_$]++[;),])"
)
"""Not a placeholder, a mask, a literal, a call or a path of identifiers."""
CLOSERS = ")]},.;:"
