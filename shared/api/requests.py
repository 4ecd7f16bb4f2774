"""`/api/requests`."""

import azure.functions as func

from shared.api.resource import Resource
from shared.api.routing import Routes
from shared.models import ApiRequestLog
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The functions of requests."""
    routes = Routes(service)
    Resource(service, ApiRequestLog).add_to(routes)
    return routes.blueprint
