"""Session tokens: what this process has written, so that its reads see it.

The driver keeps no token of a batch, and mixes up those of several containers where writes answer without the item; so
every answer's token is kept here, and the reads that depend on it are given it in place of the driver's.
https://learn.microsoft.com/azure/cosmos-db/how-to-manage-consistency#utilize-session-tokens
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_HEADER = "x-ms-session-token"
_PARTITION_HEADER = "x-ms-documentdb-partitionkeyrangeid"
_QUERY_TYPE = "application/query+json"

Progress = tuple[int, int, str]
"""Version, log sequence number and the token's own text, of one physical partition."""


class SessionTokens:
    """The furthest token of each physical partition, by container."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Progress]] = {}

    def note(self, url: str, headers: Mapping[str, str]) -> None:
        """Remember the token of an answer."""
        container = _container_of(url)
        text = headers.get(_HEADER)
        if container is not None and text:
            known = self._known.setdefault(container, {})
            for name, progress in _parse(text).items():
                known[name] = max(known.get(name, progress), progress)

    def attach(self, request: Any) -> None:
        """Give a read the furthest token of the physical partition it names, or of every one of its container."""
        container = _container_of(request.url)
        if container is None:
            return
        request.headers.pop(_HEADER, None)
        is_read = request.method == "GET" or request.headers.get("Content-Type") == _QUERY_TYPE
        known = self._known.get(container)
        if is_read and known:
            named = request.headers.get(_PARTITION_HEADER)
            wanted = {named: known[named]} if named in known else known
            request.headers[_HEADER] = ",".join(f"{name}:{text}" for name, (_, _, text) in wanted.items())


def _container_of(url: str) -> str | None:
    """The container's link of a request on its items."""
    parts = [part for part in urlsplit(url).path.split("/") if part]
    return "/".join(parts[:4]) if len(parts) > 4 and parts[4] == "docs" else None


def _parse(text: str) -> dict[str, Progress]:
    found: dict[str, Progress] = {}
    for part in text.split(","):
        name, _, token = part.partition(":")
        numbers = token.split("#")
        if len(numbers) >= 2 and all(number.lstrip("-").isdigit() for number in numbers[:2]):
            found[name] = (int(numbers[0]), int(numbers[1]), token)
    return found
