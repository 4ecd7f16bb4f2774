"""The tables of an index file, their columns and indexes, and the settings of every connection to it."""

import sqlite3
from pathlib import Path

from shared.models import MODELS, Record
from shared.query import value_kind

SCHEMA_VERSION = 2
_BUSY_TIMEOUT_SECONDS = 10.0
_LOG_PAGES = 16_384
"""The writer folds the write-ahead log between groups; only past so many pages (64 MB) does a commit do it."""


def columns_of(model: type[Record]) -> list[str]:
    """The columns of a model's table after those of Row: filterable fields, durations, their bucket numbers."""
    return [*model.filterable, *model.durations, *(bucket_column(name) for name in model.durations)]


def bucket_column(duration: str) -> str:
    """The column of a duration's bucket number."""
    return f"{duration}.bucket"


def create_file(path: Path) -> None:
    """Make an empty index file with its tables, without the secondary indexes."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("BEGIN")
        _create_tables(connection)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE segments (number INTEGER PRIMARY KEY, model TEXT NOT NULL, day TEXT NOT NULL,
        generation INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
        crc INTEGER, live INTEGER NOT NULL, dead_bytes INTEGER NOT NULL, blank_bytes INTEGER NOT NULL,
        unreadable INTEGER NOT NULL, least INTEGER, greatest INTEGER, updated INTEGER, UNIQUE (model, day))"""
    )
    connection.execute(
        "CREATE TABLE spread (model TEXT NOT NULL, id TEXT NOT NULL, segment INTEGER NOT NULL, "
        "PRIMARY KEY (model, id, segment)) WITHOUT ROWID"
    )
    _create_summaries(connection)
    for name, model in MODELS.items():
        kinds = {field: "TEXT" if value_kind(model, field) is str else "INTEGER" for field in model.filterable}
        columns = "".join(f', "{column}" {kinds.get(column, "NUMERIC")}' for column in columns_of(model))
        connection.execute(
            f'CREATE TABLE "{name}" (id TEXT PRIMARY KEY, version INTEGER NOT NULL, segment INTEGER NOT NULL, '
            "offset INTEGER NOT NULL, length INTEGER NOT NULL, checksum INTEGER NOT NULL, timestamp INTEGER, "
            f"updated INTEGER{columns}) WITHOUT ROWID"
        )
        connection.execute(_spread_trigger(name))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _create_summaries(connection: sqlite3.Connection) -> None:
    """What whole segments come to in an aggregation of some shape; gone with any change of the segment."""
    connection.execute(
        "CREATE TABLE summaries (segment INTEGER NOT NULL, shape TEXT NOT NULL, content TEXT NOT NULL, "
        "PRIMARY KEY (segment, shape)) WITHOUT ROWID"
    )
    for event in ("UPDATE", "DELETE"):
        connection.execute(
            f'CREATE TRIGGER "segments.{event.lower()}" AFTER {event} ON segments '
            "BEGIN DELETE FROM summaries WHERE segment = OLD.number; END"
        )


def _spread_trigger(table: str) -> str:
    return (
        f'CREATE TRIGGER "{table}.spread" BEFORE INSERT ON "{table}" '
        f'WHEN EXISTS (SELECT 1 FROM "{table}" WHERE id = NEW.id AND segment <> NEW.segment) BEGIN '
        f"INSERT OR IGNORE INTO spread SELECT '{table}', id, segment FROM \"{table}\" WHERE id = NEW.id; "
        f"INSERT OR IGNORE INTO spread VALUES ('{table}', NEW.id, NEW.segment); END"
    )


def create_secondary_indexes(connection: sqlite3.Connection) -> None:
    """Index every list order: by time, and by each filterable field and time. The id ends each, as the primary key."""
    for name, model in MODELS.items():
        connection.execute(f'CREATE INDEX IF NOT EXISTS "{name}.timestamp" ON "{name}" (timestamp)')
        for field in model.filterable:
            connection.execute(f'CREATE INDEX IF NOT EXISTS "{name}.{field}" ON "{name}" ("{field}", timestamp)')


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an index file. Raises sqlite3.DatabaseError where it is of another schema."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError("the index has another schema")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection
