"""Bad input: every field of every model, every parameter. 400 that names the field, nothing stored, never a 500."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.datatypes import FLAG, HEADERS
from shared.models import Record
from tests.http.kinds import KINDS, REQUEST, SESSION, TRANSACTION, Kind
from tests.support.clients import Client

TOO_DEEP: list[Any] = []
for _ in range(20):
    TOO_DEEP = [TOO_DEEP]

NOT_TEXT = ("5", "true", "[]", "{}")
BAD_TEXT = (*NOT_TEXT, r'"a\u0000b"', r'"\ud800"')
NOT_A_NUMBER = ('"5"', "true", "[]", "{}", '""', "1e400", "-1", "9007199254740993", "1" * 400)
BAD_TIMES = (
    *NOT_TEXT,
    '""',
    '"now"',
    '"2024-01-01"',
    '"2023-07-08T09:10:11"',
    '"2024-13-01T00:00:00Z"',
    '"2999-01-01T00:00:00Z"',
    '"1969-12-31T00:00:00Z"',
)
BAD_JSON = (r'{"a": "\u0000"}', r'{"\ud800": 1}', "[9007199254740993]", "[1e999]", str(TOO_DEEP))
SERVER_SET = ("1", '"2024-01-01T00:00:00Z"', "[]")


BAD_IDS = (*BAD_TEXT, '""', '"a b"', '".."', f'"{"x" * 129}"', '"ghp_a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6"')
BAD_SIZES = ('"1x1"', "[1, 2]", "{}", '{"width": 1}', '{"width": 1, "height": -1}', '{"width": 1, "height": 1, "depth": 1}')
BY_NAME = {
    "id": BAD_IDS,
    "sessionId": BAD_IDS,
    "timestamp": BAD_TIMES,
    "endTime": BAD_TIMES,
    "statusCode": (*NOT_A_NUMBER, "99", "600", "200.5"),
    "fileSize": (*NOT_A_NUMBER, "1.5"),
    "dimensions": BAD_SIZES,
    "status": (*NOT_TEXT, '""', '"done"', '"Completed"'),
    "level": (*NOT_TEXT, '""', '"loud"'),
    "metadata": ("[]", '"x"', "5", "true", *(f'{{"x": {text}}}' for text in BAD_JSON)),
}
BAD_FLAGS = ('"true"', "1", "0", "[]", '""')
BAD_HEADERS = ("[]", '"x"', '{"a": {}}', '{"a": [[]]}', r'{"a": "\u0000"}')


def bad_values(model: type[Record], name: str) -> tuple[str, ...]:
    """JSON texts that a field must refuse, by its name or the type that the model declares."""
    if name in model.server_set:
        return SERVER_SET
    if name in BY_NAME:
        return BY_NAME[name]
    schema = model.fields[name].schema
    by_type = ((name in model.durations, NOT_A_NUMBER), (schema is FLAG, BAD_FLAGS), (schema is HEADERS, BAD_HEADERS))
    rest = (*BAD_TEXT, f'"{"x" * 65_537}"') if schema["type"] == "str" else BAD_JSON
    return next((values for fits, values in by_type if fits), rest)


def field_cases() -> Iterator[Any]:
    for kind in KINDS:
        for name in sorted(kind.model.wire_names):
            yield pytest.param(kind, name, id=f"{kind.route}-{name}")


@pytest.mark.parametrize(("kind", "name"), [*field_cases()])
async def test_a_bad_value_is_refused_by_the_field_s_name(client: Client, kind: Kind, name: str, mark: str) -> None:
    """Each bad value of each field is 400 and nothing is stored; a patch to it is refused as well."""
    await client.post(f"/api/{kind.route}", json={"id": f"{mark}-there", **kind.record})
    for value in bad_values(kind.model, name):
        rest = {member: text for member, text in kind.record.items() if member != name}
        members = [f'"{name}": {value}', *(f'"{member}": {quoted(text)}' for member, text in rest.items())]
        if name != "id":
            members.append(f'"id": "{mark}"')
        refused = await client.post(f"/api/{kind.route}", body="{" + ", ".join(members) + "}", headers=JSON)
        assert_names(refused, name, value)
        patched = await client.request("PATCH", f"/api/{kind.route}/{mark}-there", body=f'{{"{name}": {value}}}', headers=JSON)
        assert_names(patched, name, value)
    assert (await client.get(f"/api/{kind.route}/{mark}")).status == 404


JSON = {"Content-Type": "application/json"}


def quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def assert_names(response: Any, name: str, value: str) -> None:
    assert response.status == 400, (value[:50], response.text)
    problem = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    if problem["code"] != "invalid_json":
        assert any(detail["field"].partition(".")[0] == name for detail in problem["details"]), (value[:50], problem)
    if len(value) > 12:
        assert value.strip('"') not in response.text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.route)
async def test_unknown_fields_are_refused_by_name(client: Client, kind: Kind) -> None:
    """A field that no model knows, in any case or style, is named."""
    unknown = {"prompt": 1, "user_ip": "192.0.2.1", "ID": "x", "": 1, "_": {}}
    refused = await client.post(f"/api/{kind.route}", json={**kind.record, **unknown})
    assert refused.status == 400
    assert {detail["field"] for detail in refused.json()["details"]} == set(unknown)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not SESSION], ids=lambda kind: kind.route)
async def test_missing_fields_are_all_named(client: Client, kind: Kind) -> None:
    """An empty object lacks what the model requires."""
    refused = await client.post(f"/api/{kind.route}", json={})
    required = {name for name, field in kind.model.fields.items() if field.required}
    assert {detail["field"] for detail in refused.json()["details"]} == required
    assert {detail["message"] for detail in refused.json()["details"]} == {"is required"}


@pytest.mark.parametrize("sent", [{"success": True, "status": "failed"}, {"success": False, "status": "pending"}])
async def test_contradictions_are_refused(client: Client, sent: dict[str, Any]) -> None:
    """Success and status that contradict each other are both named."""
    refused = await client.post("/api/transactions", json={**TRANSACTION.record, **sent})
    assert {detail["field"] for detail in refused.json()["details"]} == {"success", "status"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "1001"),
        ("limit", "abc"),
        ("order", "up"),
        ("since", "yesterday"),
        ("until", "2024-01-01"),
        ("cursor", "x"),
        ("cursor", "WzEsMl0"),
        ("fields", "nothing"),
        ("statusCode", "ok"),
        ("statusCode", "99"),
        ("errorOccurred", "yes"),
        ("method", "a\0"),
        ("sessionId", "a b"),
        ("userIP", "192.0.2.1"),
        ("x" * 500, "1"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(client: Client, name: str, value: str) -> None:
    """A parameter that is unknown, mistyped or out of range is named; never an empty list, never a 500."""
    refused = await client.get("/api/requests", params={name: value, "limit": value if name == "limit" else "5"})
    assert refused.status == 400
    assert name[:128] in {detail["field"][:128] for detail in refused.json()["details"]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.route)
async def test_a_cursor_of_another_list_is_refused(client: Client, kind: Kind, mark: str) -> None:
    """A cursor belongs to its model, its filters and its order."""
    name, value = ("country", "XX") if kind is SESSION else ("sessionId", mark)
    for number in range(2):
        await client.post(f"/api/{kind.route}", json={**kind.record, name: value, "id": f"{mark}.{number}"})
    cursor = (await client.get(f"/api/{kind.route}", params={"limit": 1, name: value})).json()["nextCursor"]
    for route, parameters in (
        (kind.route, {}),
        (kind.route, {name: value, "order": "asc"}),
        ("events" if kind.route != "events" else "requests", {}),
    ):
        refused = await client.get(f"/api/{route}", params={**parameters, "cursor": cursor})
        assert refused.status == 400
        assert [detail["field"] for detail in refused.json()["details"]] == ["cursor"]


@pytest.mark.parametrize("path", ["/api/transactions/x", "/api/health", "/api/openapi.json", "/api/stats"])
async def test_unknown_parameters_are_refused_everywhere(client: Client, path: str) -> None:
    """Every route names the parameter it does not know; the platform's own key is known."""
    refused = await client.get(path, params={"colour": "red", "code": "key"})
    assert (refused.status, [detail["field"] for detail in refused.json()["details"]]) == (400, ["colour"])


@pytest.mark.parametrize("record_id", ["none", "a%20b", "..%2f..%2fetc", "x" * 300, "%C3%A9", "'; DROP TABLE x"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.route)
async def test_an_id_that_can_not_be_is_not_found(client: Client, kind: Kind, record_id: str) -> None:
    """Reading, changing and deleting what is no id is 404."""
    path = f"/api/{kind.route}/{record_id}".replace(" ", "%20")
    for method in ("GET", "PATCH", "DELETE"):
        response = await client.request(method, path, body=b"{}" if method == "PATCH" else None, headers=JSON)
        assert response.status == 404


async def test_a_record_past_its_limit_is_413(client: Client) -> None:
    """A record has at most 256 KB as JSON."""
    refused = await client.post("/api/requests", json={**REQUEST.record, "requestBody": "x" * 262_200})
    assert (refused.status, refused.json()["code"]) == (413, "too_large")
