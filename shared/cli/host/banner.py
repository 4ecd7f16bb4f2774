"""What the host prints when it starts: what is served where, what runs when, what is in error, how to stop."""

import platform
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version

from shared.cli.host.app import App, LoadedFunction
from shared.cli.host.bindings import HttpTrigger, TimerTrigger
from shared.ncrontab import Schedule

_INDENT = " " * 4


def functions_banner(app: App, url: str, now: datetime) -> str:
    """The functions, aligned by name: those called over HTTP first."""
    return "\n".join(_lines(app, url, now))


def _lines(app: App, url: str, now: datetime) -> Iterator[str]:
    yield f"Local Functions host (Python {platform.python_version()}, azure-functions {version('azure-functions')})"
    yield f"Project: {app.root}"
    names = [loaded.function.name for loaded in app.functions] + [name for name, _ in app.failures] + list(app.disabled)
    width = max(map(len, names), default=0) + 2
    prefix = f"{url}/{app.route_prefix}/" if app.route_prefix else f"{url}/"
    ordered = sorted(app.functions, key=lambda loaded: isinstance(loaded.function.trigger, TimerTrigger))
    yield "\nFunctions:\n" if names else "\nNo functions found."
    for loaded in ordered:
        yield _INDENT + f"{loaded.function.name + ':':{width}}{_described(loaded, prefix, now)}"
    for name in app.disabled:
        yield _INDENT + f"{name + ':':{width}}disabled"
    for name, reason in app.failures:
        yield _INDENT + f"{name + ':':{width}}in error: {reason}"


def _described(loaded: LoadedFunction, prefix: str, now: datetime) -> str:
    trigger = loaded.function.trigger
    if isinstance(trigger, HttpTrigger):
        methods = f"[{','.join(trigger.methods)}] " if trigger.methods else ""
        return f"{methods}{prefix}{trigger.route}"
    occurrence = Schedule(trigger.schedule).after(now)
    following = f"next run {occurrence:%Y-%m-%d %H:%M:%S} UTC" if occurrence else "which never comes"
    return f"timerTrigger {trigger.schedule} ({following})"
