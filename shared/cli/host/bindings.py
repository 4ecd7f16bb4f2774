"""What a function's bindings say, as one frozen value. Reads the JSON that both the app and the worker's metadata give."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SETTING = re.compile(r"%([^%\s]+)%")


class IndexingError(Exception):
    """A function can't be served; the others are."""


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """`route` is without the prefix; no `methods` means all of them."""

    parameter: str
    route: str
    methods: tuple[str, ...]
    auth_level: str


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """`schedule` is an NCRONTAB expression, its settings resolved."""

    parameter: str
    schedule: str
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    trigger: HttpTrigger | TimerTrigger

    @property
    def kind(self) -> str:
        return "httpTrigger" if isinstance(self.trigger, HttpTrigger) else "timerTrigger"


def describe(name: str, raw_bindings: Iterable[str], settings: Mapping[str, str]) -> Function:
    """The function that these bindings (each a JSON object) define. Raises IndexingError."""
    trigger: HttpTrigger | TimerTrigger | None = None
    for raw in raw_bindings:
        binding = json.loads(raw)
        kind = binding["type"]
        if kind == "httpTrigger":
            trigger = _http(name, binding, settings)
        elif kind == "timerTrigger":
            trigger = _timer(binding, settings)
        elif not (kind == "http" and binding["name"] == "$return"):
            raise IndexingError(f"the binding {kind!r} is not available on the local host; it needs Azure Functions Core Tools")
    if trigger is None:
        raise IndexingError("there is no trigger")
    return Function(name, trigger)


def is_disabled(name: str, settings: Mapping[str, str]) -> bool:
    """Whether a setting `AzureWebJobs.<name>.Disabled` (or with `_` for `.`) turns the function off."""
    values = (settings.get(f"AzureWebJobs.{name}.Disabled"), settings.get(f"AzureWebJobs_{name}_Disabled"))
    return any(value is not None and value.lower() in {"true", "1"} for value in values)


def _http(name: str, binding: Mapping[str, Any], settings: Mapping[str, str]) -> HttpTrigger:
    return HttpTrigger(
        parameter=binding["name"],
        route=_resolve(binding.get("route") or name, settings),
        methods=tuple(str(method).upper() for method in binding.get("methods") or ()),
        auth_level=str(binding.get("authLevel") or "function").lower(),
    )


def _timer(binding: Mapping[str, Any], settings: Mapping[str, str]) -> TimerTrigger:
    use_monitor = binding.get("useMonitor")
    return TimerTrigger(
        parameter=binding["name"],
        schedule=_resolve(binding["schedule"], settings),
        run_on_startup=bool(binding.get("runOnStartup")),
        use_monitor=use_monitor is None or bool(use_monitor),
    )


def _resolve(text: str, settings: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        try:
            return settings[match[1]]
        except KeyError:
            raise IndexingError(f"{match[0]!r} does not resolve to a value: set {match[1]}") from None

    return _SETTING.sub(value, text)
