"""How the server is reached: by a connection string, or by a host with or without a user.

What decides whether a write is kept is the service's and not the string's: an option that says otherwise is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from pymongo import uri_parser
from pymongo.errors import PyMongoError

from shared.config import Settings
from shared.errors import ConfigurationError

_CONNECTION_STRING = "DATABASE_CONNECTION_STRING"
_FORM = "mongodb://USER:PASSWORD@HOST:27017/?OPTIONS or mongodb+srv://USER:PASSWORD@HOST/?OPTIONS"
_SCHEMES = ("mongodb://", "mongodb+srv://")
_DEFAULT_PORT = 27_017
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_MUST_BE: Mapping[str, tuple[str, ...]] = {
    "w": ("majority",),
    "journal": ("true",),
    "readPreference": ("primary",),
    "readConcernLevel": ("majority", "linearizable", "local"),
}
_MILLISECONDS = 1_000

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is and the options of its client. `setting` names the variables that say who is asking."""

    address: str = field(repr=False)
    setting: str
    options: Options = field(repr=False)

    @property
    def pool_size(self) -> int:
        return int(self.options["maxPoolSize"])


def read_access(settings: Settings) -> Access:
    """The access that the settings describe. Raises ConfigurationError, which names the variable and shows no password."""
    text, host = settings.database_connection_string, settings.database_host
    if text is not None:
        for name in ("database_host", "database_port", "database_username", "database_password", "database_tls"):
            if getattr(settings, name) is not None:
                raise ConfigurationError(f"{_CONNECTION_STRING} and {name.upper()} are both set; must be one of them")
        return _by_connection_string(text, settings)
    if host is not None:
        return _by_host(settings, host)
    raise ConfigurationError(f"{_CONNECTION_STRING} is not set; must be {_FORM}, or DATABASE_HOST must be set")


def _by_host(settings: Settings, host: str) -> Access:
    host = host.removeprefix("[").removesuffix("]")
    if _HOST.fullmatch(host) is None:
        raise ConfigurationError(f"DATABASE_HOST is {host!r}; must be a host name or an address without scheme and port")
    user, password = settings.database_username, settings.database_password
    if (user is None) != (password is None):
        missing = "DATABASE_USERNAME" if user is None else "DATABASE_PASSWORD"
        raise ConfigurationError(f"{missing} is not set; must be, or neither DATABASE_USERNAME nor DATABASE_PASSWORD")
    tls = not _is_local(host) if settings.database_tls is None else settings.database_tls
    shown = f"[{host}]" if ":" in host else host
    address = f"mongodb://{shown}:{settings.database_port or _DEFAULT_PORT}/"
    named: dict[str, Any] = {"tls": tls}
    if user is not None:
        named |= {"username": user, "password": password}
    return Access(address, "DATABASE_USERNAME and DATABASE_PASSWORD", _options(named, settings))


def _is_local(host: str) -> bool:
    """Whether it is this machine, by a name, an address or the path of a socket."""
    return host.lower() in _LOCAL_HOSTS or host.startswith("/")


def _by_connection_string(text: str, settings: Settings) -> Access:
    if not text.startswith(_SCHEMES):
        raise ConfigurationError(f"{_CONNECTION_STRING} is no connection string of MongoDB; must be {_FORM}")
    named = _named_options(text)
    for name, allowed in _MUST_BE.items():
        value = named.get(name.lower(), allowed[0])
        if value not in allowed:
            raise ConfigurationError(f"{_CONNECTION_STRING} has {name}={value}; must be {' or '.join(allowed)}, or absent")
    hosts: list[str] = []
    try:
        if text.startswith(_SCHEMES[0]):
            hosts = [host for host, _ in uri_parser.parse_uri(text, validate=True, warn=False)["nodelist"]]
        else:  # has TLS by itself; the parser would ask a name server, so user and host are read as the other form
            before, _, options = text.removeprefix(_SCHEMES[1]).partition("?")
            uri_parser.parse_uri(_SCHEMES[0] + before, validate=True, warn=False)
            uri_parser.split_options(options or "tls=true", warn=False)
    except (PyMongoError, ValueError, TypeError, OSError):
        raise ConfigurationError(
            f"{_CONNECTION_STRING} has a host, a user or an option that is malformed (a password's @ : / % are written as %40"
            f" %3A %2F %25); must be {_FORM}"
        ) from None
    tls = {"tls": True} if "ssl" not in named and not all(map(_is_local, hosts)) else {}
    defaults = {name: value for name, value in _options(tls, settings).items() if name.lower() not in named}
    if "maxpoolsize" in named:
        defaults["maxPoolSize"] = int(named["maxpoolsize"])
        if not defaults["maxPoolSize"]:
            raise ConfigurationError(f"{_CONNECTION_STRING} has maxPoolSize=0; must be 1 or more")
    return Access(text, _CONNECTION_STRING, {**defaults, **_ALWAYS})


def _named_options(text: str) -> dict[str, str]:
    parts = re.split("[&;]", text.partition("?")[2])
    pairs = (part.partition("=") for part in parts if part)
    return {unquote_plus(name).lower(): unquote_plus(value) for name, _, value in pairs}


_ALWAYS: Options = {"retryWrites": False, "retryReads": False, "w": "majority", "journal": True}
"""A call that failed is sent again by us, who know what it means when the first one was done after all."""


def _options(named: Options, settings: Settings) -> Options:
    """Options where nobody says otherwise. A server that is away is told within seconds; an answer takes a request's time."""
    return {
        "maxPoolSize": settings.database_pool_size,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "serverSelectionTimeoutMS": 3 * _MILLISECONDS,
        "connectTimeoutMS": 3 * _MILLISECONDS,
        "socketTimeoutMS": round(settings.request_deadline_seconds * _MILLISECONDS),
        "appname": "logogen",
        **named,
        **_ALWAYS,
    }
