"""Routes: templates, constraints, precedence, decoding."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cli.host.routes import Router, decode_path
from shared.cli.host.templates import parse_template

UUID = "018d5a2e-7c00-7abc-8def-0123456789ab"

segments = st.text(min_size=1).filter(lambda text: "/" not in text and "\0" not in text and text not in {".", ".."})
names = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=8)


def router(*templates: str) -> Router[str]:
    made: Router[str] = Router()
    for template in templates:
        made.add(template, (), template)
    return made


def served(made: Router[str], path: str, method: str = "GET") -> str | None:
    match = made.match(method, path)
    return None if match is None else match[0]


def values(template: str, path: str) -> dict[str, str] | None:
    match = router(template).match("GET", path)
    return None if match is None else match[1]


@pytest.mark.parametrize("path", ["/api/items", "/API/Items", "/api/items/", "/api/./items", "/api/x/../items", "/api/%69tems"])
def test_a_literal_path_is_found_however_it_is_written(path: str) -> None:
    """Case, a trailing slash, dot segments and escapes make no difference to a literal."""
    assert served(router("api/items"), path) == "api/items"


@pytest.mark.parametrize("path", ["/", "/api", "/api//items", "/api/items/1", "/api/items//", "//api/items", "/items"])
def test_another_path_is_not_found(path: str) -> None:
    """A path with other, more, fewer or empty segments is not served."""
    assert served(router("api/items"), path) is None


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("a/{id}", "/a/1", {"id": "1"}),
        ("a/{Id}", "/A/MiXed", {"Id": "MiXed"}),
        ("a/{id}", "/a", None),
        ("a/{id}", "/a/", None),
        ("a/{id}", "/a/1/2", None),
        ("a/{id?}", "/a", {}),
        ("a/{id?}", "/a/1", {"id": "1"}),
        ("a/{x?}/{y?}", "/a/1", {"x": "1"}),
        ("a/{page=1}", "/a", {"page": "1"}),
        ("a/{page=1}", "/a/2", {"page": "2"}),
        ("a/{page:int=1}", "/a/x", None),
        ("{a}/b/{c}", "/1/b/2", {"a": "1", "c": "2"}),
        ("f/{*path}", "/f/a/b/c.txt", {"path": "a/b/c.txt"}),
        ("f/{**path}", "/f/a/b", {"path": "a/b"}),
        ("f/{*path}", "/f", {}),
        ("f/{*path:minlength(3)}", "/f/ab", None),
        ("{*path}", "/", {}),
        ("v{major}.{minor}", "/v1.2.3", {"major": "1.2", "minor": "3"}),
        ("v{major}.{minor}", "/v1", None),
        ("{{a}}/{b}", "/{a}/1", {"b": "1"}),
        ("", "/", {}),
    ],
)
def test_a_template_gives_its_values(template: str, path: str, expected: dict[str, str] | None) -> None:
    """Parameters, optional ones, defaults, catch-alls and mixed segments give the values ASP.NET gives."""
    assert values(template, path) == expected


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ("int", ["0", "-5", "2147483647"], ["x", "1.5", "2147483648", "٣"]),
        ("long", ["9223372036854775807"], ["9223372036854775808", "9" * 5000]),
        ("bool", ["true", "FALSE"], ["1", "yes"]),
        ("guid", [UUID, UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}"], [UUID[:-1], "x" * 36]),
        ("alpha", ["abcXYZ"], ["ab1", "é"]),
        ("decimal", ["1", "-1.50", "1,000.5"], ["1e5", "x"]),
        ("double", ["1e5", "-.5"], ["1e", "."]),
        ("float", ["1.5"], ["1.5.5"]),
        ("datetime", ["2024-01-31", "2024-01-01T10:00:00Z"], ["2024-02-30", "x"]),
        ("length(3)", ["abc"], ["ab", "abcd"]),
        ("length(2,3)", ["ab", "abc"], ["a", "abcd"]),
        ("minlength(2)", ["ab"], ["a"]),
        ("maxlength(2)", ["ab"], ["abc"]),
        ("min(5)", ["5"], ["4", "x"]),
        ("max(5)", ["5", "-1"], ["6"]),
        ("range(1,3)", ["1", "3"], ["0", "4"]),
        (r"regex(^\d{{3}}-[a-z]+$)", ["123-abc", "123-ABC"], ["12-abc"]),
        ("regex(^(a|b)$)", ["a"], ["c"]),
        ("required", ["x"], []),
        ("file", ["a.txt"], ["a", "a."]),
        ("nonfile", ["a"], ["a.txt"]),
        ("int:min(1):max(9)", ["5"], ["0", "10"]),
    ],
)
def test_a_constraint_decides(constraint: str, good: list[str], bad: list[str]) -> None:
    """A value that breaks a constraint makes the route another one, not an error."""
    made = router(f"a/{{id:{constraint}}}")
    assert [served(made, f"/a/{quote(value)}") is not None for value in good] == [True] * len(good)
    assert [served(made, f"/a/{quote(value)}") is not None for value in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "a/b"),
        ("/a/7", "a/{id:int}"),
        ("/a/x-y", "a/x-{id}"),
        ("/a/x", "a/{id}"),
        ("/a/x/y", "a/{*rest}"),
        ("/a/c/d", "a/c/d"),
        ("/a/c/e", "{x}/c/e"),
        ("/b/c/e", "{x}/c/e"),
        ("/a/c/f", "a/{*rest}"),
    ],
)
def test_the_most_specific_route_wins(path: str, expected: str) -> None:
    """Literal, constrained, free, catch-all, segment by segment from the left, whatever the order of registration."""
    templates = ["{x}/c/e", "a/{*rest}", "a/{id}", "a/x-{id}", "a/{id:int}", "a/c/d", "a/b"]
    if expected == "{x}/c/e" and path.startswith("/a"):
        templates.remove("a/{*rest}")
    for order in (templates, templates[::-1]):
        assert served(router(*order), path) == expected


def test_a_method_that_the_best_route_does_not_serve_goes_to_the_next() -> None:
    """The method is one more condition: GET of a literal that only takes POST reaches the parameter's route."""
    made: Router[str] = Router()
    made.add("a/new", ["POST"], "create")
    made.add("a/{id}", ["GET"], "read")
    made.add("a/{id}", ["DELETE"], "delete")
    assert [served(made, "/a/new", method) for method in ("POST", "GET", "DELETE", "PUT")] == ["create", "read", "delete", None]


def test_head_is_a_method_of_its_own() -> None:
    """HEAD reaches functions that list it or list nothing, and no others."""
    made: Router[str] = Router()
    made.add("get", ["GET"], "get")
    made.add("both", ["GET", "HEAD"], "both")
    made.add("all", [], "all")
    assert [served(made, path, "HEAD") for path in ("/get", "/both", "/all")] == [None, "both", "all"]


@pytest.mark.parametrize(
    "template",
    [
        *("a//b", "/a", "a/", "a/{id", "a/id}", "a/{}", "{id}/{ID}", "{*x}/a", "a?", "{id:nope}", "{id:int(3)}", "{id:length}"),
        *("{id:length(x)}", "{id:regex([)}", "{a}{b}", "x{a?}", "{a?}/b", "{a?=1}", "{***a}", "{a:length(1,2,3)}"),
    ],
)
def test_a_malformed_template_is_refused(template: str) -> None:
    """What ASP.NET refuses at start is refused, not served by accident."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_template(template)


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        ("/a%20b", "/a b"),
        ("/%C3%A9", "/é"),
        ("/a%2Fb%2fc", "/a%2Fb%2fc"),
        ("/%2525", "/%25"),
        ("/%zz%", "/%zz%"),
        ("/%FF", "/%FF"),
        ("/a/%2e%2e/b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/a/...", "/a/..."),
    ],
)
def test_a_path_is_decoded_once(raw: str, decoded: str) -> None:
    """Escapes are decoded once, but for `%2F` and broken ones; dot segments go, however they are written."""
    assert decode_path(raw) == decoded


@given(segments)
def test_any_value_survives_its_escaping(value: str) -> None:
    """A segment that a client escapes reaches the function as it was, but for the escaped slash."""
    assert values("a/{id}", f"/a/{quote(value, safe='', errors='replace')}") == {"id": value.encode(errors="replace").decode()}


@given(names, names, segments)
def test_a_literal_beats_a_parameter(literal: str, other: str, value: str) -> None:
    """A literal route takes exactly its own paths from a parameter's."""
    made = router(f"x/{{id}}/{other}", f"x/{literal}/{other}")
    path = f"/x/{quote(value, safe='', errors='replace')}/{other}"
    expected = f"x/{literal}/{other}" if value.lower() == literal else f"x/{{id}}/{other}"
    assert served(made, path) == expected


@given(st.lists(segments, min_size=1, max_size=5))
def test_a_catch_all_takes_the_rest(parts: list[str]) -> None:
    """What follows the prefix is the value, slashes and all."""
    path = "/".join(quote(part, safe="", errors="replace") for part in parts)
    assert values("f/{*rest}", f"/f/{path}") == {"rest": "/".join(part.encode(errors="replace").decode() for part in parts)}


@given(st.text())
def test_no_path_makes_it_fail(path: str) -> None:
    """Whatever a client sends as a path is matched or not, never an error."""
    made = router("a/{id:int}", "a/{*rest:minlength(2)}", "v{x}.{y}", "b")
    made.match("GET", f"/{path}")
    made.match("GET", f"/a/{path}")
