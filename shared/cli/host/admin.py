"""The host's own addresses: run a function that is not called over HTTP, list the functions, say that the host is up."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from urllib.parse import unquote

from aiohttp import web

from shared.cli.host.app import App
from shared.cli.host.bindings import HttpTrigger

HOME = "The local Functions host is running.\n"
_INVOKE = "/admin/functions/"


class Admin:
    """Answers below `/admin/`. `run_now` starts a timer function by its exact name; `url` is where the host listens."""

    def __init__(self, app: App, run_now: Mapping[str, Callable[[], None]], url: str) -> None:
        self._app = app
        self._run_now = run_now
        self._url = url
        self._names = {loaded.function.name.lower(): loaded.function.name for loaded in app.functions}

    async def handle(self, request: web.BaseRequest, path: str) -> web.Response:
        path = path.lower().rstrip("/")
        if path.startswith(_INVOKE) and request.method == "POST":
            return await self._invoke(request, unquote(path[len(_INVOKE) :]))
        if request.method in {"GET", "HEAD"}:
            if path == "/admin/functions":
                return _json([self._described(index) for index in range(len(self._app.functions))])
            if path == "/admin/host/status":
                return _json({"state": "Running", "version": f"azure-functions {version('azure-functions')}"})
        return web.Response(status=404)

    async def _invoke(self, request: web.BaseRequest, lowered: str) -> web.Response:
        """As the real host: 202 once it has started. The content type keeps other sites' pages from calling it."""
        name = self._names.get(lowered)
        if name is None:
            return web.Response(status=404)
        if request.content_type != "application/json":
            return web.Response(status=415)
        try:
            invocation = json.loads(await request.content.read())
        except ValueError:
            invocation = None
        if not isinstance(invocation, dict):
            return web.Response(status=400, text='the body must be a JSON object such as {"input": ""}\n')
        if name not in self._run_now:
            return web.Response(status=400, text=f"{name} is called over HTTP, at its own address\n")
        self._run_now[name]()
        return web.Response(status=202)

    def _described(self, index: int) -> dict[str, object]:
        function = self._app.functions[index].function
        trigger = function.trigger
        if isinstance(trigger, HttpTrigger):
            prefix = f"{self._app.route_prefix}/" if self._app.route_prefix else ""
            binding = {
                "type": function.kind,
                "route": trigger.route,
                "methods": trigger.methods,
                "authLevel": trigger.auth_level,
            }
            return {"name": function.name, "invoke_url_template": f"{self._url}/{prefix}{trigger.route}", "bindings": [binding]}
        return {"name": function.name, "bindings": [{"type": function.kind, "schedule": trigger.schedule}]}


def _json(value: object) -> web.Response:
    return web.Response(text=json.dumps(value, indent=2) + "\n", content_type="application/json")
