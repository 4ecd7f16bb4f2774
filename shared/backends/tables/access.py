"""How the account is reached: by a connection string with a key or a signature, or by an endpoint with a managed identity."""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shared.config import Settings
from shared.errors import ConfigurationError

_SETTING = "DATABASE_CONNECTION_STRING"
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_FORM = (
    "DefaultEndpointsProtocol=https;AccountName=NAME;AccountKey=KEY;EndpointSuffix=core.windows.net"
    " or UseDevelopmentStorage=true"
)
_EMULATOR_ACCOUNT = "devstoreaccount1"
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Published, the same on every machine: https://learn.microsoft.com/azure/storage/common/storage-use-azurite"""
_EMULATOR_ENDPOINT = f"http://127.0.0.1:10002/{_EMULATOR_ACCOUNT}"
_KNOWN = frozenset({
    "accountname", "accountkey", "sharedaccesssignature", "defaultendpointsprotocol", "endpointsuffix", "tableendpoint",
    "blobendpoint", "queueendpoint", "fileendpoint", "usedevelopmentstorage",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Access:
    """An account's endpoint, and its key or signature unless an identity is used. `setting` is the variable that named it."""

    endpoint: str
    setting: str
    account: str = ""
    key: str | None = field(default=None, repr=False)
    signature: str | None = field(default=None, repr=False)


def read_access(settings: Settings) -> Access:
    """The access that the settings describe. Raises ConfigurationError, which names the variable and shows no key."""
    text, endpoint = settings.database_connection_string, settings.tables_endpoint
    if text is not None and endpoint is not None:
        raise ConfigurationError(f"{_SETTING} and TABLES_ENDPOINT are both set; must be one of them")
    if text is not None:
        return _read_connection_string(text)
    if endpoint is not None:
        return Access(_endpoint("TABLES_ENDPOINT", endpoint, secure=True), "TABLES_ENDPOINT")
    raise ConfigurationError(f"{_SETTING} is not set; must be {_FORM} or, for a managed identity, TABLES_ENDPOINT must be set")


def _read_connection_string(text: str) -> Access:
    parts = _parts(text)
    if parts.get("usedevelopmentstorage", "false").lower() == "true":
        if len(parts) > 1:
            raise ConfigurationError(f"{_SETTING} says more beside UseDevelopmentStorage=true; must be {_FORM}")
        return Access(_EMULATOR_ENDPOINT, _SETTING, _EMULATOR_ACCOUNT, _EMULATOR_KEY)
    endpoint = _endpoint(_SETTING, parts.get("tableendpoint") or _derived_endpoint(parts))
    if parts.get("sharedaccesssignature"):
        return Access(endpoint, _SETTING, signature=parts["sharedaccesssignature"].lstrip("?"))
    for name, written in (("accountname", "AccountName"), ("accountkey", "AccountKey")):
        if not parts.get(name):
            raise ConfigurationError(f"{_SETTING} has no {written}; must be {_FORM}")
    try:
        key = base64.b64decode(parts["accountkey"], validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigurationError(f"{_SETTING} has an AccountKey that is not base64; must be one of the account's keys")
    return Access(endpoint, _SETTING, parts["accountname"], parts["accountkey"])


def _derived_endpoint(parts: dict[str, str]) -> str:
    name = parts.get("accountname", "")
    if not name:
        raise ConfigurationError(f"{_SETTING} has no AccountName; must be {_FORM}")
    if not (name.isascii() and name.isalnum()):
        raise ConfigurationError(f"{_SETTING} has an AccountName that is no account's; must be letters and digits")
    protocol = parts.get("defaultendpointsprotocol", "https").lower()
    return f"{protocol}://{name}.table.{parts.get('endpointsuffix', 'core.windows.net')}"


def _parts(text: str) -> dict[str, str]:
    """The members of a connection string by lower-case name; names may be in any case and blanks may surround them."""
    parts: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or name not in _KNOWN:
            raise ConfigurationError(f"{_SETTING} has a part that is not of a storage account; must be {_FORM}")
        if name in parts:
            raise ConfigurationError(f"{_SETTING} has a part twice; must be {_FORM}")
        parts[name] = value.strip()
    return parts


def _endpoint(setting: str, text: str, *, secure: bool = False) -> str:
    message = f"{setting} has an endpoint that is no account's address; must be https://NAME.table.core.windows.net/"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigurationError(message) from None
    host = parts.hostname
    is_safe = parts.scheme == "https" or (not secure and parts.scheme == "http" and host in _LOCAL_HOSTS)
    bare = not (parts.query or parts.fragment or parts.username or parts.password)
    if not host or not is_safe or not bare or any(character.isspace() for character in text):
        raise ConfigurationError(message)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
