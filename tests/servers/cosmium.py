"""Cosmium, an independent server of the same API: built from the Go module proxy once, kept in `.tools/`, started for tests."""

import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.tools import TOOLS, free_port, go, require, run, wait_until

VERSION = "v0.1.20"
MODULE = "github.com/pikami/cosmium"
KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
"""The emulator's well-known key: https://learn.microsoft.com/azure/cosmos-db/emulator#authentication"""


def binary() -> Path:
    """The built server. Raises UnavailableError."""
    target = TOOLS / f"cosmium-{VERSION}"
    if not target.exists():
        TOOLS.mkdir(exist_ok=True)
        _build(target)
    return target


def _build(target: Path) -> None:
    command, environment = go(), {"GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "go.mod").write_text(f"module build\n\ngo 1.24\n\nrequire {MODULE} {VERSION}\n\ntool {MODULE}/cmd/server\n")
        run([command, "mod", "tidy"], folder=folder, environment=environment)
        run([command, "build", "-o", "server", f"{MODULE}/cmd/server"], folder=folder, environment=environment)
        shutil.move(folder / "server", target)


@contextmanager
def running() -> Iterator[str]:
    """The connection string of a server that answers."""
    require("Cosmium", binary)
    port = free_port()
    with tempfile.TemporaryFile() as log:
        # Its check of signatures refuses the driver's read of partition key ranges.
        command = [str(binary()), "-DisableTls", "-DisableAuth", "-Host", "127.0.0.1", "-Port", str(port), "-LogLevel", "error"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tempfile.gettempdir())
        try:
            wait_until(lambda: _answers(port), process)
            yield f"AccountEndpoint=http://127.0.0.1:{port}/;AccountKey={KEY};"
        finally:
            process.terminate()
            process.wait(10)


def _answers(port: int) -> bool:
    """Whether the server answers anything at all."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
