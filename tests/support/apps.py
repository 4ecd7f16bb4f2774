"""Small function apps for the tests, written where a test wants them, and what starting the host on them says."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.environment import clean_environment
from tests.support.serve import Serve

HEAD = "import asyncio, json, os, pathlib, threading, time\nimport azure.functions as func\napp = func.FunctionApp()\n"


def write_app(folder: Path, code: str, host: object = None, settings: dict[str, str] | None = None) -> None:
    """function_app.py with its imports and its `app` before the code, host.json, and local.settings.json if asked for."""
    folder.mkdir(exist_ok=True)
    (folder / "function_app.py").write_text(HEAD + code)
    (folder / "host.json").write_text(json.dumps(host or {"version": "2.0"}))
    if settings is not None:
        (folder / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": settings}))


def make(folder: Path, code: str, *arguments: str, host: object = None) -> Serve:
    """A host that is not started yet, for an app in `folder/app`."""
    write_app(folder / "app", code, host)
    return Serve(folder / "app", state=folder / "state", log=folder / "serve.log", arguments=arguments)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `serve` does that does not start."""
    command = [sys.executable, "-m", "shared", "serve", *arguments]
    return subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=30, check=False)


async def until(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the test fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another process can't set an event
            await asyncio.sleep(0.01)
