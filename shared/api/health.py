"""`/api/health`: open to all, so it tells no counts and nothing of a driver."""

import asyncio
import logging
from typing import Any

import azure.functions as func

from shared.api.endpoint import Answer, Call
from shared.api.problems import MEDIA_TYPE, problem_document, problem_headers
from shared.api.routing import READ, Routes
from shared.errors import ConfigurationError, Detail, InvalidError, ServiceError, TransientError, UnavailableError
from shared.service import DatabaseService

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The function that tells whether the service works."""

    async def health(call: Call) -> Answer:
        probe = call.parameters.get("probe")
        if probe not in (None, "live", "ready"):
            raise InvalidError("Invalid query parameters: probe.", [Detail("probe", "must be live or ready")])
        body: dict[str, Any] = {"success": True, "status": "healthy", "timestamp": service.now()}
        if probe == "live":
            return Answer(body)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return Answer({**body, "database": await service.health()})
        except TransientError as error:
            return _unhealthy(service, error, call.request_id)
        except ConfigurationError as error:
            logger.error("configuration", extra={"request_id": call.request_id, "reason": str(error)})  # noqa: TRY400 - no trace needed
            return _unhealthy(service, UnavailableError("The service is not configured."), call.request_id)
        except TimeoutError:
            return _unhealthy(service, UnavailableError("The database did not answer in time."), call.request_id)

    routes = Routes(service)
    routes.add("health", "health", READ, health, parameters=frozenset({"probe"}), open_to_all=True)
    return routes.blueprint


def _unhealthy(service: DatabaseService, error: ServiceError, request_id: str) -> Answer:
    body = {
        **problem_document(error, request_id),
        "status": "unhealthy",
        "database": {"type": service.settings.database_type},
        "timestamp": service.now(),
    }
    return Answer(body, 503, problem_headers(error), MEDIA_TYPE)
