"""HTTP as the real host hands it to the Python worker and takes it back: joined headers and query, default content type."""

from collections.abc import Iterable
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.http import HttpRequest
from multidict import CIMultiDict

_NOT_THE_APPS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


def join_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names; values of a repeated one joined with a comma."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


def parse_query(text: str) -> dict[str, str]:
    """A query string's parameters: repeated ones (in any case) joined with a comma, those with no value left out."""
    if not text:
        return {}
    names: dict[str, str] = {}
    joined: dict[str, str] = {}
    for key, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
        name = names.setdefault(key.lower(), key)
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return {name: value for name, value in joined.items() if value}


def make_request(
    method: str, url: str, headers: dict[str, str], query: str, route_values: dict[str, str], body: bytes
) -> HttpRequest:
    return HttpRequest(
        method=method,
        url=url,
        headers=headers,
        params=parse_query(query),
        route_params=route_values,
        body_type="bytes",
        body=body,
    )


def unpack_response(result: object) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of what a handler returned. Raises TypeError where that is no response."""
    if result is None:
        return 204, CIMultiDict(), b""
    if isinstance(result, str):
        return 200, CIMultiDict({"Content-Type": "text/plain; charset=utf-8"}), result.encode()
    if not isinstance(result, func.HttpResponse):
        raise TypeError(f"the function returned {type(result).__name__}, not an HttpResponse or a string")
    single: dict[str, tuple[str, str]] = {}
    cookies: list[tuple[str, str]] = []
    for name, value in result.headers.items():
        key = name.lower()
        if key == "set-cookie":
            cookies.append((name, value))
        elif key not in _NOT_THE_APPS:
            single[key] = (name, value)
    if "content-type" not in single:
        is_text = result.mimetype.startswith("text/")
        media_type = f"{result.mimetype}; charset={result.charset}" if is_text else result.mimetype
        single["content-type"] = ("Content-Type", media_type)
    return result.status_code, CIMultiDict([*single.values(), *cookies]), result.get_body()
