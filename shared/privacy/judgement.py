"""What a pattern alone can't tell: whether something that stands where a secret may stand is one, and where it ends."""

import base64
import binascii
import re

from shared.privacy.forms import compiled, many

_PROSE = (
    r"[-_./:+|%~]*+(?:[a-z]++|\d++(?:st|nd|rd|th|s|px|k|d|x|mm|cm|p|am|pm|bit)?+)"
    + many(r"[-_./:+|%]++(?:[a-z]++|\d++[a-z]{0,3}+)", least=0)
    + r"[-_./:+|%]*+"
)
_KNOWN = (
    r"[a-z][a-z0-9+.-]*+://.*|[a-z]:[\\/].*|\d{4}-\d\d-\d\d(?:t[\d:.]++z?)?|v?\d++\.\d[\d.]*+(?:[-+][a-z0-9.]++)?"
    r"|.*\.(?:png|jpe?g|gif|svg|webp|avif|ico|pem|crt|txt|log|md|json|ya?ml|toml|ini|conf|py|[jt]sx?|html?|s?css|pdf|zip)"
)
"""URLs, Windows paths, dates, versions and file names."""
_CASE_FLIP = r"[a-z][A-Z]"
_INNER_MARK = r"[A-Za-z0-9][!@#$%^&*]++[A-Za-z0-9]"
_KEY_BODY = r"[A-Za-z0-9+/]{24}"
_VALUE = r"""[^\s&;,"'<>`\\]*+"""
_BRACKETS = '"' + many(r'[^"\\]++', r"\\.", least=0) + r'"?+|[{}\[\]]'
_ESCAPED_BRACKETS = r'(?<!\\)"|[{}\[\]]'


def looks_secret(value: str) -> bool:
    """Whether text mixes letters and digits as no word, measure, path, version or date does."""
    value = value[:512].lower()
    if not has_digit(value) or value.isdigit() or value.startswith("[redacted]"):
        return False
    if not any(character.isalpha() for character in value):
        return False
    return not (compiled(_PROSE).fullmatch(value) or compiled(_KNOWN, re.ASCII | re.DOTALL).fullmatch(value))


def is_bearer_token(value: str) -> bool:
    """Whether what follows `Bearer` is a token and no word: it mixes letters and digits, or changes case time and again."""
    return looks_secret(value) or (len(value) >= 20 and _case_flips(value) > 2)


def is_argument(value: str) -> bool:
    """Whether what follows an option such as `--password` is a secret and no word of a sentence."""
    if value.isdigit():
        return len(value) >= 8
    return looks_secret(value) or _case_flips(value) > 2 or compiled(_INNER_MARK).search(value, 0, 512) is not None


def is_basic_credential(value: str) -> bool:
    """Whether base64 text holds `user:password`."""
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return ":" in decoded and decoded.isprintable()


def _case_flips(value: str) -> int:
    return len(compiled(_CASE_FLIP).findall(value, 0, 512))


def has_digit(value: str) -> bool:
    """Whether the text holds a digit, as keys do and words don't."""
    return any(character.isdigit() for character in value)


def holds_key_body(value: str) -> bool:
    """Whether an armoured key has more than its first line."""
    return compiled(_KEY_BODY).search(value) is not None


def end_of_value(text: str, start: int) -> int:
    """Where an unquoted value ends: at white space, a separator or a quote."""
    match = compiled(_VALUE).match(text, start)
    return start if match is None else match.end()


def closing_bracket(text: str, start: int) -> int:
    """Where the object or array that opens at `start` ends: behind its bracket, else with the text or the string around it."""
    escaped = text[max(start - 66, 0) : start].rstrip(" \t\r\n:=>").endswith(('\\"', "\\'"))
    depth = 0
    for token in compiled(_ESCAPED_BRACKETS if escaped else _BRACKETS, re.DOTALL).finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
        elif escaped:
            return token.start()
    return len(text)
