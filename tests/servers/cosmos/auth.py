"""Who may ask: the master key's signature or a token.

https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, unquote

MAX_SKEW_SECONDS = 15 * 60
"""https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-request-limits"""


class UnauthorizedError(Exception):
    """The request is refused: 401."""


def check_master_key(key: str, method: str, resource_type: str, link: str, headers: Mapping[str, str], now: float) -> None:
    """Refuse a wrong signature, and one of a clock that is more than 15 minutes off."""
    date = headers.get("x-ms-date", "")
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        raise UnauthorizedError("The x-ms-date header is missing or malformed.") from None
    if abs((moment - datetime.fromtimestamp(now, UTC)).total_seconds()) > MAX_SKEW_SECONDS:
        raise UnauthorizedError("The authorization token is not valid at the current time.")
    text = f"{method.lower()}\n{resource_type.lower()}\n{link}\n{date.lower()}\n\n"
    expected = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)).decode()
    if not hmac.compare_digest(expected, signature(headers, "master")):
        raise UnauthorizedError("The input authorization token can't serve the request. The wrong key is being used.")


def signature(headers: Mapping[str, str], kind: str) -> str:
    """The signature or token of the kind that the Authorization header must have."""
    parts = parse_qs(unquote(headers.get("authorization", "")).replace("+", "%2B"))
    if parts.get("type") != [kind] or parts.get("ver") != ["1.0"]:
        raise UnauthorizedError("The authorization header is missing or malformed.")
    return parts.get("sig", [""])[0]


def uses_token(headers: Mapping[str, str]) -> bool:
    """Whether the request comes with a Microsoft Entra token."""
    return unquote(headers.get("authorization", "")).startswith("type=aad")
