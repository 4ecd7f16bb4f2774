"""Loads a function app from its folder: host.json, local.settings.json, function_app.py. Runs nothing of it."""

import importlib
import inspect
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func

from shared.cli.errors import CommandError
from shared.cli.host.bindings import Function, HttpTrigger, IndexingError, describe, is_disabled
from shared.cli.host.templates import parse_template
from shared.ncrontab import Schedule

logger = logging.getLogger("shared.host")

SCRIPT = "function_app.py"
DEFAULT_ROUTE_PREFIX = "api"
DEFAULT_TIMEOUT_SECONDS = 1800.0
_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """A function that can be called."""

    function: Function
    handler: Callable[..., Any]
    is_async: bool
    wants_context: bool
    script: Path


@dataclass(frozen=True, slots=True)
class App:
    """`timeout_seconds` is None for no limit; `failures` are functions in error, with why; `disabled` are names."""

    root: Path
    module: ModuleType
    route_prefix: str
    timeout_seconds: float | None
    functions: tuple[LoadedFunction, ...]
    failures: tuple[tuple[str, str], ...]
    disabled: tuple[str, ...]


def find_root(start: Path) -> Path:
    """The nearest folder from `start` upwards that holds function_app.py."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / SCRIPT).is_file():
            return folder
    raise CommandError(f"there is no {SCRIPT} in {start} or above; go to the project's folder or name it with --root")


def load(root: Path, environment: MutableMapping[str, str]) -> App:
    """Import the app as the worker does, in its folder and with its settings. Raises CommandError, ConfigurationError."""
    if not (root / SCRIPT).is_file():
        raise CommandError(f"there is no {SCRIPT} in {root}")
    host = _read_json(root / "host.json")
    route_prefix, timeout_seconds = _route_prefix(host), _timeout_seconds(host)
    _apply_settings(_read_json(root / "local.settings.json"), environment)
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    module = _import()
    functions, failures, disabled = _index(module, root, environment)
    return App(root, module, route_prefix, timeout_seconds, functions, failures, disabled)


def _index(
    module: ModuleType, root: Path, environment: Mapping[str, str]
) -> tuple[tuple[LoadedFunction, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    functions, failures, disabled = [], [], []
    for function in _functions(module):
        name = function.get_function_name() or ""
        if is_disabled(name, environment):
            disabled.append(name)
            continue
        try:
            functions.append(_loaded(function, describe(name, function.get_raw_bindings(), environment), root))
        except (IndexingError, ValueError) as error:
            failures.append((name, str(error)))
    return tuple(functions), tuple(failures), tuple(disabled)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} can't be read: {error}") from None
    if not isinstance(data, dict):
        raise CommandError(f"{path} is not a JSON object")
    return data


def _apply_settings(settings: dict[str, Any], environment: MutableMapping[str, str]) -> None:
    if settings.get("IsEncrypted"):
        raise CommandError("local.settings.json is encrypted; run: func settings decrypt")
    values = settings.get("Values", {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise CommandError("Values in local.settings.json must be an object of strings")
    for name, value in values.items():
        if environment.setdefault(name, value) != value:
            logger.info("the environment's value stands before that of local.settings.json", extra={"setting": name})
    environment.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")


def _import() -> ModuleType:
    from shared.errors import ConfigurationError  # noqa: PLC0415 - the app's own, now that its folder is on the path

    try:
        return importlib.import_module(Path(SCRIPT).stem)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - the app may raise anything
        traceback.print_exc()
        raise CommandError(f"{SCRIPT} can't be imported: {type(error).__name__}: {error}") from None


def _functions(module: ModuleType) -> Iterable[Any]:
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    if len(apps) != 1:
        raise CommandError(f"{SCRIPT} defines {len(apps) or 'no'} function apps; it must define one")
    try:
        functions: Iterable[Any] = apps[0].get_functions()
    except ValueError as error:
        raise CommandError(f"{SCRIPT}: {error}") from None
    return functions


def _loaded(indexed: Any, function: Function, root: Path) -> LoadedFunction:
    if isinstance(function.trigger, HttpTrigger):
        parse_template(function.trigger.route)
    else:
        Schedule(function.trigger.schedule)
    handler = indexed.get_user_function()
    parameters = set(inspect.signature(handler).parameters)
    if parameters - {"context"} != {function.trigger.parameter}:
        raise IndexingError(
            f"its parameters are {', '.join(sorted(parameters)) or 'none'}; the bindings give {function.trigger.parameter!r}"
            " (and 'context', where it is asked for)"
        )
    return LoadedFunction(function, handler, inspect.iscoroutinefunction(handler), "context" in parameters, root / SCRIPT)


def _route_prefix(host: dict[str, Any]) -> str:
    try:
        prefix = host.get("extensions", {}).get("http", {}).get("routePrefix", DEFAULT_ROUTE_PREFIX)
        return str(prefix).strip("/")
    except AttributeError:
        raise CommandError("extensions.http in host.json must be an object") from None


def _timeout_seconds(host: dict[str, Any]) -> float | None:
    text = host.get("functionTimeout")
    if text is None:
        return DEFAULT_TIMEOUT_SECONDS
    if text == "-1":
        return None
    match = _TIMESPAN.fullmatch(str(text))
    if match is None:
        raise CommandError(f"functionTimeout in host.json is {text!r}; must be hours:minutes:seconds, such as 00:10:00")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds) or None
