"""Reads request bodies: size, encoding, content type and charset, before anything looks at their content."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shared import jsontext
from shared.batching import BatchItem, items_of_array, items_of_lines
from shared.errors import Detail, InvalidError, TooLargeError, UnsupportedMediaError

MAX_BODY_BYTES = 4 * 1024 * 1024
_GZIP_WINDOW = 31
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


class BodyFormat(NamedTuple):
    """What a route reads: media types, each with the reader of its bytes. The first is taken where none is named."""

    readers: Mapping[str, Callable[[bytes], Any]]

    def read(self, body: bytes, headers: Mapping[str, str]) -> Any:
        """The value of a body. Raises InvalidError, TooLargeError or UnsupportedMediaError."""
        reader = self._reader(headers.get("content-type"))
        content = _decoded(body, headers.get("content-encoding", "identity"))
        if not content.strip():
            raise InvalidError("The request has no body.", [Detail("", "a JSON body is required")], code="invalid_json")
        return reader(content)

    def _reader(self, content_type: str | None) -> Callable[[bytes], Any]:
        if content_type is None or not content_type.strip():
            return next(iter(self.readers.values()))
        media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
        reader = self.readers.get(media_type)
        if reader is None:
            known = " or ".join(self.readers)
            raise UnsupportedMediaError(
                f"Send the body with the header Content-Type: {known}.", [_header("Content-Type", known)]
            )
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "charset" and value.strip(' "') not in _CHARSETS:
                raise UnsupportedMediaError("Send the body as UTF-8.", [_header("Content-Type", "charset=utf-8")])
        return reader


def _header(name: str, value: str) -> Detail:
    return Detail(name, f"must be {value}")


def _decoded(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return _inflated(body)
    if encoding not in ("identity", ""):
        raise UnsupportedMediaError("Send the body as it is or gzipped.", [_header("Content-Encoding", "gzip or identity")])
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _inflated(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    inflater = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        content = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise _not_gzip("is not gzip") from None
    if len(content) > MAX_BODY_BYTES:
        raise _too_large()
    if not inflater.eof:
        raise _not_gzip("ends before the gzip stream does")
    if inflater.unused_data:
        raise _not_gzip("goes on after the end of the gzip stream")
    return content


def _not_gzip(message: str) -> InvalidError:
    return InvalidError(f"The body {message}.", [Detail("", message)], code="invalid_encoding")


def _too_large() -> TooLargeError:
    return TooLargeError("The body is too large.", [Detail("", f"{MAX_BODY_BYTES} bytes are the most")])


def _array_items(body: bytes) -> list[BatchItem]:
    return items_of_array(jsontext.loads(body))


JSON = BodyFormat({"application/json": jsontext.loads})
MERGE_PATCH = BodyFormat({"application/merge-patch+json": jsontext.loads, "application/json": jsontext.loads})
BATCH = BodyFormat(
    {
        "application/json": _array_items,
        "application/x-ndjson": items_of_lines,
        "application/ndjson": items_of_lines,
        "application/jsonl": items_of_lines,
    }
)
