"""What a user might pick instead of the file backend, each reduced to the same few calls on one model.

All are synchronous. SQLite commits durably (WAL, `synchronous=FULL`); TinyDB and the folder of files don't sync at all.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json
from tinydb import Query as TinyQuery
from tinydb import TinyDB

from shared import jsontext
from shared.backends.file.schema import bucket_column, columns_of
from shared.models import Record
from shared.query import Stored, Value, WireRecord
from shared.timestamps import to_ms

Filters = dict[str, Value]


class Comparator(Protocol):
    """A store of one model's records."""

    name: str

    def create_many(self, records: Sequence[Stored]) -> None: ...
    def get(self, record_id: str) -> WireRecord | None: ...
    def newest(self, limit: int, filters: Filters) -> list[WireRecord]: ...
    def close(self) -> None: ...


class SqliteTable:
    """A table with the columns and secondary indexes that the file backend's index has, and the record as JSON text."""

    name = "SQLite"

    def __init__(self, path: Path, model: type[Record]) -> None:
        self._model = model
        names = ["id", "timestamp", *columns_of(model), "record"]
        listed = ", ".join(f'"{name}"' for name in names)
        self._insert = f"INSERT OR IGNORE INTO records ({listed}) VALUES ({', '.join('?' * len(names))})"
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        columns = "".join(f', "{name}"' for name in columns_of(model))
        self._connection.execute(
            f"CREATE TABLE records (id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL{columns}, record TEXT NOT NULL)"
        )

    def load(self, records: Iterable[Stored]) -> None:
        """Fill an empty table, then index it."""
        self._connection.execute("BEGIN")
        self._connection.executemany(self._insert, map(self._row, records))
        self._connection.execute("CREATE INDEX by_time ON records (timestamp)")
        for name in self._model.filterable:
            self._connection.execute(f'CREATE INDEX "by_{name}" ON records ("{name}", timestamp)')
        self._connection.execute("COMMIT")

    def _row(self, stored: Stored) -> tuple[Any, ...]:
        record, buckets = stored.record, stored.hidden.buckets
        fields = {bucket_column(name): buckets.get(name) for name in self._model.durations} | record
        values = (fields.get(name) for name in columns_of(self._model))
        return (stored.id, to_ms(stored.timestamp), *values, jsontext.dumps(record))

    def create_many(self, records: Sequence[Stored]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._insert, map(self._row, records))
        self._connection.execute("COMMIT")

    def get(self, record_id: str) -> WireRecord | None:
        row = self._connection.execute("SELECT record FROM records WHERE id = ?", (record_id,)).fetchone()
        return None if row is None else from_json(row[0])

    def newest(self, limit: int, filters: Filters) -> list[WireRecord]:
        where = "".join(f' AND "{name}" = ?' for name in filters)
        sql = f"SELECT record FROM records WHERE timestamp > 0{where} ORDER BY timestamp DESC, id DESC LIMIT ?"
        return [from_json(text) for (text,) in self._connection.execute(sql, (*filters.values(), limit))]

    def close(self) -> None:
        self._connection.close()


class TinyStore:
    """TinyDB: one JSON document that every write rewrites."""

    name = "TinyDB"

    def __init__(self, path: Path) -> None:
        self._database = TinyDB(path)

    def create_many(self, records: Sequence[Stored]) -> None:
        self._database.insert_multiple(stored.record for stored in records)

    def get(self, record_id: str) -> WireRecord | None:
        found = self._database.get(TinyQuery().id == record_id)
        return dict(found) if isinstance(found, dict) else None

    def newest(self, limit: int, filters: Filters) -> list[WireRecord]:
        found = self._database.search(TinyQuery().fragment(filters)) if filters else self._database.all()
        return sorted(map(dict, found), key=lambda record: (record["timestamp"], record["id"]), reverse=True)[:limit]

    def close(self) -> None:
        self._database.close()


class FilePerRecord:
    """A JSON file a record in one folder, as the original application keeps them."""

    name = "file a record"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def create_many(self, records: Sequence[Stored]) -> None:
        for stored in records:
            (self._folder / f"{stored.id}.json").write_text(json.dumps(stored.record), encoding="utf-8")

    def get(self, record_id: str) -> WireRecord | None:
        try:
            record: WireRecord = json.loads((self._folder / f"{record_id}.json").read_bytes())
        except FileNotFoundError:
            return None
        return record

    def newest(self, limit: int, filters: Filters) -> list[WireRecord]:
        records: Iterable[WireRecord] = (json.loads(path.read_bytes()) for path in self._folder.iterdir())
        matching = [record for record in records if all(record.get(name) == value for name, value in filters.items())]
        return sorted(matching, key=lambda record: (record["timestamp"], record["id"]), reverse=True)[:limit]

    def close(self) -> None:
        pass
