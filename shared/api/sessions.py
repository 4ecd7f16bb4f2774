"""`/api/sessions`, and the transactions of one session."""

import azure.functions as func

from shared.api.endpoint import Answer, Call
from shared.api.resource import Resource, listing_body
from shared.api.routing import READ, Routes
from shared.models import ImageGenerationTransaction, UserSession
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The functions of sessions."""

    async def list_transactions(call: Call) -> Answer:
        listing = await service.list_records(ImageGenerationTransaction, call.parameters, call.route["id"])
        return Answer(listing_body(ImageGenerationTransaction, listing))

    routes = Routes(service)
    Resource(service, UserSession).add_to(routes)
    routes.add("list_session_transactions", "sessions/{id}/transactions", READ, list_transactions, parameters=None)
    return routes.blueprint
