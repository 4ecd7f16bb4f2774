"""`/api/stats`."""

import azure.functions as func

from shared.api.endpoint import Answer, Call
from shared.api.routing import READ, Routes
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The function that answers statistics."""

    async def get_stats(call: Call) -> Answer:
        return Answer({"success": True, "stats": await service.window_stats(call.parameters)})

    routes = Routes(service)
    routes.add("get_stats", "stats", READ, get_stats, parameters=None)
    return routes.blueprint
