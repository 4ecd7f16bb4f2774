"""The REST protocol over an account, for the unmodified SDK: https://learn.microsoft.com/rest/api/cosmos-db/.

It is the specification of what we rely on: what it doesn't know it refuses, and never guesses.
"""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.servers.cosmos import auth, sql
from tests.servers.cosmos.account import Account, Container, CosmosError, Partition
from tests.servers.cosmos.operations import DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS, Done, Operations

_QUERY_TYPE = "application/query+json"
_NEEDS_A_PLAN = 1004
"""Sub-status of a query that the gateway can't serve by itself."""
_METADATA_CHARGE = 1.0
_MAX_BODY = 8 * 1024 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CosmosDouble:
    """The HTTP side of an account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.url = ""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY)
        container = "/dbs/{db}/colls/{coll}"
        routes: list[tuple[str, str, Handler]] = [
            ("POST", "/dbs", self._create_database),
            ("GET", "/dbs/{db}", self._read_database),
            ("DELETE", "/dbs/{db}", self._delete_database),
            ("POST", "/dbs/{db}/colls", self._create_container),
            ("GET", container, self._read_container),
            ("GET", container + "/pkranges", self._read_ranges),
            ("POST", container + "/docs", self._post_documents),
            ("GET", container + "/docs/{id}", self._read_item),
            ("PUT", container + "/docs/{id}", self._replace_item),
            ("DELETE", container + "/docs/{id}", self._delete_item),
        ]
        app.router.add_get("/", self._read_account)
        for method, path, handler in routes:
            app.router.add_route(method, path + "{slash:/?}", handler)
        return app

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["CosmosDouble"]:
        """Listen on a free port of this machine; `url` says which."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authorize(request)
            return await handler(request)
        except auth.UnauthorizedError as error:
            return _refusal(CosmosError(401, str(error)))
        except sql.QueryError as error:
            return _refusal(CosmosError(400, str(error)))
        except CosmosError as error:
            return _refusal(error)

    def _authorize(self, request: web.Request) -> None:
        if auth.uses_token(request.headers):
            self._authorize_token(request)
            return
        parts = [part for part in request.path.split("/") if part]
        resource = parts[-1] if len(parts) % 2 else (parts[-2] if parts else "")
        link = "/".join(parts[:-1] if len(parts) % 2 else parts)
        auth.check_master_key(self.account.key, request.method, resource, link, request.headers, self.account.clock())

    def _authorize_token(self, request: web.Request) -> None:
        """The data-plane role reads and writes items; it makes no databases or containers.

        https://learn.microsoft.com/azure/cosmos-db/how-to-connect-role-based-access-control and
        https://learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden#nondata-operations-arent-allowed
        """
        if auth.signature(request.headers, "aad") not in self.account.tokens:
            raise auth.UnauthorizedError("The token is not valid.")
        if not request.path.endswith("/docs") and request.method in ("POST", "DELETE") and "/docs/" not in request.path:
            raise CosmosError(403, "Request blocked: a token may not do this.", 5300)

    # Account, databases, containers

    async def _read_account(self, _: web.Request) -> web.Response:
        here = [{"name": "Here", "databaseAccountEndpoint": self.url}]
        return _answer({
            "id": "double",
            "writableLocations": here,
            "readableLocations": here,
            "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
            "enableMultipleWriteLocations": False,
        })  # fmt: skip

    async def _create_database(self, request: web.Request) -> web.Response:
        definition = await _json(request)
        self.account.make_database(definition["id"])
        return _answer({"id": definition["id"], "_rid": "LOGOAA==", "_self": "dbs/LOGOAA==/"}, 201)

    async def _read_database(self, request: web.Request) -> web.Response:
        self.account.database(request.match_info["db"])
        return _answer({"id": request.match_info["db"], "_rid": "LOGOAA==", "_self": "dbs/LOGOAA==/"})

    async def _delete_database(self, request: web.Request) -> web.Response:
        self.account.database(request.match_info["db"])
        del self.account.databases[request.match_info["db"]]
        return web.Response(status=204)

    async def _create_container(self, request: web.Request) -> web.Response:
        container = self.account.make_container(request.match_info["db"], await _json(request))
        return _answer(_described(container), 201)

    async def _read_container(self, request: web.Request) -> web.Response:
        container = self._container(request)
        headers = {}
        if request.headers.get("x-ms-documentdb-populatequotainfo", "").lower() == "true":
            count, size = self.account.usage(container)
            headers["x-ms-resource-usage"] = (
                f"documentsSize={size // 1024};documentsCount={count};collectionSize={size // 1024};"
            )
        return _answer(_described(container), headers=headers)

    async def _read_ranges(self, request: web.Request) -> web.Response:
        """The physical partitions, as a change feed: 304 once the client has them all."""
        container = self._container(request)
        if request.headers.get("if-none-match") == '"ranges"':
            return web.Response(status=304, headers={"etag": '"ranges"'})
        ranges = [
            {
                "id": partition.id,
                "minInclusive": partition.least,
                "maxExclusive": partition.beyond,
                "parents": [],
                "status": "online",
                "_rid": container.rid,
            }
            for partition in container.partitions
        ]
        return _answer(
            {"_rid": container.rid, "PartitionKeyRanges": ranges, "_count": len(ranges)}, headers={"etag": '"ranges"'}
        )

    # Items

    async def _post_documents(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if request.content_type == _QUERY_TYPE or "x-ms-cosmos-is-query-plan-request" in request.headers:
            return self._query(request, raw)
        key = _partition_key(request)
        partition = self._container(request).partition_of(key)
        operations = self._operations(request, partition)
        body = _parsed(raw)
        if request.headers.get("x-ms-cosmos-is-batch-request", "").lower() == "true":
            return self._done(request, operations.batch(key, body, len(raw)), partition)
        return self._done(request, operations.create(key, body, len(raw)), partition)

    async def _read_item(self, request: web.Request) -> web.Response:
        key = _partition_key(request)
        partition = self._container(request).partition_of(key)
        done = self._operations(request, partition).read(key, request.match_info["id"])
        return self._done(request, done, partition)

    async def _replace_item(self, request: web.Request) -> web.Response:
        key, raw = _partition_key(request), await request.read()
        partition = self._container(request).partition_of(key)
        if_match = request.headers.get("if-match")
        operations = self._operations(request, partition)
        done = operations.replace(key, request.match_info["id"], _parsed(raw), if_match, len(raw))
        return self._done(request, done, partition)

    async def _delete_item(self, request: web.Request) -> web.Response:
        key = _partition_key(request)
        partition = self._container(request).partition_of(key)
        operations = self._operations(request, partition)
        return self._done(request, operations.delete(key, request.match_info["id"], request.headers.get("if-match")), partition)

    def _query(self, request: web.Request, raw: bytes) -> web.Response:
        body = _parsed(raw)
        parameters = {parameter["name"]: parameter["value"] for parameter in body.get("parameters", [])}
        query = sql.parse(body["query"], parameters)
        container = self._container(request)
        if "x-ms-cosmos-is-query-plan-request" in request.headers:
            return _plan(query)
        key, partition = self._target(request, container)
        page = int(request.headers.get("x-ms-max-item-count", DEFAULT_PAGE_ITEMS))
        if not 0 < page <= MAX_PAGE_ITEMS:
            raise CosmosError(400, "The page size is not known here.")
        done = self._operations(request, partition).query(query, key, page, request.headers.get("x-ms-continuation"))
        body = {"_rid": container.rid, "Documents": done.body, "_count": len(done.body)}
        done.body = body
        return self._done(request, done, partition, is_query=True)

    def _target(self, request: web.Request, container: Container) -> tuple[str | None, Partition]:
        """The logical partition as JSON text, if one is named, and the physical one."""
        if "x-ms-documentdb-partitionkey" in request.headers:
            key = _partition_key(request)
            return json.dumps(key), container.partition_of(key)
        name = request.headers.get("x-ms-documentdb-partitionkeyrangeid")
        if name is None:
            raise CosmosError(400, "Cross partition query can't be directly served by the gateway.", _NEEDS_A_PLAN)
        for partition in container.partitions:
            if partition.id == name:
                return None, partition
        raise CosmosError(410, "The requested partition key range is gone.", 1002)

    def _container(self, request: web.Request) -> Container:
        return self.account.container(request.match_info["db"], request.match_info["coll"])

    def _operations(self, request: web.Request, partition: Partition) -> Operations:
        return Operations(self.account, self._container(request), partition, request.headers.get("x-ms-session-token"))

    def _done(self, request: web.Request, done: Done, partition: Partition, *, is_query: bool = False) -> web.Response:
        headers = {
            "x-ms-session-token": partition.token,
            "x-ms-documentdb-partitionkeyrangeid": partition.id,
            "x-ms-alt-content-path": f"dbs/{request.match_info['db']}/colls/{request.match_info['coll']}",
        }
        if done.etag is not None:
            headers["etag"] = done.etag
        if done.continuation is not None:
            headers["x-ms-continuation"] = done.continuation
        body = done.body
        if not is_query and request.method != "GET" and "return=minimal" in request.headers.get("prefer", ""):
            body = _minimal(body)
        return _answer(body, done.status, headers, done.charge)


def _plan(query: sql.Select) -> web.Response:
    """The plan of a query over several partitions, where this SDK has one.

    It asks for no GROUP BY in its features, so the gateway refuses; several aggregates have a plan that the SDK refuses.
    https://pypi.org/project/azure-cosmos/#limitations and https://learn.microsoft.com/cosmos-db/query/group-by
    """
    if query.group_by:
        raise CosmosError(400, "Query contains 1 or more unsupported features: GroupBy.")
    if len(query.aggregates) > 1 or (query.aggregates and not query.value):
        aggregates = [call.name.capitalize() for call in query.aggregates]
        info = {"distinctType": "None", "aggregates": aggregates, "hasSelectValue": False, "rewrittenQuery": ""}
        ranges = [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}]
        return _answer({"partitionedQueryExecutionInfoVersion": 2, "queryInfo": info, "queryRanges": ranges})
    raise CosmosError(400, "Query plans are not known here: ask each feed range.")


def _minimal(body: Any) -> Any:
    """The answer of a write without the item; a batch keeps each operation's code, charge and ETag."""
    if not isinstance(body, list):
        return None
    return [{name: value for name, value in result.items() if name != "resourceBody"} for result in body]


def _partition_key(request: web.Request) -> Any:
    text = request.headers.get("x-ms-documentdb-partitionkey")
    if text is None:
        raise CosmosError(400, "PartitionKey value must be supplied for this operation.", 1001)
    [key] = json.loads(text)
    return key


async def _json(request: web.Request) -> Any:
    return _parsed(await request.read())


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise CosmosError(400, "The input content is invalid: it is not JSON.") from None


def _described(container: Container) -> dict[str, Any]:
    return {
        **container.definition,
        "_rid": container.rid,
        "_self": f"dbs/LOGOAA==/colls/{container.rid}/",
        "_etag": '"0"',
        "_ts": 0,
    }


def _answer(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, charge: float = _METADATA_CHARGE
) -> web.Response:
    content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    response = web.Response(body=content, status=status, content_type="application/json")
    response.headers.update({"x-ms-request-charge": str(charge), **(headers or {})})
    return response


def _refusal(error: CosmosError) -> web.Response:
    headers = {"x-ms-substatus": str(error.substatus)}
    if error.retry_after_ms is not None:
        headers["x-ms-retry-after-ms"] = str(error.retry_after_ms)
    return _answer({"code": str(error.status), "message": str(error)}, error.status, headers)
