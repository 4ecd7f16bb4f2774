"""How the server is reached: by a connection string, or by DATABASE_HOST and its companions. TLS where it is not local."""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from shared.config import Settings
from shared.errors import ConfigurationError

_FORMS = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=HOST dbname=DATABASE user=USER password=PASSWORD"
_LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})
_NO_HOST = re.compile(r"[\s\0=]|://|(?<!^)@")
"""What a URL, keywords or a password have, and a host, an address or a socket's folder has not."""
_UNSAFE_MODES = frozenset({"disable", "allow", "prefer"})
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_DEFAULTS: Mapping[str, str] = {
    "application_name": "logogen",
    "connect_timeout": "5",
    "gssencmode": "disable",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_FORCED: Mapping[str, str] = {"client_encoding": "utf8"}


@dataclass(frozen=True, slots=True)
class Access:
    """A server and database as libpq takes them, and for errors the variables that named them."""

    conninfo: str = field(repr=False)
    setting: str
    database: str
    database_setting: str = "DATABASE_NAME"


def read_access(settings: Settings) -> Access:
    """The access that the settings describe. Raises ConfigurationError, which names the variable and shows no password."""
    text, host = settings.database_connection_string, settings.database_host
    if text is not None:
        for name in ("database_host", "database_port", "database_username", "database_password"):
            if getattr(settings, name) is not None:
                raise ConfigurationError(f"DATABASE_CONNECTION_STRING and {name.upper()} are both set; must be one of them")
        setting, parameters = "DATABASE_CONNECTION_STRING", _read_connection_string(text)
    elif host is not None:
        setting, parameters = "DATABASE_HOST", _read_parts(settings, host)
    else:
        raise ConfigurationError(f"DATABASE_CONNECTION_STRING is not set; must be {_FORMS}, or DATABASE_HOST must be set")
    _check_hosts(parameters, setting)
    database_setting = setting if "dbname" in parameters else "DATABASE_NAME"
    parameters.setdefault("dbname", settings.database_name)
    parameters |= _tls(parameters, setting, wanted=settings.database_tls)
    if len(_hosts(parameters)) > 1:
        parameters.setdefault("target_session_attrs", "primary")
    conninfo = make_conninfo("", **{**_DEFAULTS, **parameters, **_FORCED})
    return Access(conninfo, setting, str(parameters["dbname"]), database_setting)


def _read_connection_string(text: str) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(text)
    except Error:
        raise ConfigurationError(f"DATABASE_CONNECTION_STRING can't be read; must be {_FORMS}") from None
    return {name: value for name, value in parameters.items() if value not in (None, "")}


def _read_parts(settings: Settings, host: str) -> dict[str, Any]:
    if _NO_HOST.search(host):
        raise ConfigurationError("DATABASE_HOST can't be read; must be a host name, an address or a socket's folder")
    parts = {
        "host": host,
        "port": settings.database_port,
        "user": settings.database_username,
        "password": settings.database_password,
    }
    return {name: str(value) for name, value in parts.items() if value is not None}


def _check_hosts(parameters: Mapping[str, Any], setting: str) -> None:
    """Names that can't be looked up: an empty label, or one of more than 63 characters."""
    for host in _hosts(parameters):
        try:
            if not _is_socket(host):
                host.encode("idna")
        except UnicodeError:
            message = f"{setting} names a host that can't be; its labels must be 1 to 63 characters"
            raise ConfigurationError(message) from None


def _tls(parameters: Mapping[str, Any], setting: str, *, wanted: bool | None) -> dict[str, str]:
    """The TLS parameters to add. What the connection string says itself stays; DATABASE_TLS may not contradict it."""
    mode = parameters.get("sslmode")
    if mode is not None:
        if wanted is not None and wanted == (mode in _UNSAFE_MODES):
            raise ConfigurationError(f"DATABASE_TLS is {str(wanted).lower()!r} and {setting} says sslmode={mode}; must agree")
        return {}
    if not (wanted if wanted is not None else not _is_local(parameters, setting)):
        return {"sslmode": "disable"}
    certificates = {} if parameters.get("sslrootcert") else {"sslrootcert": _root_certificates()}
    return {"sslmode": "verify-full", **certificates}


def _is_local(parameters: Mapping[str, Any], setting: str) -> bool:
    if not all(host in _LOCAL_HOSTS or _is_socket(host) for host in _hosts(parameters)):
        return False
    elsewhere = _elsewhere(parameters)
    if elsewhere is not None:
        raise ConfigurationError(
            f"{setting} leaves the server's address to {elsewhere}; must say host and hostaddr or sslmode in a connection "
            "string, or DATABASE_TLS must be set"
        )
    return True


def _is_socket(host: str) -> bool:
    return host.startswith(("/", "@"))


def _elsewhere(parameters: Mapping[str, Any]) -> str | None:
    """What else tells the driver where the server is: a name is only what its certificate is compared with."""
    if "hostaddr" in parameters:
        return None
    if "service" in parameters:
        return "service"
    names = ("PGSERVICE", "PGHOSTADDR", *(() if "host" in parameters else ("PGHOST",)))
    return next((name for name in names if os.environ.get(name)), None)


def _hosts(parameters: Mapping[str, Any]) -> list[str]:
    return str(parameters.get("hostaddr") or parameters.get("host") or "").split(",")


def _root_certificates() -> str:
    """The system's certificates as a file: those that the driver's wheel looks for may be nowhere."""
    found = ssl.get_default_verify_paths().cafile
    return next((str(path) for path in (found, *_BUNDLES) if path and Path(path).is_file()), "system")
