"""FerretDB, a server of MongoDB's wire protocol: built from the Go module proxy once, kept in `.tools/`, started for tests."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from tests.servers.tools import TOOLS, free_port, go, require, run, wait_until

VERSION = "v1.24.0"
MODULE = "github.com/FerretDB/FerretDB"


def binary() -> Path:
    """The built server. Raises UnavailableError."""
    target = TOOLS / f"ferretdb-{VERSION}"
    if not target.exists():
        TOOLS.mkdir(exist_ok=True)
        _build(target)
    return target


def _build(target: Path) -> None:
    """The released module lacks the file that holds its version, without which the server does not start."""
    command, environment = go(), {"GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryDirectory(dir=TOOLS) as name:
        folder, source = Path(name), Path(name) / "source"
        (folder / "go.mod").write_text("module build\n\ngo 1.22\n")
        run([command, "mod", "download", f"{MODULE}@{VERSION}"], folder=folder, environment=environment)
        listed = run([command, "list", "-m", "-f", "{{.Dir}}", f"{MODULE}@{VERSION}"], folder=folder, environment=environment)
        shutil.copytree(listed.strip(), source, copy_function=shutil.copyfile)
        for path in (source, *source.rglob("*/")):
            path.chmod(0o755)
        (source / "build" / "version" / "version.txt").write_text(VERSION)
        (folder / "go.mod").write_text(
            f"module build\n\ngo 1.22\n\nrequire {MODULE} {VERSION}\n\nreplace {MODULE} => ./source\n"
        )
        run([command, "build", "-o", "server", f"{MODULE}/cmd/ferretdb"], folder=folder, environment=environment)
        (folder / "server").rename(target)


class FerretDB:
    """A server over a folder, which may be stopped and started again on its port.

    Its files are not synced, which makes it ten times faster: they outlive the server, though not the machine. With a
    user it asks who is there; with the name of a replica set it is its only member.
    """

    def __init__(self, folder: Path, user: str | None = None, password: str = "", *, replica_set: str = "") -> None:
        self.port = free_port()
        self._folder = folder
        self._user = [f"--setup-username={user}", f"--setup-password={password}"] if user is not None else []
        self._replica_set = replica_set
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connection_string(self) -> str:
        """One connection a process: this server's updates are not atomic between the connections of one."""
        return f"mongodb://{self.address}/?maxPoolSize=1"

    def start(self) -> "FerretDB":
        folder = self._folder
        folder.mkdir(exist_ok=True)
        command = [
            str(binary()),
            "--handler=sqlite",
            f"--sqlite-url=file:{folder}/?_pragma=synchronous(off)",
            f"--state-dir={folder}",
            f"--listen-addr={self.address}",
            "--debug-addr=-",
            "--log-level=error",
            "--telemetry=disable",
            f"--repl-set-name={self._replica_set}",
            *(["--test-enable-new-auth", "--setup-database=admin", *self._user] if self._user else []),
        ]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        wait_until(self._answers, self._process)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with MongoClient[dict[str, object]](self.address, serverSelectionTimeoutMS=500, directConnection=True) as client:
            try:
                client.admin.command("ping")
            except ConnectionFailure:
                return False
        return True


@contextmanager
def running(user: str | None = None, password: str = "", *, replica_set: str = "") -> Iterator[FerretDB]:
    """A server that answers, on an empty folder."""
    require("FerretDB", binary)
    with tempfile.TemporaryDirectory() as name:
        server = FerretDB(Path(name), user, password, replica_set=replica_set)
        try:
            yield server.start()
        finally:
            server.stop()
