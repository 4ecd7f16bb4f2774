"""The schema of the database: its script, and making it where the role may.

`SCRIPTS[n]` brings version n to n + 1. A database that is newer than the code is left alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import (
    DuplicateSchema,
    DuplicateTable,
    InsufficientPrivilege,
    InvalidSchemaName,
    UndefinedTable,
    UniqueViolation,
)

from shared.backends.postgresql.access import Access
from shared.backends.postgresql.tables import SCHEMA, TABLES, Filter, Table
from shared.errors import ConfigurationError

_LOCK = 0x6C6F676F67656E
"""The key of the advisory lock under which instances that start together make the schema one after the other."""
_THERE_ALREADY = (DuplicateSchema, DuplicateTable, UniqueViolation)
"""What making it fails with where someone has made it who did not take the lock."""
VERSIONS = f"{SCHEMA}.schema_version"
_READ_VERSION = f"SELECT max(version) FROM {VERSIONS}"
_COMMAND = "python -m shared postgresql schema"


def indexed(item: Filter) -> str:
    """What the index of a filterable field holds in front of (timestamp, id)."""
    return f"hashtextextended({item.column.name}, 0)" if item.hashed else item.column.name


def _table_script(table: Table) -> Iterator[str]:
    columns = ",\n".join(f"    {column.name} {column.type}" for column in table.columns)
    yield f"CREATE TABLE {table.name} (\n{columns}\n)"
    yield _index(table, "timestamp", '"timestamp", "id"')
    yield _index(table, "updated_at", '"updated_at"')
    for item in table.filters.values():
        yield _index(table, item.column.name.strip('"'), f'{_parenthesised(indexed(item))}, "timestamp", "id"')


def _parenthesised(expression: str) -> str:
    return expression if expression.startswith('"') else f"({expression})"


def _index(table: Table, name: str, columns: str) -> str:
    return f'CREATE INDEX "{table.route}_{name}" ON {table.name} ({columns})'


def _first_version() -> Sequence[str]:
    tables = [statement for table in TABLES.values() for statement in _table_script(table)]
    return (
        # IF NOT EXISTS would ask for the right to create schemas even where there is this one
        f"DO $$ BEGIN IF to_regnamespace('{SCHEMA}') IS NULL THEN CREATE SCHEMA {SCHEMA}; END IF; END $$",
        f"CREATE TABLE {VERSIONS} (version integer PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now())",
        *tables,
    )


SCRIPTS = (_first_version,)
VERSION = len(SCRIPTS)


def _statements(found: int) -> Iterator[str]:
    for version in range(found, VERSION):
        yield from SCRIPTS[version]()
        yield f"INSERT INTO {VERSIONS} (version) VALUES ({version + 1})"


def script(found: int = 0) -> str:
    """What brings a database from version `found` to this code's, in one transaction, for a role that may create."""
    body = ";\n\n".join(_statements(found))
    lock = f"SELECT pg_advisory_xact_lock({_LOCK})"
    return f"-- LogoGen Data Service: schema version {found} to {VERSION}\nBEGIN;\n\n{lock};\n\n{body};\n\nCOMMIT;\n"


async def prepare(connection: AsyncConnection[Any], access: Access) -> None:
    """Make or upgrade the schema where that is needed. Raises ConfigurationError where it can't be."""
    found = await _version(connection)
    if found == VERSION:
        return
    if found < VERSION:
        await _make(connection, access)
    found = await _version(connection)
    if found > VERSION:
        raise ConfigurationError(
            f"{_named(access)}; its schema has version {found}, newer than this code's {VERSION}: "
            "run a newer version of the service"
        )


def _named(access: Access) -> str:
    return f"{access.database_setting} names the database {access.database!r}"


async def _version(connection: AsyncConnection[Any]) -> int:
    """The version of the database's schema, 0 where there is none."""
    try:
        cursor = await connection.execute(_READ_VERSION)
    except (UndefinedTable, InvalidSchemaName):
        return 0
    row = await cursor.fetchone()
    return int(row[0] or 0) if row else 0


async def _make(connection: AsyncConnection[Any], access: Access) -> None:
    await _check_encoding(connection, access)
    try:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # to see what the lock waited for
            await connection.execute("SELECT pg_advisory_xact_lock($1)", (_LOCK,))
            found = await _version_under_lock(connection)
            for statement in _statements(found):
                await connection.execute(statement)
    except _THERE_ALREADY as error:
        if await _version(connection) < VERSION:
            raise ConfigurationError(
                f"{_named(access)}; it has tables of this service but not their version: compare it with what "
                f"`{_COMMAND}` prints"
            ) from error
    except InsufficientPrivilege as error:
        raise ConfigurationError(
            f"{_named(access)}; its schema is missing or old and the role may not make it: "
            f"have one that may run what `{_COMMAND}` prints"
        ) from error


async def _version_under_lock(connection: AsyncConnection[Any]) -> int:
    cursor = await connection.execute("SELECT to_regclass($1) IS NOT NULL", (VERSIONS,))
    row = await cursor.fetchone()
    return await _version(connection) if row and row[0] else 0


async def _check_encoding(connection: AsyncConnection[Any], access: Access) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(f"{_named(access)}; its encoding is {encoding}, must be UTF8")
