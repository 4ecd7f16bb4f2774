"""The worker in a process of its own, as in Azure: its own environment, working folder and modules.

Run as a script it is that process: it indexes an app, says so on stdout, and serves calls on a Unix socket, frames of
pickles between this file's two halves.
"""

import asyncio
import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.cli.host.bindings import Function
from tests.support.environment import clean_environment
from tests.support.worker import IndexingFailedError, Worker, WorkerResponse

STOP_SECONDS = 30.0


class WorkerProcess:
    """Starts and stops the process, from anywhere: it is not bound to an event loop. Calls go through a connection."""

    def __init__(self, app_dir: Path, *, environment: Mapping[str, str], log: Path) -> None:
        self.functions: dict[str, Function] = {}
        self.log = log
        self._app_dir = app_dir
        self._environment = {**clean_environment(), **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="worker"))

    @property
    def socket(self) -> Path:
        return self._folder / "socket"

    def start(self) -> Self:
        """Returns once the app is indexed. Raises IndexingFailedError with the worker's message."""
        self.socket.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self._app_dir), str(self.socket)],
                cwd=self._app_dir,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self._process.stdout.close()
        outcome = pickle.loads(bytes.fromhex(line.decode())) if line else f"it ended; see {self.log}"
        if isinstance(outcome, str):
            self.kill()
            raise IndexingFailedError(outcome)
        self.functions = outcome
        return self

    def stop(self) -> None:
        """Ask it to close its service and end, and check that it ended well."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(STOP_SECONDS)
        shutil.rmtree(self._folder)
        assert code == 0, f"the worker ended with {code}; see {self.log}"

    def kill(self) -> None:
        """End it at once, as SIGKILL does; `start` starts it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)


class WorkerConnection:
    """Calls the functions of a WorkerProcess, many at a time; for the event loop that it was opened on."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._calls = 0

    @property
    def functions(self) -> Mapping[str, Function]:
        return self._process.functions

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._process.socket)
        self._receiver = asyncio.create_task(self._receive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._receiver
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def http(
        self,
        name: str,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        params: Mapping[str, str],
        body: bytes,
    ) -> WorkerResponse:
        arguments = {"method": method, "url": url, "headers": headers, "query": query, "params": params, "body": body}
        response: WorkerResponse = await self._call("http", name, arguments)
        return response

    async def timer(self, name: str, *, past_due: bool = False) -> None:
        await self._call("timer", name, {"past_due": past_due})

    async def _call(self, verb: str, name: str, arguments: dict[str, Any]) -> Any:
        self._calls += 1
        number = self._calls
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            _send(self._writer, (number, verb, name, arguments))
            await self._writer.drain()
            return await future
        finally:
            self._waiting.pop(number, None)

    async def _receive(self) -> None:
        try:
            while True:
                number, error, value = await _next_frame(self._reader)
                future = self._waiting.get(number)
                if future is None or future.done():
                    continue
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
        except (asyncio.IncompleteReadError, ConnectionError):
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("the worker is gone"))


def _send(writer: asyncio.StreamWriter, message: object) -> None:
    data = pickle.dumps(message)
    writer.write(len(data).to_bytes(8) + data)


async def _next_frame(reader: asyncio.StreamReader) -> Any:
    return pickle.loads(await reader.readexactly(int.from_bytes(await reader.readexactly(8))))


async def _serve(app_dir: Path, socket: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    worker = Worker(app_dir, os.environ)
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                task = asyncio.create_task(_answer(worker, writer, *await _next_frame(reader)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    try:
        functions = await worker.index()
    except IndexingFailedError as error:
        _say(str(error))
        return
    server = await asyncio.start_unix_server(on_connection, socket)
    _say(functions)
    await stop.wait()
    server.close()
    if tasks:
        await asyncio.wait(tasks)
    service = getattr(sys.modules["function_app"], "service", None)
    if service is not None:
        await service.close()


async def _answer(
    worker: Worker, writer: asyncio.StreamWriter, number: int, verb: str, name: str, arguments: dict[str, Any]
) -> None:
    try:
        value = await getattr(worker, verb)(name, **arguments)
    except Exception as error:  # noqa: BLE001 - raised again on the other side
        _send(writer, (number, error, None))
    else:
        _send(writer, (number, None, value))


def _say(outcome: object) -> None:
    sys.stdout.write(pickle.dumps(outcome).hex() + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)  # what the app prints goes to the log


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
