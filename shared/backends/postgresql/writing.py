"""Creates: one by a statement that leaves an existing id alone, many by COPY, each with its own outcome."""

from collections.abc import Sequence

from psycopg.errors import UniqueViolation

from shared.backends.base import Outcome
from shared.backends.postgresql import queries
from shared.backends.postgresql.calls import Caller
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.tables import TABLES, Table, new_etag
from shared.backends.repeats import first_of_each_id, with_repeats
from shared.errors import ServiceError, TransientError, UnavailableError
from shared.models import Record
from shared.query import Stored

MAX_COPIED = 1_000
_MAX_COPIES = 3
_MAX_INSERTS = 20


class Writer:
    """Creates records of a model. Each goes with an etag of its own, by which it is known after a lost answer."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(self, model: type[Record], stored: Stored) -> Outcome:
        """Store one record. Raises ServiceError."""
        return await self._insert(TABLES[model], _marked(stored))

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        """An outcome for each record in the order given; an id twice finds the first."""
        table = TABLES[model]
        outcomes: dict[int, Outcome] = {}
        firsts = first_of_each_id(records)
        for start in range(0, len(firsts), MAX_COPIED):
            chunk = firsts[start : start + MAX_COPIED]
            made = await self._store(table, [_marked(stored) for _, stored in chunk])
            outcomes.update((position, outcome) for (position, _), outcome in zip(chunk, made, strict=True))
        return with_repeats(records, outcomes)

    async def _store(self, table: Table, records: Sequence[Stored]) -> list[Outcome]:
        """All at once; one by one where there is one that the database refuses, or while others bring the same ids."""
        for attempt in range(_MAX_COPIES if len(records) > 1 else 0):
            try:
                return await self._copy(table, records, look=attempt > 0)
            except UniqueViolation:
                continue
            except TransientError as error:
                return [Outcome(error=error)] * len(records)
            except ServiceError:
                break
        return [await self._settle(table, stored) for stored in records]

    async def _settle(self, table: Table, stored: Stored) -> Outcome:
        try:
            return await self._insert(table, stored)
        except ServiceError as error:
            return Outcome(error=error)

    async def _copy(self, table: Table, records: Sequence[Stored], *, look: bool) -> list[Outcome]:
        """Store records; with `look`, or after a lost answer, only those whose ids don't exist.

        Raises UniqueViolation when an id exists after all. Rows go in the order of their ids, so that of two batches with
        the same ids one waits for the other, not both.
        """
        ordered = sorted(records, key=lambda stored: stored.id)
        target = f"COPY {table.name} ({table.column_list}) FROM STDIN"
        must_look = look

        async def work(connection: Connection) -> dict[str, Stored]:
            nonlocal must_look
            found: dict[str, Stored] = {}
            if must_look:
                cursor = await connection.execute(queries.by_ids(table), ([stored.id for stored in ordered],))
                found = {stored.id: stored for stored in table.stored(await cursor.fetchall())}
            must_look = True
            new = [stored for stored in ordered if stored.id not in found]
            if new:
                async with connection.cursor().copy(target) as copy:
                    for stored in new:
                        await copy.write_row(table.row(stored))
            return found

        found = (await self._caller.call(work, passes=(UniqueViolation,))).value
        return [_outcome(stored, found.get(stored.id)) for stored in records]

    async def _insert(self, table: Table, stored: Stored) -> Outcome:
        """Store one record, or find what has its id. Raises ServiceError."""
        values = table.row(stored)

        async def work(connection: Connection) -> tuple[bool, Stored | None]:
            cursor = await connection.execute(queries.insertion(table), values)
            if cursor.rowcount:
                return True, None
            await cursor.execute(queries.by_id(table), (stored.id,))
            there = table.stored(await cursor.fetchall())
            return False, there[0] if there else None

        for _ in range(_MAX_INSERTS):
            written, found = (await self._caller.call(work)).value
            if written or found is not None:
                return _outcome(stored, found)
        raise UnavailableError("The record was being created and deleted at the same time.")


def _marked(stored: Stored) -> Stored:
    return stored._replace(etag=new_etag())


def _outcome(sent: Stored, found: Stored | None) -> Outcome:
    """A record that has our etag is the one we sent, in an attempt whose answer was lost."""
    if found is None:
        return Outcome(sent)
    return Outcome(found, existed=found.etag != sent.etag)
