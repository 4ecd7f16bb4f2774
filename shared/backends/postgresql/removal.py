"""Bounded removals: what goes is chosen and locked first, so that it is counted once even where an answer is lost."""

from shared.backends.base import Deleted
from shared.backends.postgresql.calls import Caller
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.queries import Statement
from shared.backends.postgresql.tables import Row, Table


async def remove(caller: Caller, table: Table, choice: Statement, limit: int | None = None) -> Deleted:
    """Delete the rows that `choice` gives (`id` and `etag`; no etag: it is gone), the first `limit` of them.

    In a second attempt a row that was written anew meanwhile stays, and `more` says so; without a limit it goes.
    """
    chosen: list[Row] = []

    def going() -> list[Row]:
        return [row for row in chosen if row[1] is not None][:limit]

    async def work(connection: Connection) -> int:
        async with connection.transaction():
            cursor = await connection.execute(choice.text, choice.values) if not chosen else None
            if cursor is not None:
                chosen.extend(await cursor.fetchall())
            values = [[row[0] for row in going()]]
            text = f'DELETE FROM {table.name} WHERE "id" = ANY($1::text[])'
            if limit is not None:
                values.append([row[1] for row in going()])
                text += ' AND "etag" = ANY($2::bigint[])'
            return (await connection.execute(text, values)).rowcount

    answer = await caller.call(work)
    wanted = len(going())
    count = wanted if answer.lost else answer.value
    return Deleted(count, more=len(chosen) > len(chosen[:limit]) or answer.value < wanted)
