"""What stands in the tables, for whoever looks at them with other tools, and what their limits are."""

import psycopg
import pytest

from shared.backends.postgresql.backend import PostgresBackend
from shared.models import ApiRequestLog, ImageGenerationTransaction
from shared.query import Aggregation, Query
from tests.contract.steps import add, add_all
from tests.servers.postgresql import PostgresServer
from tests.support.records import make

MODEL = ImageGenerationTransaction


async def test_a_row(backend: PostgresBackend, server: PostgresServer, database: str) -> None:
    """The record is readable as JSON, with its fields for queries and what is hidden in columns beside it."""
    given = make.full(MODEL, totalDuration=1.0, metadata={"large": 1e15, "small": -0.0})
    await add(backend, MODEL, given)
    with psycopg.connect(server.conninfo(database)) as connection:
        [row] = connection.execute(
            "SELECT id, status, success, total_duration, total_duration_bucket, content_hash, record->>'originalPrompt', "
            "record->>'totalDuration', record::text FROM logogen.transactions"
        ).fetchall()
    assert row[:6] == (
        given.id, "completed", True, 1.0, given.hidden.buckets["totalDuration"], given.hidden.content_hash
    )  # fmt: skip
    assert row[6:8] == (given.record["originalPrompt"], "1.0")
    assert '"small":-0.0' in row[8]


@pytest.mark.parametrize("character", ["x", "🎨", "\\"])
async def test_the_longest_values(backend: PostgresBackend, character: str) -> None:
    """Filterable fields may be as long as they may be, filtered on and grouped by, though an index entry may not."""
    first, second = character * 2_048, character * 2_047 + "!"
    given = [make(ApiRequestLog, endpoint=first), make(ApiRequestLog, endpoint=second, sessionId="s" * 128)]
    stored = await add_all(backend, ApiRequestLog, given)
    assert (await backend.find(Query(ApiRequestLog, {"endpoint": (second,)}))).items == stored[1:]
    assert await backend.count(Query(ApiRequestLog, {"endpoint": (first, second, "other")})) == 2
    groups = await backend.aggregate(Aggregation(ApiRequestLog, group_by=("endpoint",)))
    assert {group.key: group.count for group in groups} == {(first,): 1, (second,): 1}


async def test_the_longest_names(backend: PostgresBackend) -> None:
    """Every other filterable text fits into its index at its longest, beside the longest id."""
    given = make(MODEL, id="i" * 128, sessionId="s" * 128, imageType="🎨" * 256, apiModel="🦊" * 256, llmModel="🐙" * 256)
    stored = await add(backend, MODEL, given)
    assert (await backend.find(Query(MODEL, {"apiModel": ("🦊" * 256,)}))).items == [stored]


async def test_counts_of_large_tables_are_estimates(
    backend: PostgresBackend, server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past a bound a table is no longer counted row by row, and the figure says so."""
    monkeypatch.setattr("shared.backends.postgresql.backend.MOST_COUNTED", 50)
    await add_all(backend, MODEL, make.many(MODEL, 50))
    exact = (await backend.get_stats()).models[MODEL.__name__]
    assert (exact.count, exact.approximate) == (50, False)
    await add_all(backend, MODEL, make.many(MODEL, 150))
    server.execute("ANALYZE logogen.transactions", database)
    estimated = (await backend.get_stats()).models[MODEL.__name__]
    assert (estimated.count, estimated.approximate) == (200, True)
