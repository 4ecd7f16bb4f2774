"""How the server answers each query of the API on 100,000 rows: by an index, and where not, which ones and why."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest

from shared.backends.postgresql.backend import PostgresBackend
from shared.backends.postgresql.pool import Connection
from shared.backends.postgresql.schema import script
from shared.backends.postgresql.tables import TABLES
from shared.models import ApiRequestLog, ImageGenerationTransaction, UserSession
from shared.query import Aggregation, Key, Query, Value
from tests.contract.steps import fetch
from tests.postgresql.conftest import backend_of
from tests.servers.postgresql import PostgresServer
from tests.support.records import make

MODEL = ApiRequestLog
GENERATIONS = ImageGenerationTransaction
FILLED = (MODEL, GENERATIONS, UserSession)
ROWS = 100_000
FILL = f"""
INSERT INTO logogen.requests (id, timestamp, updated_at, session_id, method, endpoint, status_code, error_occurred, duration,
    duration_bucket, etag, record)
SELECT 'r-' || lpad(n::text, 6, '0'), moment, moment, 'visit-' || n / 20, (ARRAY['GET', 'POST'])[n % 2 + 1],
    '/images/' || n % 50, (ARRAY[200, 200, 200, 404, 500])[n % 5 + 1], n % 5 = 4, n % 1000, n % 200, n,
    json_build_object('id', 'r-' || lpad(n::text, 6, '0'), 'timestamp', moment, 'method', 'GET', 'endpoint', '/',
        'statusCode', 200, 'metadata', json_build_object('text', repeat('x', 300)))
FROM (SELECT n, to_char(timestamp '2024-01-01' + n * interval '5 minutes', 'YYYY-MM-DD"T"HH24:MI:SS".000Z"') AS moment
    FROM generate_series(0, {ROWS - 1}) AS n) AS made
"""
FILL_GENERATIONS = """
INSERT INTO logogen.transactions (id, timestamp, updated_at, session_id, image_type, status, success, api_model, total_duration,
    total_duration_bucket, prompt_enhancement_duration_bucket, image_generation_duration_bucket,
    image_processing_duration_bucket, etag, record)
SELECT id, timestamp, timestamp, session_id, 'logo', (ARRAY['completed', 'failed'])[status_code / 400 + 1], status_code < 400,
    'painter-' || status_code % 3, duration, duration_bucket, duration_bucket, duration_bucket, duration_bucket, etag, record
FROM logogen.requests
"""
FILL_SESSIONS = """
INSERT INTO logogen.sessions (id, timestamp, updated_at, etag, record)
SELECT 'visit-' || etag, timestamp, timestamp, etag, record FROM logogen.requests
"""
AFTER = Key("2024-06-01T00:00:00.000Z", "r-0")
SINCE, UNTIL = "2024-06-01T00:00:00.000Z", "2024-06-02T00:00:00.000Z"
EARLY = "2024-01-10T00:00:00.000Z"
"""Most of the rows are later."""
FILTERS: dict[str, Value] = {
    "sessionId": "visit-77",
    "method": "GET",
    "endpoint": "/images/7",
    "statusCode": 404,
    "errorOccurred": True,
}
SESSIONS: dict[str, tuple[Value, ...]] = {"sessionId": tuple(f"visit-{n}" for n in range(100))}

COUNTED = ("figures",)
"""Rows are counted up to a bound (`MOST_COUNTED`), for which the table may be read; a larger one is not read any further."""

READ_WHOLE = ("statistics of most of the time", "statistics of all time", "generations of most of the time")
"""Where most rows count, going through the table costs less than going to each by an index."""

Call = Callable[[PostgresBackend], Awaitable[object]]


def _statistics(since: str | None, until: str | None = None) -> Aggregation:
    keys = ("statusCode", "method", "errorOccurred")
    return Aggregation(MODEL, group_by=keys, sums=("duration",), histograms=("duration",), since=since, until=until)


def _generations(since: str, until: str | None = None) -> Aggregation:
    keys, names = ("status", "imageType", "apiModel"), GENERATIONS.durations
    return Aggregation(GENERATIONS, group_by=keys, sums=names, histograms=names, since=since, until=until)


async def _update(backend: PostgresBackend) -> object:
    found = await fetch(backend, MODEL, "r-000500")
    return await backend.update(MODEL, found, found.etag)


async def _delete(backend: PostgresBackend) -> None:
    await backend.delete(MODEL, "r-000700")


CALLS: dict[str, Call] = {
    "newest": lambda backend: backend.find(Query(MODEL)),
    "oldest": lambda backend: backend.find(Query(MODEL, descending=False)),
    "next page": lambda backend: backend.find(Query(MODEL, after=AFTER, limit=1_000)),
    "window": lambda backend: backend.find(Query(MODEL, since=SINCE, until=UNTIL)),
    "by id": lambda backend: backend.find_by_id(MODEL, "r-000100"),
    "update": _update,
    "delete": _delete,
    "lookup of a batch": lambda backend: backend.create_many(MODEL, [make(MODEL, id=f"r-{n:06}") for n in range(1_000, 1_100)]),
    "count of a window": lambda backend: backend.count(Query(MODEL, since=SINCE, until=UNTIL)),
    "count of what is kept": lambda backend: backend.count(Query(MODEL, since=EARLY)),
    "statistics of a window": lambda backend: backend.aggregate(_statistics(SINCE, UNTIL)),
    "statistics of most of the time": lambda backend: backend.aggregate(_statistics(EARLY)),
    "statistics of all time": lambda backend: backend.aggregate(_statistics(None)),
    "generations of a window": lambda backend: backend.aggregate(_generations(SINCE, UNTIL)),
    "generations of most of the time": lambda backend: backend.aggregate(_generations(EARLY)),
    "newest generations": lambda backend: backend.find(Query(GENERATIONS, {"status": ("failed",)})),
    "newest sessions": lambda backend: backend.find(Query(UserSession, limit=100)),
    "sessions of a window": lambda backend: backend.find(Query(UserSession, since=SINCE, until=UNTIL)),
    "sessions past their retention": lambda backend: backend.find(Query(UserSession, until=EARLY, descending=False)),
    "counters of sessions": lambda backend: backend.aggregate(Aggregation(MODEL, SESSIONS, group_by=("sessionId",))),
    "retention": lambda backend: backend.delete_where(
        Query(MODEL, until="2024-01-02T00:00:00.000Z", descending=False, limit=500)
    ),
    "erasure of a session": lambda backend: backend.delete_where(Query(MODEL, {"sessionId": ("visit-99",)}, limit=500)),
    "figures": PostgresBackend.get_stats,
    "purge": lambda backend: backend.purge(MODEL, [f"r-{n:06}" for n in range(2_000, 3_000)]),
    **{
        f"newest by {name}": lambda backend, name=name, value=value: backend.find(Query(MODEL, {name: (value,)}))  # type: ignore[misc]
        for name, value in FILTERS.items()
    },
    **{
        f"page of a window by {name}": lambda backend, name=name, value=value: backend.find(  # type: ignore[misc]
            Query(MODEL, {name: (value,)}, after=AFTER, since="2024-02-01T00:00:00.000Z")
        )
        for name, value in FILTERS.items()
    },
}


@pytest.fixture(scope="module")
def filled(server: PostgresServer) -> Iterator[str]:
    """A connection to 100,000 requests, generations and sessions, as the planner knows them."""
    with server.database() as name:
        for statements in (script(), FILL, FILL_GENERATIONS, FILL_SESSIONS, "VACUUM ANALYZE"):
            server.execute(statements, name)
        yield server.conninfo(name)


@pytest.mark.parametrize("call", CALLS)
async def test_an_index_answers(filled: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement of the call reads a table from end to end, with the values that it is called with, but those named."""
    sent: list[tuple[str, Any]] = []
    execute = Connection.execute

    async def recording(self: Connection, query: Any, params: Any = None, **options: Any) -> Any:
        if any(TABLES[model].name in query for model in FILLED):
            sent.append((query, params))
        return await execute(self, query, params, **options)

    backend = backend_of(filled)
    await backend.connect()
    monkeypatch.setattr(Connection, "execute", recording)
    await CALLS[call](backend)
    await backend.disconnect()
    assert sent
    with psycopg.connect(filled, cursor_factory=psycopg.RawCursor) as connection:
        for query, params in sent:
            plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + query, params).fetchall())
            if call in READ_WHOLE:
                assert plan.count("Seq Scan") <= 1, plan
                continue
            allowed = 1 if call in COUNTED and re.search(r"Limit .*\n *-> +Seq Scan on", plan) else 0
            assert plan.count("Seq Scan") == allowed, plan
            assert "Index" in plan, plan
        connection.rollback()
