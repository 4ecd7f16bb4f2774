"""`/api/events`."""

import azure.functions as func

from shared.api.resource import Resource
from shared.api.routing import Routes
from shared.models import SystemEventLog
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The functions of events."""
    routes = Routes(service)
    Resource(service, SystemEventLog).add_to(routes)
    return routes.blueprint
