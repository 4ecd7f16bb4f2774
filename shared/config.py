"""Configuration: one frozen object, read once from the environment. A wrong value stops the start."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shared.errors import ConfigurationError
from shared.models import PUBLIC_MODELS

DATABASE_TYPES = ("file", "cosmosdb", "tables", "postgresql", "mongodb")
_ALIASES = {"mock": "file"}
IP_MODES = ("truncate", "hash", "drop", "full")
MIN_SALT_CHARACTERS = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the service is configured by; each field is the variable of the same name in capitals."""

    database_type: str = "file"
    database_data_dir: Path = Path("data")
    database_enable_cache: bool = True
    database_max_cache_size: int = 1_000
    database_connection_string: str | None = field(default=None, repr=False)
    database_name: str = "logogen"
    database_host: str | None = None
    database_port: int | None = None
    database_username: str | None = None
    database_password: str | None = field(default=None, repr=False)
    database_tls: bool | None = None
    database_pool_size: int = 10
    cosmos_endpoint: str | None = None
    cosmos_buckets: int = 4
    tables_endpoint: str | None = None
    privacy_salt: str | None = field(default=None, repr=False)
    privacy_salt_previous: tuple[str, ...] = field(default=(), repr=False)
    privacy_ip_mode: str = "truncate"
    retention_days: Mapping[str, int] = field(default_factory=lambda: {model.__name__: 0 for model in PUBLIC_MODELS})
    retention_schedule: str = "0 30 3 * * *"
    request_deadline_seconds: float = 100.0

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Read and check the variables; empty ones count as unset. Spaces around a value don't count, but in a password.

        Raises ConfigurationError.
        """
        read = _Reader(environment)
        settings = cls(
            database_type=read("DATABASE_TYPE", _database_type, "file"),
            database_data_dir=read("DATABASE_DATA_DIR", Path, Path("data")),
            database_enable_cache=read("DATABASE_ENABLE_CACHE", _boolean, True),
            database_max_cache_size=read("DATABASE_MAX_CACHE_SIZE", _integer(0, 10_000_000), 1_000),
            database_connection_string=read("DATABASE_CONNECTION_STRING", str, None, secret=True),
            database_name=read("DATABASE_NAME", _name, "logogen"),
            database_host=read("DATABASE_HOST", str, None),
            database_port=read("DATABASE_PORT", _integer(1, 65_535), None),
            database_username=read("DATABASE_USERNAME", str, None),
            database_password=environment.get("DATABASE_PASSWORD") or None,
            database_tls=read("DATABASE_TLS", _boolean, None),
            database_pool_size=read("DATABASE_POOL_SIZE", _integer(1, 1_000), 10),
            cosmos_endpoint=read("COSMOS_ENDPOINT", str, None),
            cosmos_buckets=read("COSMOS_BUCKETS", _integer(1, 256), 4),
            tables_endpoint=read("TABLES_ENDPOINT", str, None),
            privacy_salt=read("PRIVACY_SALT", _salt, None, secret=True),
            privacy_salt_previous=read("PRIVACY_SALT_PREVIOUS", _salts, (), secret=True),
            privacy_ip_mode=read("PRIVACY_IP_MODE", _one_of(IP_MODES), "truncate"),
            retention_days={
                model.__name__: read(f"RETENTION_DAYS_{model.route.upper()}", _integer(0, 36_500), 0) for model in PUBLIC_MODELS
            },
            retention_schedule=read("RETENTION_SCHEDULE", _schedule, "0 30 3 * * *"),
            request_deadline_seconds=read("REQUEST_DEADLINE_SECONDS", _seconds(0.1, 230), 100.0),
        )
        _check_place(settings, environment)
        return settings


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, name: str, convert: Callable[[str], T], default: T, *, secret: bool = False) -> T:
        text = self._environment.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            value = "" if secret else f" is {text!r};"
            raise ConfigurationError(f"{name}{value} must be {error}") from None


def _check_place(settings: Settings, environment: Mapping[str, str]) -> None:
    in_azure = bool(environment.get("WEBSITE_INSTANCE_ID"))
    local = environment.get("AZURE_FUNCTIONS_ENVIRONMENT", "").lower() == "development"
    if settings.database_type != "file":
        if settings.privacy_salt is None:
            raise ConfigurationError(
                f"PRIVACY_SALT is not set; must be {MIN_SALT_CHARACTERS} characters or more where DATABASE_TYPE is not file"
            )
    elif in_azure and not local:
        raise ConfigurationError(
            "DATABASE_TYPE is 'file'; must be a database that instances share:"
            " in Azure an instance's disk is its own and vanishes"
        )


def _database_type(text: str) -> str:
    name = _ALIASES.get(text.lower(), text.lower())
    if name not in DATABASE_TYPES:
        raise ValueError(f"one of {_listed((*DATABASE_TYPES, *_ALIASES))}")
    return name


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"one of {_listed(names)}")
        return text.lower()

    return convert


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", text) is None:
        raise ValueError("1 to 63 of A-Za-z0-9_-, the first a letter or digit")
    return text


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _integer(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
            raise ValueError(f"an integer from {least} to {most}")
        return int(text)

    return convert


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        message = f"seconds from {least:g} to {most:g}"
        try:
            number = float(text)
        except ValueError:
            raise ValueError(message) from None
        if not least <= number <= most:
            raise ValueError(message)
        return number

    return convert


def _salt(text: str) -> str:
    if len(text) < MIN_SALT_CHARACTERS:
        raise ValueError(f"{MIN_SALT_CHARACTERS} characters or more")
    return text


def _salts(text: str) -> tuple[str, ...]:
    try:
        return tuple(_salt(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(f"salts of {MIN_SALT_CHARACTERS} characters or more, separated by commas") from None


def _schedule(text: str) -> str:
    from shared.ncrontab import Schedule  # noqa: PLC0415 - the default schedule costs a cold start no parser

    message = "six fields: second minute hour day month weekday, such as 0 30 3 * * *"
    if len(text.split()) != 6:
        raise ValueError(message)
    try:
        Schedule(text)
    except ValueError as error:
        raise ValueError(f"{message} ({error})") from None
    return text
