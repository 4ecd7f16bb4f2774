"""JSON documents that stand in strings: read when they can be written back character for character, else left as text."""

import json
from typing import Any, NamedTuple

from shared.privacy.forms import compiled

_INDENT = r"[\[{]\r?\n( {1,8}|\t)(?=\S)"


class Document(NamedTuple):
    """The value of a JSON text and the style it was written in."""

    value: Any
    encoder: json.JSONEncoder

    def write(self, value: Any) -> str:
        """Another value in the same style."""
        return self.encoder.encode(value)


def read_document(text: str) -> Document | None:
    """The object or array that the text is, or None where there is none or writing it again would change a character."""
    if not (text.startswith(("{", "[")) and text.endswith(("}", "]"))):
        return None
    indent = compiled(_INDENT).match(text)
    spaced = '": ' in text or ("," in text and ", " in text and '":' not in text)
    encoder = json.JSONEncoder(
        ensure_ascii=text.isascii(),
        indent=indent[1] if indent else None,
        separators=("," if indent or not spaced else ", ", ": " if indent or spaced else ":"),
    )
    try:
        value = json.loads(text)
        return Document(value, encoder) if encoder.encode(value) == text else None
    except (ValueError, RecursionError):
        return None
