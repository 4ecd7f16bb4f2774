"""Applies the rules to one string: finds what is secret in it and writes `[REDACTED]` there, leaving the rest as it was."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from operator import itemgetter

from shared.privacy.forms import ANY, NameClass, Rule, compiled
from shared.privacy.names import shared_starts, shortest
from shared.privacy.rules import RULES

REDACTED = "[REDACTED]"

_Span = tuple[int, int, str]
"""Where a secret starts, minus where it ends (so that of two the longer sorts first), and what replaces it."""

_MARKS = ("=", ":", "%", "</", "form-data")
"""No name stands before a value, and no URL holds a credential, without one of these."""
_FOLDED = tuple(rule for rule in RULES if rule.folded)
_FOLDED_HINTS = shortest((*(hint for names in ANY for hint in names.hints), *(hint for rule in _FOLDED for hint in rule.hints)))
_PLAIN = tuple(rule for rule in RULES if not (rule.names or rule.folded))
_MAX_ENCODINGS = 3
_MAX_ROUNDS = 3
"""A secret that stood right against another is only seen once that one is gone."""
_ESCAPE = "%(?:09|0[AaDd]|2[0-9A-Fa-f]|3[A-Fa-f]|40|5[B-Fb-f]|60|7[B-Eb-e])"


class _NamedRules:
    """The rules behind one class of names, in one pattern: the text is searched once for the names, not once a rule."""

    def __init__(self, names: NameClass, rules: Iterable[Rule]) -> None:
        self.hints = names.hints
        self._rules: dict[int, Rule] = {}
        self._quotes: dict[int, int] = {}
        self._last: dict[int, int] = {}
        parts: list[str] = []
        group = 1
        for rule in rules:
            self._rules[group] = rule
            self._last[group] = group + rule.pattern.groups
            self._quotes[group] = group + rule.pattern.groupindex.get("quote", 0)
            distinct = re.sub(r"\(\?P([<=])", rf"(?P\1rule{group}", rule.expression)
            parts.append(f"(?=[{re.escape(''.join(rule.hints))}])({distinct})")
            group += 1 + rule.pattern.groups
        self._pattern = re.compile(f"{names.ends}(?:{'|'.join(parts)})", re.ASCII)

    def find(self, text: str) -> Iterator[_Span]:
        position = 0
        for match in self._pattern.finditer(text):
            outer = match.lastindex
            if match.start() < position or outer is None:
                continue
            rule = self._rules[outer]
            group = self._last[outer]
            while match.start(group) < 0:
                group -= 1
            span = _span(rule, text, match.start(group), match.end(group), match[self._quotes[outer]] if rule.quoted else "")
            if span is not None:
                position = -span[1]
                yield span


@cache
def _named() -> tuple[_NamedRules, ...]:
    return tuple(_NamedRules(names, [rule for rule in RULES if names in rule.names]) for names in ANY)


@cache
def _plain_hint() -> re.Pattern[str]:
    return re.compile(shared_starts(map(re.escape, hint) for rule in _PLAIN for hint in rule.hints))


@cache
def _escapes() -> tuple[tuple[str, str], ...]:
    """The punctuation that names and values stand between; `%25` last, so that one encoding is undone at a time."""
    codes = sorted(range(128), key=lambda code: code == ord("%"))
    escapes = ((escape, chr(code)) for code in codes for escape in (f"%{code:02X}", f"%{code:02x}"))
    return tuple(dict.fromkeys(pair for pair in escapes if compiled(_ESCAPE).fullmatch(pair[0])))


def redact(text: str) -> tuple[str, int]:
    """The text without its secrets, and how many there were."""
    count = 0
    for _ in range(_MAX_ROUNDS):
        spans = _spans(text, _MAX_ENCODINGS)
        if not spans:
            break
        text, found = _replace(text, spans)
        count += found
    return text, count


def _spans(text: str, encodings: int) -> list[_Span]:
    spans: list[_Span] = []
    if _holds(text, _MARKS):
        folded = _fold(text)
        if _holds(folded, _FOLDED_HINTS):
            spans.extend(_folded_spans(folded))
    if _plain_hint().search(text) is not None:
        for rule in _PLAIN:
            if _holds(text, rule.hints):
                spans.extend(_find(rule, text))
    if encodings and "%" in text:
        spans.extend(_encoded_spans(text, encodings))
    return spans


def _folded_spans(folded: str) -> Iterator[_Span]:
    for named in _named():
        if _holds(folded, named.hints):
            yield from named.find(folded)
    for rule in _FOLDED:
        if _holds(folded, rule.hints):
            yield from _find(rule, folded)


def _encoded_spans(text: str, encodings: int) -> Iterator[_Span]:
    """What is secret once percent-encoding is undone, in places of the text as it is."""
    decoded = text
    for escape, character in _escapes():
        decoded = decoded.replace(escape, character)
    spans = _spans(decoded, encodings - 1) if len(decoded) < len(text) else []
    if not spans:
        return
    escapes = [match.start() - 2 * index for index, match in enumerate(compiled(_ESCAPE).finditer(text))]
    for start, negative_end, replacement in spans:
        end = -negative_end
        encoded = replacement.replace("\\", "%5C").replace('"', "%22").replace("'", "%27")
        yield start + 2 * bisect_left(escapes, start), -(end + 2 * bisect_left(escapes, end)), encoded


def _holds(text: str, literals: tuple[str, ...]) -> bool:
    for literal in literals:  # noqa: SIM110 - any() costs a generator for each of many short strings
        if literal in text:
            return True
    return False


def _fold(text: str) -> str:
    """Lower case, character for character."""
    folded = text.lower()
    return folded if len(folded) == len(text) else text.replace("\u0130", "i").lower()


def _find(rule: Rule, text: str) -> Iterator[_Span]:
    for match in rule.pattern.finditer(text):
        span = _span(rule, text, *match.span(match.lastindex or 0))
        if span is not None:
            yield span


def _span(rule: Rule, text: str, start: int, end: int, quote: str = "") -> _Span | None:
    if rule.confirm is not None and not rule.confirm(text[start:end].rstrip(rule.trim) if rule.trim else text[start:end]):
        return None
    if rule.extent is not None:
        end = rule.extent(text, start)
    if rule.trim and text[end - 1] in rule.trim:
        end = start + len(text[start:end].rstrip(rule.trim))
    return (start, -end, quote + REDACTED + quote if quote else REDACTED) if end > start else None


def _replace(text: str, spans: list[_Span]) -> tuple[str, int]:
    spans.sort(key=itemgetter(0, 1))
    pieces: list[str] = []
    copied, count = 0, 0
    for start, negative_end, replacement in spans:
        if start >= copied:
            pieces += (text[copied:start], replacement)
            count += 1
        copied = max(copied, -negative_end)
    pieces.append(text[copied:])
    return "".join(pieces), count
