"""`/api/logs`: many records of mixed kinds in one request."""

import azure.functions as func

from shared.api.bodies import BATCH
from shared.api.endpoint import Answer, Call
from shared.api.problems import MEDIA_TYPE, problem_document
from shared.api.routing import Routes
from shared.batching import BatchAnswer
from shared.errors import InvalidError, ServiceError, ThrottledError, UnavailableError
from shared.service import DatabaseService

_ERRORS: dict[int, type[ServiceError]] = {400: InvalidError, 429: ThrottledError, 503: UnavailableError}


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The function that takes batches."""

    async def create_logs(call: Call) -> Answer:
        batch = await service.create_batch(call.body)
        headers = {} if batch.retry_after is None else {"retry-after": str(batch.retry_after)}
        if batch.status in _ERRORS:
            return Answer(_refusal(batch, call.request_id), batch.status, headers, MEDIA_TYPE)
        return Answer(batch.body(), batch.status, headers)

    routes = Routes(service)
    routes.add("create_logs", "logs", ("POST",), create_logs, body=BATCH)
    return routes.blueprint


def _refusal(batch: BatchAnswer, request_id: str) -> dict[str, object]:
    problem = problem_document(_ERRORS[batch.status]("None of the records was stored."), request_id)
    return {**problem, **batch.body()}
