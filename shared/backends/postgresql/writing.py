"""Creates: one by a statement that leaves an existing id alone, many by COPY, each with its own outcome."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg.errors import UniqueViolation

from shared.backends.base import Outcome
from shared.backends.postgresql import queries
from shared.backends.postgresql.calls import Caller
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.tables import TABLES, Row, Table, new_etag
from shared.backends.repeats import first_of_each_id, with_repeats
from shared.errors import ServiceError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Stored

MAX_COPIED = 1_000
_MAX_COPIES = 3
_MAX_INSERTS = 20


class _Entry(NamedTuple):
    """A record on its way, with its new etag and its row."""

    stored: Stored
    row: Row


class Writer:
    """Creates records of a model."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(self, model: type[Record], stored: Stored) -> Outcome:
        """Store one record. Raises ServiceError."""
        table = TABLES[model]
        return await self._insert(table, _entry(table, stored))

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """An outcome for each record in the order given; an id twice finds the first."""
        table = TABLES[model]
        outcomes: dict[int, Outcome] = {}
        entries: dict[int, _Entry] = {}
        for position, stored in first_of_each_id(records):
            try:
                entries[position] = _entry(table, stored)
            except ServiceError as error:
                outcomes[position] = Outcome(error=error)
        positions = list(entries)
        for start in range(0, len(positions), MAX_COPIED):
            chunk = positions[start : start + MAX_COPIED]
            made = await self._store(table, [entries[position] for position in chunk])
            outcomes.update(zip(chunk, made, strict=True))
        return with_repeats(records, outcomes)

    async def _store(self, table: Table, entries: Sequence[_Entry]) -> list[Outcome]:
        """All at once; one by one where there is one that the database refuses, or while others bring the same ids."""
        for attempt in range(_MAX_COPIES if len(entries) > 1 else 0):
            try:
                return await self._copy(table, entries, look=attempt > 0)
            except UniqueViolation:
                continue
            except TransientError as error:
                return [Outcome(error=error)] * len(entries)
            except ServiceError:
                break
        return [await self._settle(table, entry) for entry in entries]

    async def _settle(self, table: Table, entry: _Entry) -> Outcome:
        try:
            return await self._insert(table, entry)
        except ServiceError as error:
            return Outcome(error=error)

    async def _copy(self, table: Table, entries: Sequence[_Entry], *, look: bool) -> list[Outcome]:
        """Store records; with `look`, or after a lost answer, only those whose ids don't exist.

        Raises UniqueViolation when an id exists after all. Rows go in the order of their ids, so that of two batches with
        the same ids one waits for the other, not both.
        """
        ordered = sorted(entries, key=lambda entry: entry.stored.id)
        target = f"COPY {table.name} ({table.column_list}) FROM STDIN"
        must_look = look

        async def work(connection: Connection) -> dict[str, Stored]:
            nonlocal must_look
            found: dict[str, Stored] = {}
            if must_look:
                cursor = await connection.execute(queries.by_ids(table), ([entry.stored.id for entry in ordered],))
                found = {stored.id: stored for stored in map(table.stored, await cursor.fetchall())}
            must_look = True
            new = [entry for entry in ordered if entry.stored.id not in found]
            if new:
                async with connection.cursor().copy(target) as copy:
                    for entry in new:
                        await copy.write_row(entry.row)
            return found

        found = (await self._caller.call(work, passes=(UniqueViolation,))).value
        return [_outcome(entry, found.get(entry.stored.id)) for entry in entries]

    async def _insert(self, table: Table, entry: _Entry) -> Outcome:
        """Store one record, or find what has its id."""

        async def work(connection: Connection) -> tuple[bool, Stored | None]:
            cursor = await connection.execute(queries.insertion(table), entry.row)
            if cursor.rowcount:
                return True, None
            await cursor.execute(queries.by_id(table), (entry.stored.id,))
            row = await cursor.fetchone()
            return False, None if row is None else table.stored(row)

        for _ in range(_MAX_INSERTS):
            written, found = (await self._caller.call(work)).value
            if written or found is not None:
                return _outcome(entry, found)
        raise UnavailableError("The record was being created and deleted at the same time.")


def _entry(table: Table, stored: Stored) -> _Entry:
    """Raises InvalidError."""
    stored = stored._replace(etag=new_etag())
    return _Entry(stored, table.row(stored))


def _outcome(entry: _Entry, found: Stored | None) -> Outcome:
    """A record that has our etag is the one we sent, in an attempt whose answer was lost."""
    if found is None:
        return Outcome(entry.stored)
    return Outcome(found, existed=found.etag != entry.stored.etag)
