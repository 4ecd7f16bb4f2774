"""`func start` of Azure Functions Core Tools as a child process on a free port, where Core Tools are on the path."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.environment import REPOSITORY, clean_environment

START_SECONDS = 120.0
STOP_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 0.5


def core_tools() -> str | None:
    """The path of `func`, None where there is none."""
    return shutil.which("func")


class FuncStart:
    """A context manager. The timer is off: its listener would need a storage account, which the HTTP functions don't."""

    def __init__(self, *, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self._port = _free_port()
        self._environment = {
            **clean_environment(),
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsSecretStorageType": "files",
            "AzureWebJobs_retention_Disabled": "true",
            **environment,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        func = core_tools()
        assert func is not None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [func, "start", "--port", str(self._port)],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_it_answers()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _wait_until_it_answers(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/health?probe=live", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(_ASK_AGAIN_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()
        raise RuntimeError(f"func start did not answer:\n{self._log.read_text(errors='replace')}")

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
