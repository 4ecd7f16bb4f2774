"""Route templates of ASP.NET Core, parsed: `items/{id:int}`, `files/{*path}`, `v{major}.{minor}`, `page/{number=1}`.

https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-templates
"""

import re
from dataclasses import dataclass

from shared.cli.host.constraints import Constraint, parse_constraint

_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")
_NAME = re.compile(r"[^/{}?*:=]+")


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    constraints: tuple[Constraint, ...] = ()
    optional: bool = False
    default: str | None = None
    catch_all: bool = False

    @property
    def may_be_absent(self) -> bool:
        return self.optional or self.default is not None or self.catch_all


Part = Literal | Parameter
Segment = tuple[Part, ...]


def parse_template(template: str) -> tuple[Segment, ...]:
    """The segments of a template. Raises ValueError that says what is wrong with it."""
    if not template:
        return ()
    segments = [_parse_segment(text) for text in _split(template)]
    _check(segments)
    return tuple(segments)


def _split(template: str) -> list[str]:
    """The texts between the slashes that stand outside braces."""
    texts, start, depth = [], 0, 0
    for index, character in enumerate(template):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth == 0:
            texts.append(template[start:index])
            start = index + 1
    texts.append(template[start:])
    if depth:
        raise ValueError("a brace is not closed")
    if not all(texts):
        raise ValueError("a slash stands at an end or next to another")
    return texts


def _parse_segment(text: str) -> Segment:
    parts: list[Part] = []
    position = 0
    while position < len(text):
        if text[position] == "{" and not text.startswith("{{", position):
            end = _end_of_parameter(text, position)
            parts.append(_parse_parameter(text[position + 1 : end].replace("{{", "{").replace("}}", "}")))
            position = end + 1
        else:
            match = _LITERAL.match(text, position)
            if match is None:
                raise ValueError("a closing brace has no opening one")
            parts.append(Literal(_literal(match[0])))
            position = match.end()
    return tuple(parts)


def _end_of_parameter(text: str, start: int) -> int:
    position = start + 1
    while (position := text.find("}", position)) >= 0:
        if not text.startswith("}}", position):
            return position
        position += 2
    raise ValueError("a brace is not closed")


def _literal(text: str) -> str:
    if "?" in text:
        raise ValueError("a literal contains '?'")
    return text.replace("{{", "{").replace("}}", "}")


def _parse_parameter(text: str) -> Parameter:
    stars = len(text) - len(text.lstrip("*"))
    match = _NAME.match(text, stars)
    if match is None or stars > 2:
        raise ValueError(f"{{{text}}} has no valid name")
    rest = text[match.end() :]
    optional = rest.endswith("?")
    constraints, rest = _parse_constraints(rest.removesuffix("?"))
    if rest and (not rest.startswith("=") or optional):
        raise ValueError(f"{{{text}}} is not a valid parameter")
    return Parameter(match[0], tuple(constraints), optional, rest[1:] if rest else None, catch_all=stars > 0)


def _parse_constraints(text: str) -> tuple[list[Constraint], str]:
    """The constraints that the text starts with, and what follows them. An argument ends at `)` before `:`, `=` or the end."""
    constraints = []
    while match := re.match(r":([A-Za-z]+)(?:\((.*?)\)(?=[:=]|\Z))?", text, re.DOTALL):
        constraints.append(parse_constraint(match[1].lower(), match[2]))
        text = text[match.end() :]
    return constraints, text


def _check(segments: list[Segment]) -> None:
    names = [part.name.lower() for segment in segments for part in segment if isinstance(part, Parameter)]
    if len(names) != len(set(names)):
        raise ValueError("a parameter's name stands twice")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        for part, following in zip(segment, (*segment[1:], None), strict=True):
            if not isinstance(part, Parameter):
                continue
            if isinstance(following, Parameter):
                raise ValueError(f"{{{part.name}}} and {{{following.name}}} touch")  # noqa: TRY004 - of the template
            if len(segment) > 1 and part.may_be_absent:
                raise ValueError(f"{{{part.name}}} is optional inside a segment")
            if part.catch_all and not last:
                raise ValueError(f"{{*{part.name}}} is not the last segment")
            if part.optional and not all(_may_be_absent(other) for other in segments[index:]):
                raise ValueError(f"{{{part.name}?}} is not at the end")


def _may_be_absent(segment: Segment) -> bool:
    return len(segment) == 1 and isinstance(segment[0], Parameter) and segment[0].may_be_absent
