"""Which function serves a path: the precedence of ASP.NET Core's attribute routing, on a tree that is built once.

A literal beats a parameter, a constrained parameter a free one, and a catch-all comes last, segment by segment from the
left. The method is one more condition: where the best template does not serve it, the next one is asked.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.cli.host.constraints import Constraint
from shared.cli.host.templates import Literal, Parameter, Segment, parse_template

T = TypeVar("T")

_ESCAPES = re.compile(r"(?:%(?!2[Ff])[0-9A-Fa-f]{2})+")
_LITERAL, _CONSTRAINED, _FREE, _CONSTRAINED_REST, _REST = range(1, 6)


@dataclass(frozen=True, slots=True)
class _Leaf(Generic[T]):
    endpoint: T
    methods: frozenset[str]
    names: tuple[str, ...]
    checks: tuple[tuple[int, Constraint], ...]
    defaults: Mapping[str, str]
    precedence: tuple[int, ...]

    def accepts(self, method: str, values: tuple[str, ...]) -> bool:
        if self.methods and method not in self.methods:
            return False
        return all(check(values[index]) for index, check in self.checks if index < len(values))

    def parameters(self, values: tuple[str, ...]) -> dict[str, str]:
        return {**self.defaults, **{name: value for name, value in zip(self.names, values, strict=False) if value}}


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: "dict[str, _Node[T]]" = field(default_factory=dict)
    patterns: "dict[str, tuple[re.Pattern[str], _Node[T]]]" = field(default_factory=dict)
    constrained: "_Node[T] | None" = None
    free: "_Node[T] | None" = None
    leaves: list[_Leaf[T]] = field(default_factory=list)
    rests: list[_Leaf[T]] = field(default_factory=list)

    def child(self, segment: Segment) -> "_Node[T]":
        if len(segment) > 1:
            pattern = "".join(re.escape(part.text) if isinstance(part, Literal) else "(.+)" for part in segment)
            return self.patterns.setdefault(pattern, (re.compile(pattern, re.IGNORECASE | re.DOTALL), _Node()))[1]
        part = segment[0]
        if isinstance(part, Literal):
            return self.literals.setdefault(part.text.lower(), _Node())
        if part.constraints:
            self.constrained = self.constrained or _Node()
            return self.constrained
        self.free = self.free or _Node()
        return self.free


class Router(Generic[T]):
    """Routes added first win where two are equally specific. Paths are as the client sent them, without the query."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._fixed: dict[str, list[_Leaf[T]]] = {}

    def add(self, template: str, methods: Collection[str], endpoint: T) -> None:
        """Serve `methods` (upper case; none means all) of a template. Raises ValueError for a template that is none."""
        segments = parse_template(template)
        leaf = _leaf(segments, methods, endpoint)
        if all(precedence == _LITERAL for precedence in leaf.precedence):
            self._fixed.setdefault("/" + template.lower(), []).append(leaf)
        node = self._root
        for index, segment in enumerate(segments):
            part = segment[0]
            if isinstance(part, Parameter) and part.may_be_absent and _all_absent(segments[index:]):
                _insert(node.leaves, leaf)
            if isinstance(part, Parameter) and part.catch_all:
                _insert(node.rests, leaf)
                return
            node = node.child(segment)
        _insert(node.leaves, leaf)

    def match(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """What serves the method of this path, and the route's values; None where nothing does."""
        if "%" in path or "/." in path:
            path = decode_path(path)
        lowered = path.lower()
        for leaf in self._fixed.get(lowered, ()):
            if leaf.accepts(method, ()):
                return leaf.endpoint, {}
        end = len(path) - (path.endswith("/"))
        segments = path[1:end].split("/") if end > 1 else []
        found = _find(self._root, method, segments, 0, ())
        return None if found is None else (found[0].endpoint, found[0].parameters(found[1]))


def decode_path(path: str) -> str:
    """The path with its escapes decoded, but for `%2F` and what is not UTF-8, and its dot segments gone, as Kestrel does."""
    path = _ESCAPES.sub(_decode, path)
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _decode(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return match[0]


def _leaf(segments: tuple[Segment, ...], methods: Collection[str], endpoint: T) -> _Leaf[T]:
    parameters = [part for segment in segments for part in segment if isinstance(part, Parameter)]
    return _Leaf(
        endpoint,
        frozenset(methods),
        tuple(parameter.name for parameter in parameters),
        tuple((index, check) for index, parameter in enumerate(parameters) for check in parameter.constraints),
        {parameter.name: parameter.default for parameter in parameters if parameter.default is not None},
        tuple(_precedence(segment) for segment in segments),
    )


def _precedence(segment: Segment) -> int:
    part = segment[0]
    if len(segment) > 1:
        return _CONSTRAINED
    if isinstance(part, Literal):
        return _LITERAL
    if part.catch_all:
        return _CONSTRAINED_REST if part.constraints else _REST
    return _CONSTRAINED if part.constraints else _FREE


def _all_absent(segments: tuple[Segment, ...]) -> bool:
    return all(len(segment) == 1 and isinstance(segment[0], Parameter) and segment[0].may_be_absent for segment in segments)


def _insert(leaves: list[_Leaf[T]], leaf: _Leaf[T]) -> None:
    leaves.append(leaf)
    leaves.sort(key=lambda one: one.precedence)


def _find(
    node: _Node[T], method: str, segments: list[str], index: int, values: tuple[str, ...]
) -> tuple[_Leaf[T], tuple[str, ...]] | None:
    if index == len(segments):
        return next(((leaf, values) for leaf in node.leaves if leaf.accepts(method, values)), None)
    segment = segments[index]
    for child, captured in _children(node, segment):
        found = _find(child, method, segments, index + 1, values + captured)
        if found is not None:
            return found
    rest = (*values, "/".join(segments[index:]))
    return next(((leaf, rest) for leaf in node.rests if leaf.accepts(method, rest)), None)


def _children(node: _Node[T], segment: str) -> list[tuple[_Node[T], tuple[str, ...]]]:
    """The nodes that the segment may lead to, most specific first, with the values it gives. An empty one leads nowhere."""
    children: list[tuple[_Node[T], tuple[str, ...]]] = []
    if literal := node.literals.get(segment.lower()):
        children.append((literal, ()))
    if not segment:
        return children
    for pattern, child in node.patterns.values():
        if match := pattern.fullmatch(segment):
            children.append((child, match.groups()))
    if node.constrained is not None:
        children.append((node.constrained, (segment,)))
    if node.free is not None:
        children.append((node.free, (segment,)))
    return children
