"""The schema: made where the role may, printed where it may not, and never changed by code that is older than it."""

import asyncio
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from shared.backends import create_backend
from shared.backends.postgresql import schema
from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.tables import TABLES
from shared.cli import main
from shared.config import Settings
from shared.errors import ConfigurationError
from shared.models import ALL_MODELS, SystemEventLog
from shared.query import Aggregation, Query
from tests.contract.steps import add, add_all, fetch, ids, walk
from tests.postgresql.conftest import backend_of, until_blocked
from tests.servers.postgresql import PostgresServer
from tests.support.environment import REPOSITORY, clean_environment
from tests.support.records import make

DOCS = REPOSITORY / "docs" / "postgresql.md"


def printed() -> str:
    """What the command prints, in a process without settings."""
    command = [sys.executable, "-m", "shared", "postgresql", "schema"]
    return subprocess.run(command, env=clean_environment(), cwd=Path.cwd(), capture_output=True, text=True, check=True).stdout


def documented_grants(role: str, database: str) -> str:
    """The statements of the documentation, for a role and a database of the test's."""
    block = re.search(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    return re.sub(r"\blogogen_service\b", role, block[1]).replace("DATABASE logogen", f"DATABASE {database}")


@contextmanager
def role_on(server: PostgresServer, database: str, name: str) -> Iterator[str]:
    """A role that may do nothing yet, removed afterwards."""
    server.execute(f"CREATE ROLE {name} LOGIN")
    try:
        yield name
    finally:
        server.execute(f"DROP OWNED BY {name} CASCADE", database)
        server.execute(f"DROP OWNED BY {name} CASCADE")
        server.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_the_first_to_connect_makes_it(server: PostgresServer, database: str, isolation: str) -> None:
    """Instances that start together on an empty database make the schema once, and all work."""
    server.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = '{isolation}'")
    backends = [backend_of(server.conninfo(database)) for _ in range(5)]
    await asyncio.gather(*(backend.connect() for backend in backends))
    for backend in backends:
        await add(backend, SystemEventLog, make(SystemEventLog))
    assert await backends[0].count(Query(SystemEventLog)) == 5
    for backend in backends:
        await backend.disconnect()


async def test_every_filterable_field_has_an_index(backend: PostgresBackend, server: PostgresServer, database: str) -> None:
    """Indexes follow from the models' declaration: one for each field that lists filter on, in the lists' order."""
    with psycopg.connect(server.conninfo(database)) as connection:
        rows = connection.execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'logogen'").fetchall()
    for model in ALL_MODELS:
        definitions = [definition for table, definition in rows if table == model.route]
        for item in TABLES[model].filters.values():
            name = item.column.name.strip('"')
            assert [d for d in definitions if re.search(rf"\((hashtextextended\()?{name}\b.*, \"?timestamp\"?, id\)", d)]


async def test_least_privilege(server: PostgresServer, database: str) -> None:
    """On the printed script's schema, a role with the documented grants and no others does all that the service does."""
    with role_on(server, database, "least"):
        server.execute(printed(), database)
        server.execute(documented_grants("least", database), database)
        backend = backend_of(server.conninfo(database, "least"))
        await backend.connect()
        first, second, *rest = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 10))
        await add(backend, SystemEventLog, make(SystemEventLog))
        await backend.update(SystemEventLog, make.changed(first, message="new"), first.etag)
        assert (await fetch(backend, SystemEventLog, first.id)).record["message"] == "new"
        await backend.delete(SystemEventLog, second.id)
        assert (await backend.delete_where(Query(SystemEventLog, descending=False, limit=2))).count == 2
        assert await backend.purge(SystemEventLog, ids(rest[2:4])) == 2
        assert len(await walk(backend, Query(SystemEventLog))) == 6
        assert len(await backend.aggregate(Aggregation(SystemEventLog, group_by=("level",)))) == 1
        assert (await backend.get_stats()).models["SystemEventLog"].count == 6
        await backend.health()
        await backend.disconnect()
        with psycopg.connect(server.conninfo(database, "least")) as connection, pytest.raises(psycopg.Error, match="denied"):
            connection.execute("CREATE TABLE logogen.other (id text)")


async def test_a_role_that_may_not_make_it(server: PostgresServer, database: str) -> None:
    """Without a schema and without the right to make one, the start stops and names the command that prints it."""
    with role_on(server, database, "visitor"):
        backend = backend_of(server.conninfo(database, "visitor"))
        with pytest.raises(ConfigurationError, match=rf"names the database '{database}'.*python -m shared postgresql schema"):
            await backend.connect()


async def test_a_role_without_grants(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """With a schema that the role may not use, the start stops and names the grants' page."""
    with role_on(server, database, "stranger"), pytest.raises(ConfigurationError, match=r"docs/postgresql\.md"):
        await backend_of(server.conninfo(database, "stranger")).connect()


async def test_a_role_that_has_the_schema_alone(server: PostgresServer, database: str) -> None:
    """Who may create in the schema needs no right to create schemas, neither at the start nor with the printed script."""
    with role_on(server, database, "tenant"):
        server.execute("CREATE SCHEMA logogen AUTHORIZATION tenant", database)
        backend = backend_of(server.conninfo(database, "tenant"))
        await backend.connect()
        await add(backend, SystemEventLog, make(SystemEventLog))
        await backend.disconnect()
        server.execute("DROP SCHEMA logogen CASCADE; CREATE SCHEMA logogen AUTHORIZATION tenant", database)
        server.execute(printed(), database, "tenant")


@pytest.mark.parametrize(("without", "awaited"), [("^$", "advisory"), ("SELECT pg_advisory_xact_lock.*", "transactionid")])
async def test_a_script_that_runs_meanwhile(server: PostgresServer, database: str, without: str, awaited: str) -> None:
    """An instance that starts at that moment waits for it and works on what it made, even if it took no lock."""
    made = re.sub(without, "", schema.script())
    backend = backend_of(server.conninfo(database))
    with psycopg.connect(server.conninfo(database), autocommit=True) as other:
        other.execute(made.replace("COMMIT;", ""))
        connecting = asyncio.create_task(backend.connect())
        await until_blocked(server, database, awaited)
        other.execute("COMMIT")
    await connecting
    await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.disconnect()


async def test_tables_without_their_version(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A schema that was half restored stops the start, and the error says where to look."""
    server.execute("DROP TABLE logogen.schema_version", database)
    with pytest.raises(ConfigurationError, match=rf"names the database '{database}'; it has tables .* not their version"):
        await backend_of(server.conninfo(database)).connect()


async def test_the_setting_that_names_the_database(server: PostgresServer, database: str) -> None:
    """It is the one that an error names."""
    server.execute("CREATE SCHEMA logogen; CREATE TABLE logogen.schema_version AS SELECT 99 AS version", database)
    text = server.conninfo(database)
    settings = Settings(database_type="postgresql", database_connection_string=text)
    with pytest.raises(ConfigurationError, match=f"^DATABASE_CONNECTION_STRING names the database '{database}'"):
        await create_backend(settings).connect()
    text = text.replace(f"dbname={database} ", "")
    settings = Settings(database_type="postgresql", database_connection_string=text, database_name=database)
    with pytest.raises(ConfigurationError, match=f"^DATABASE_NAME names the database '{database}'"):
        await create_backend(settings).connect()


async def test_a_newer_schema(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """Code that is older than the schema stops and changes nothing."""
    server.execute("INSERT INTO logogen.schema_version (version) VALUES (99)", database)
    with pytest.raises(ConfigurationError, match="schema has version 99, newer than this code's"):
        await backend_of(server.conninfo(database)).connect()


async def test_a_table_that_is_gone(server: PostgresServer, database: str, backend: PostgresBackend) -> None:
    """A schema that someone changed is told of as such."""
    server.execute("DROP TABLE logogen.events", database)
    with pytest.raises(ConfigurationError, match="python -m shared postgresql schema"):
        await backend.find(Query(SystemEventLog))


async def test_another_encoding(server: PostgresServer) -> None:
    """A database that can't keep every character stops the start."""
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(ConfigurationError, match="its encoding is LATIN1, must be UTF8"):
            await backend_of(server.conninfo("latin")).connect()
    finally:
        server.execute("DROP DATABASE latin WITH (FORCE)")


async def test_an_upgrade(server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older version gets the scripts that it lacks, once, whoever starts first."""
    first = backend_of(server.conninfo(database))
    await first.connect()
    await first.disconnect()
    column = "ALTER TABLE logogen.events ADD COLUMN added integer"
    monkeypatch.setattr(schema, "SCRIPTS", (*schema.SCRIPTS, lambda: (column,)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    later = [backend_of(server.conninfo(database)) for _ in range(3)]
    await asyncio.gather(*(backend.connect() for backend in later))
    for backend in later:
        await backend.disconnect()
    assert schema.script(1).count("ALTER TABLE") == schema.script(0).count("ALTER TABLE") == 1
    assert "CREATE TABLE" not in schema.script(1)


def test_published_versions_stay_as_they_are() -> None:
    """What a version's script does never changes, for databases have it: a changed declaration needs a new version."""
    digests = [hashlib.sha256("\n".join(make_script()).encode()).hexdigest()[:16] for make_script in schema.SCRIPTS]
    assert digests == ["c682944857267d03"]


def test_versions_that_there_are_none_of(capsys: pytest.CaptureFixture[str]) -> None:
    """The command refuses to print an upgrade from a version that it doesn't know."""
    assert main(["postgresql", "schema", "--from", "99"]) == 1
    assert "--from is 99; must be 0 to" in capsys.readouterr().err
