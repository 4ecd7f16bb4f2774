"""`/api/openapi.json`: the API's description, made on the first request for it."""

import azure.functions as func

from shared.api.endpoint import Answer, Call
from shared.api.routing import READ, Routes
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The function that answers the OpenAPI document."""

    async def openapi(_: Call) -> Answer:
        from shared.api.description import document_text  # noqa: PLC0415 - schemas cost a cold start nothing until asked for

        return Answer(document_text(), headers={"cache-control": "public, max-age=3600"})

    routes = Routes(service)
    routes.add("openapi", "openapi.json", READ, openapi, open_to_all=True)
    return routes.blueprint
