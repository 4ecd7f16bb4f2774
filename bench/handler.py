"""A handler's own cost: everything between the host and the database, with a database that does nothing."""

# ruff: noqa: ARG002 - the null backend keeps nothing of what it is given

from collections.abc import Sequence
from functools import partial
from statistics import median

import azure.functions as func

from bench.data import make_records
from bench.measure import US, Context, Result, percentile, seconds
from shared import jsontext
from shared.api import transactions
from shared.api.endpoint import Function
from shared.backends.base import Backend, BackendStats, Deleted, Outcome
from shared.cli.host.messages import make_request
from shared.config import Settings
from shared.models import ImageGenerationTransaction, Record
from shared.query import Aggregation, Group, Page, Query, Stored
from shared.service import DatabaseService

_CALLS = 5_000
_URL = "http://localhost:7071/api/transactions"
_SERVER_FIELDS = ("id", "timestamp", "createdAt", "updatedAt")


class NullBackend(Backend):
    """Takes every record and keeps none."""

    name = "null"

    async def connect(self) -> None:
        pass

    async def disconnect(self) -> None:
        pass

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        return [Outcome(stored._replace(etag="1")) for stored in records]

    async def put_raw(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        return await self.create_many(model, records)

    async def find_by_id(self, model: type[Record], record_id: str) -> Stored | None:
        return None

    async def update(self, model: type[Record], stored: Stored, etag: str) -> Stored:
        return stored

    async def delete(self, model: type[Record], record_id: str, etag: str | None = None) -> None:
        pass

    async def find(self, query: Query) -> Page:
        return Page([], more=False)

    async def count(self, query: Query) -> int:
        return 0

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        return []

    async def delete_where(self, query: Query) -> Deleted:
        return Deleted(0, more=False)

    async def purge(self, model: type[Record], record_ids: Sequence[str]) -> int:
        return 0

    async def get_stats(self) -> BackendStats:
        return BackendStats({})

    async def health(self) -> None:
        pass


def bodies(count: int, seed: int = 7) -> list[bytes]:
    """What clients post: transactions without what the server sets."""
    made = make_records(ImageGenerationTransaction, count, 1, seed=seed)
    records = ({name: value for name, value in stored.record.items() if name not in _SERVER_FIELDS} for stored in made)
    return [jsontext.encode({**record, "userIP": f"192.0.2.{number % 200}"}) for number, record in enumerate(records)]


async def handler(context: Context) -> list[Result]:
    """One POST of a transaction: decorator, parsing, validation, privacy and response."""
    del context
    service = DatabaseService(Settings(privacy_salt="0123456789abcdef"), NullBackend())
    app = func.FunctionApp()
    app.register_functions(transactions.blueprint(service))
    named = {function.get_function_name(): function for function in app.get_functions()}
    create: Function = named["create_transaction"].get_user_function()
    headers = {"content-type": "application/json", "content-length": "700"}
    requests = [make_request("POST", _URL, dict(headers), "", {}, body) for body in bodies(_CALLS + 200)]
    answer = await create(requests[0])
    assert answer.status_code == 201, answer.get_body()
    taken = [await seconds(partial(create, request)) for request in requests[1:]][199:]
    shares = [median(taken[start : start + 500]) for start in range(0, _CALLS, 500)]
    figures = {
        "p50_us": min(shares) * US,
        "p50_of_all_us": median(taken) * US,
        "p99_us": percentile(taken, 99) * US,
    }
    return [Result("a handler's own cost, p50", None, figures, "300 µs", min(shares) * US <= 300)]
