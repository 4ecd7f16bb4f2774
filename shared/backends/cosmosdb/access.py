"""How the account is reached: by a connection string with a key, or by an endpoint with a managed identity."""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shared.config import Settings
from shared.errors import ConfigurationError

_ENDPOINT, _KEY, _NO_VERIFY = "accountendpoint", "accountkey", "disableservercertificatevalidation"
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_FORM = "AccountEndpoint=https://NAME.documents.azure.com:443/;AccountKey=KEY;"


@dataclass(frozen=True, slots=True)
class Access:
    """An account's endpoint, and its key unless an identity is used. `setting` is the variable that named it."""

    endpoint: str
    setting: str
    key: str | None = field(default=None, repr=False)


def read_access(settings: Settings) -> Access:
    """The access that the settings describe. Raises ConfigurationError, which names the variable and shows no key."""
    text, endpoint = settings.database_connection_string, settings.cosmos_endpoint
    if text is not None and endpoint is not None:
        raise ConfigurationError("DATABASE_CONNECTION_STRING and COSMOS_ENDPOINT are both set; must be one of them")
    if text is not None:
        return _read_connection_string(text)
    if endpoint is not None:
        return Access(_endpoint("COSMOS_ENDPOINT", endpoint), "COSMOS_ENDPOINT")
    raise ConfigurationError(
        f"DATABASE_CONNECTION_STRING is not set; must be {_FORM} or, for a managed identity, COSMOS_ENDPOINT must be set"
    )


def _read_connection_string(text: str) -> Access:
    setting = "DATABASE_CONNECTION_STRING"
    parts = _parts(text)
    for name, written in ((_ENDPOINT, "AccountEndpoint"), (_KEY, "AccountKey")):
        if not parts.get(name):
            raise ConfigurationError(f"{setting} has no {written}; must be {_FORM}")
    endpoint = _endpoint(setting, parts[_ENDPOINT])
    if parts.get(_NO_VERIFY, "false").lower() != "false" and urlsplit(endpoint).hostname not in _LOCAL_HOSTS:
        raise ConfigurationError(f"{setting} turns certificate checks off; must not, except for an emulator on this machine")
    try:
        key = base64.b64decode(parts[_KEY], validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigurationError(f"{setting} has an AccountKey that is not base64; must be one of the account's keys")
    return Access(endpoint, setting, parts[_KEY])


def _parts(text: str) -> dict[str, str]:
    """The members of a connection string by lower-case name; names may be in any case and blanks may surround them."""
    parts: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or name not in (_ENDPOINT, _KEY, _NO_VERIFY):
            raise ConfigurationError(
                f"DATABASE_CONNECTION_STRING has a part that is neither AccountEndpoint nor AccountKey; must be {_FORM}"
            )
        if name in parts:
            raise ConfigurationError(f"DATABASE_CONNECTION_STRING has a part twice; must be {_FORM}")
        parts[name] = value.strip()
    return parts


def _endpoint(setting: str, text: str) -> str:
    message = f"{setting} has an endpoint that is no account's address; must be https://NAME.documents.azure.com:443/"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigurationError(message) from None
    host = parts.hostname
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL_HOSTS)
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    if not host or not secure or not bare or any(character.isspace() for character in text):
        raise ConfigurationError(message)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}/"
