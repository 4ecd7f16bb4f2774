"""`python -m shared serve` as a child process on a free port: started, asked until it answers, stopped, killed, restarted."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.environment import clean_environment

START_SECONDS = 30.0
STOP_SECONDS = 45.0
_LISTENING = re.compile(r"Listening on http://\S+?:(\d+) ")


class Serve:
    """A context manager that starts and stops; or call `start`, `stop`, `kill` by hand. Not bound to an event loop.

    `root` is the app's folder, `state` where the host remembers its timers, `log` what it printed, of all its starts.
    """

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.log = log
        self.port = 0
        self._environment = {**clean_environment(), **(environment or {})}
        self._command = [sys.executable, "-m", "shared", "serve", "--root", str(root), "--state", str(state), *arguments]
        self._root = root
        self._process: subprocess.Popen[str] | None = None
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process is None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()

    def start(self, *, port: int = 0) -> Self:
        """Returns once it answers. Raises RuntimeError with its log where it does not start."""
        assert self._process is None, "it is running"
        self.port = 0
        self._listening.clear()
        self._process = subprocess.Popen(
            [*self._command, "--port", str(port)],
            cwd=self._root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._keep_log, args=(self._process.stdout,))
        self._reader.start()
        if not self._listening.wait(START_SECONDS) or not self._answers():
            self.kill()
            raise RuntimeError(f"serve did not start:\n{self.output()}")
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to stop and check that it ends with exit code 0, in time."""
        self.send_signal(number)
        code = self.wait()
        assert code == 0, f"serve ended with {code}:\n{self.output()}"

    def kill(self) -> None:
        """End it as a power cut would; `start` starts it again on the same data."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> Self:
        """Stop it and start it again on the same port."""
        port = self.port
        self.stop()
        return self.start(port=port)

    def send_signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        assert self._reader is not None
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
        self._process = None
        return code

    def output(self) -> str:
        """All that it has printed, logs included."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def _keep_log(self, stdout: IO[str]) -> None:
        with stdout, self.log.open("a", encoding="utf-8") as log:
            for line in stdout:
                log.write(line)
                log.flush()
                if match := _LISTENING.match(line):
                    self.port = int(match[1])
                    self._listening.set()
        self._listening.set()

    def _answers(self) -> bool:
        if not self.port:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/admin/host/status")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
