"""`/api/transactions`."""

import azure.functions as func

from shared.api.resource import Resource
from shared.api.routing import Routes
from shared.models import ImageGenerationTransaction
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The functions of transactions."""
    routes = Routes(service)
    Resource(service, ImageGenerationTransaction).add_to(routes)
    return routes.blueprint
