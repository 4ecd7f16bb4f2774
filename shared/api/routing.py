"""Collects the functions of a blueprint."""

from collections.abc import Sequence

import azure.functions as func

from shared.api.bodies import BodyFormat
from shared.api.endpoint import Handler, endpoint
from shared.service import DatabaseService

PREFIX = "/api"
READ = ("GET", "HEAD")


class Routes:
    """Adds handlers to a blueprint as functions of their own, protected by a function key unless `open_to_all`."""

    def __init__(self, service: DatabaseService) -> None:
        self.service = service
        self.blueprint = func.Blueprint()  # type: ignore[no-untyped-call]

    def add(
        self,
        name: str,
        route: str,
        methods: Sequence[str],
        handler: Handler,
        *,
        body: BodyFormat | None = None,
        parameters: frozenset[str] | None = frozenset(),
        open_to_all: bool = False,
    ) -> None:
        function = endpoint(self.service, name, body=body, parameters=parameters)(handler)
        level = func.AuthLevel.ANONYMOUS if open_to_all else func.AuthLevel.FUNCTION
        self.blueprint.route(route=route, methods=methods, auth_level=level)(function)
