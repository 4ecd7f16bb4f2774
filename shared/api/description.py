"""The OpenAPI 3.1 document, made from the models and the fields they declare as filterable."""

from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from shared import __version__, jsontext
from shared.api.bodies import BATCH, JSON, MERGE_PATCH, BodyFormat
from shared.api.endpoint import REQUEST_ID_HEADER
from shared.api.problems import MEDIA_TYPE
from shared.api.routing import PREFIX
from shared.batching import MAX_ITEMS
from shared.ids import ID_PATTERN
from shared.models import PUBLIC_MODELS, ImageGenerationTransaction, Record, UserSession
from shared.query import MAX_LIMIT

Json = dict[str, Any]

_TITLES = {
    400: "The request is malformed or a field is invalid; `details` name every one.",
    404: "There is no such record.",
    409: "The request contradicts what is stored.",
    412: "The record is no longer the version that If-Match names.",
    413: "A body, a batch or a record is over its limit.",
    415: "The body's content type, charset or encoding is not read here.",
    429: "The database asks to be called less; see Retry-After.",
    500: "Something went wrong on the service's side.",
    503: "The database is away or time ran out; see Retry-After.",
}
_MOMENT = "An RFC 3339 timestamp with an offset, or a time ago such as `24h` or `7d`."


@cache
def document_text() -> bytes:
    """The document as JSON."""
    return jsontext.encode(document())


def document() -> Json:
    """The document as a JSON value."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LogoGen Data Service",
            "version": __version__,
            "description": "Takes in records of generations, requests, events and sessions, and answers queries over them.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"functionKey": []}, {"functionKeyInQuery": []}],
        "paths": _with_request_ids(_paths()),
        "components": {
            "schemas": _schemas(),
            "parameters": {
                "RequestId": _header(REQUEST_ID_HEADER, "Names the request in answers and logs; made up if absent.")
            },
            "headers": {"RequestId": {"description": "The request's own id, or the one it was given.", "schema": _STRING}},
            "responses": {f"Problem{status}": _problem_response(status, text) for status, text in _TITLES.items()},
            "securitySchemes": {
                "functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "functionKeyInQuery": {"type": "apiKey", "in": "query", "name": "code"},
            },
        },
    }


def _schemas() -> Json:
    schemas: Json = {}
    for model in PUBLIC_MODELS:
        schema = _schema(model)
        schemas[model.__name__] = schema
        schemas[_listed_name(model)] = {name: value for name, value in schema.items() if name != "required"}
    detail = _object({"field": _STRING, "message": _STRING})
    problem = dict.fromkeys(("error", "type", "title", "code", "requestId"), _STRING)
    problem |= {"success": {"const": False}, "status": {"type": ["integer", "string"]}, "details": _array(detail)}
    schemas["Problem"] = _object(problem, ["success", "error", "type", "title", "status", "code", "details", "requestId"])
    item = {"index": _INTEGER, "id": {"type": ["string", "null"]}, "status": _INTEGER, "code": _STRING, "error": _STRING}
    item |= {"details": _array(detail), "retryable": {"type": "boolean"}}
    counts = dict.fromkeys(("stored", "duplicates", "failed", "redactions"), _INTEGER)
    items = _array(_object(item, ["index", "id", "status"]))
    schemas["Batch"] = _object({"success": {"type": "boolean"}, **counts, "items": items}, ["success", *counts, "items"])
    return schemas


def _schema(model: type[Record]) -> Json:
    schema = GenerateJsonSchema().generate(model.schema())
    for name, value in model.defaults().items():
        schema["properties"][name]["default"] = value
    return {"title": model.__name__, "description": model.__doc__, **schema}


def _listed_name(model: type[Record]) -> str:
    """The schema of a list's items: with `fields` any member may be missing."""
    return f"Listed{model.__name__}"


_STRING: Json = {"type": "string"}
_INTEGER: Json = {"type": "integer"}
_SUCCESS: Json = {"const": True}
_REQUEST_ID: Json = {REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}}
_ID: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{ID_PATTERN}$"}}


def _object(properties: Json, required: list[str] | None = None) -> Json:
    return {"type": "object", "properties": properties, "required": required or list(properties)}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem_response(status: int, description: str) -> Json:
    headers = {"Retry-After": {"description": "seconds", "schema": _INTEGER}} if status in (429, 503) else {}
    content = {MEDIA_TYPE: {"schema": _ref("Problem")}}
    return {"description": description, "content": content, "headers": {**headers, **_REQUEST_ID}}


def _responses(success: Json, *problems: int) -> Json:
    refs = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted({*problems, 429, 500, 503})}
    return {**success, **refs}


def _json_response(description: str, schema: Json, **headers: str) -> Json:
    response: Json = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        response["headers"] = {name: {"description": text, "schema": _STRING} for name, text in headers.items()}
    return response


def _body(formats: BodyFormat, schema: Json) -> Json:
    as_json = (*JSON.readers, *MERGE_PATCH.readers)
    content = {name: {"schema": schema if name in as_json else _STRING} for name in formats.readers}
    return {"required": True, "content": content}


def _header(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": _STRING}


def _query(name: str, schema: Json, description: str = "") -> Json:
    parameter = {"name": name, "in": "query", "schema": schema}
    return {**parameter, "description": description} if description else parameter


def _window() -> list[Json]:
    return [_query("since", _STRING, f"Included. {_MOMENT}"), _query("until", _STRING, f"Not included. {_MOMENT}")]


def _list_parameters(model: type[Record], without: frozenset[str] = frozenset()) -> list[Json]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": model.default_limit}
    return [
        _query("limit", limit),
        _query("cursor", _STRING, "The `nextCursor` of the page before, with the same filters."),
        *_window(),
        _query("order", {"enum": ["desc", "asc"], "default": "desc"}, "By timestamp and id."),
        _query("fields", _STRING, "The fields to show, separated by commas."),
        *(_query(name, _filter_schema(model, name)) for name in model.filterable if name not in without),
    ]


def _filter_schema(model: type[Record], name: str) -> Json:
    return GenerateJsonSchema().generate(model.fields[name].schema)


def _paths() -> Json:
    paths: Json = {}
    for model in PUBLIC_MODELS:
        paths |= _resource_paths(model)
    transactions = ImageGenerationTransaction
    paths["/sessions/{id}/transactions"] = {
        "parameters": [_ID],
        "get": {
            "operationId": "list_session_transactions",
            "summary": "The transactions of a session, newest first.",
            "tags": [UserSession.route],
            "parameters": _list_parameters(transactions, frozenset({"sessionId"})),
            "responses": _responses({"200": _json_response("A page.", _list_schema(transactions))}, 400, 404),
        },
    }
    return {**paths, **_service_paths()}


def _with_request_ids(paths: Json) -> Json:
    for path in paths.values():
        operations = [operation for name, operation in path.items() if name != "parameters"]
        path["parameters"] = [*path.get("parameters", []), {"$ref": "#/components/parameters/RequestId"}]
        for operation in operations:
            for response in operation["responses"].values():
                if "$ref" not in response:
                    response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
    return paths


def _resource_paths(model: type[Record]) -> Json:
    one, many, tags = model.singular, model.route, [model.route]
    created = _one_schema(model, duplicate={"type": "boolean"}, redactions=_INTEGER)
    key = _header("Idempotency-Key", "The id of a record that brings none.")
    stored = {
        "201": _json_response("Stored.", created, Location="The record's path.", ETag="The record's version."),
        "200": _json_response("The same record was stored before.", created, ETag="The record's version."),
    }
    create = {
        "operationId": f"create_{one}",
        "summary": f"Store one {one}.",
        "tags": tags,
        "parameters": [key],
        "requestBody": _body(JSON, _ref(model.__name__)),
        "responses": _responses(stored, 400, 409, 413, 415),
    }
    listing = {
        "operationId": f"list_{many}",
        "summary": f"The {many}, newest first.",
        "tags": tags,
        "parameters": _list_parameters(model),
        "responses": _responses({"200": _json_response("A page.", _list_schema(model))}, 400),
    }
    return {f"/{many}": {"get": listing, "post": create}, f"/{many}/{{id}}": _item_operations(model)}


def _item_operations(model: type[Record]) -> Json:
    one, tags = model.singular, [model.route]
    if_match = _header("If-Match", "The version that the record must still have.")
    found = _json_response("The record.", _one_schema(model), ETag="The record's version.")
    changed = _json_response("What the patch named and changed.", _one_schema(model, partial=True, redactions=_INTEGER))
    get = {
        "operationId": f"get_{one}",
        "summary": f"One {one}.",
        "tags": tags,
        "parameters": [_header("If-None-Match", "Versions that need not be sent again.")],
        "responses": _responses({"200": found, "304": {"description": "The version is one of those named."}}, 400, 404),
    }
    update = {
        "operationId": f"update_{one}",
        "summary": f"Change a {one} by a JSON merge patch (RFC 7396).",
        "tags": tags,
        "parameters": [if_match],
        "requestBody": _body(MERGE_PATCH, {"type": "object"}),
        "responses": _responses({"200": changed}, 400, 404, 412, 413, 415),
    }
    delete = {
        "operationId": f"delete_{one}",
        "summary": f"Delete a {one}.",
        "tags": tags,
        "parameters": [if_match],
        "responses": _responses({"204": {"description": "Deleted."}}, 400, 404, 409, 412),
    }
    return {"parameters": [_ID], "get": get, "patch": update, "delete": delete}


def _one_schema(model: type[Record], *, partial: bool = False, **optional: Json) -> Json:
    record = {"type": "object"} if partial else _ref(model.__name__)
    return _object({"success": _SUCCESS, model.singular: record, **optional}, ["success", model.singular])


def _list_schema(model: type[Record]) -> Json:
    properties = {"success": _SUCCESS, "count": _INTEGER, model.route: _array(_ref(_listed_name(model))), "nextCursor": _STRING}
    return _object(properties, ["success", "count", model.route])


def _service_paths() -> Json:
    item = {"type": "object", "properties": {"model": {"enum": [model.__name__ for model in PUBLIC_MODELS]}}}
    batch = _array({**item, "required": ["model"]}) | {"minItems": 1, "maxItems": MAX_ITEMS}
    answers = {"201": "All are stored or duplicates.", "207": "Some are; `items` tell which."}
    logs = {
        "operationId": "create_logs",
        "summary": "Store many records, kinds mixed, each on its own.",
        "tags": ["logs"],
        "requestBody": _body(BATCH, batch),
        "responses": _responses({code: _json_response(text, _ref("Batch")) for code, text in answers.items()}, 400, 413, 415),
    }
    stats = {
        "operationId": "get_stats",
        "summary": "Figures of the database, and of generations, requests and events over a window.",
        "tags": ["service"],
        "parameters": _window(),
        "responses": _responses({"200": _json_response("The figures.", _free("stats"))}, 400),
    }
    health = {
        "operationId": "health",
        "summary": "Whether the service and its database work.",
        "tags": ["service"],
        "security": [],
        "parameters": [_query("probe", {"enum": ["live", "ready"]}, "`live` asks no database.")],
        "responses": _responses({"200": _json_response("Healthy.", _free("status"))}, 400),
    }
    openapi = {
        "operationId": "openapi",
        "summary": "This document.",
        "tags": ["service"],
        "security": [],
        "responses": _responses({"200": _json_response("The document.", {"type": "object"})}),
    }
    return {
        "/logs": {"post": logs},
        "/stats": {"get": stats},
        "/health": {"get": health},
        "/openapi.json": {"get": openapi},
    }


def _free(name: str) -> Json:
    return _object({"success": _SUCCESS, name: {}}, ["success", name])
