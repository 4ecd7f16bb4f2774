"""The one client of a process: opened on first use, watched by hooks in the driver's own pipeline, and its containers.

What the driver would send again by itself, after dropped connections, timeouts and 429, is off: it hides what the service
was asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.documents import ConnectionPolicy
from azure.cosmos.exceptions import CosmosResourceExistsError, CosmosResourceNotFoundError

from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.calls import Caller, RefusalError
from shared.backends.cosmosdb.definitions import (
    KEY_PATH,
    NEVER,
    container_name,
    indexing_policy,
    key_paths,
    recorded_buckets,
)
from shared.backends.cosmosdb.sessions import SessionTokens
from shared.backends.driver_logs import silence
from shared.charges import add_charge
from shared.errors import ConfigurationError
from shared.models import Record

logger = logging.getLogger(__name__)
silence("azure.core", "azure.cosmos", "azure.identity")

_READ_TIMEOUT_SECONDS = 20.0
_NO_THROTTLE_RETRIES = -1
"""Zero would mean the driver's default of nine."""


class Connection:
    """An open client and the containers seen so far.

    `charge` is the sum of request units of this process. A container is read once, which the driver does anyway, and
    checked then; with a key a missing one is made.
    """

    def __init__(
        self,
        access: Access,
        database: str,
        buckets: int,
        *,
        credential: Any = None,
        read_timeout: float = _READ_TIMEOUT_SECONDS,
    ) -> None:
        self.caller = Caller(access.setting)
        self.charge = 0.0
        self._access = access
        self._database = database
        self._buckets = buckets
        self._credential = credential
        self._read_timeout = read_timeout
        self._tokens = SessionTokens()
        self._client: CosmosClient | None = None
        self._containers: dict[str, ContainerProxy] = {}
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Read the account, once. Raises ConfigurationError where it refuses the key and UnavailableError without an answer."""
        credential = self._credential
        if self._access.key is None and credential is None:
            from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - not with a key: it costs 140 ms

            credential = self._credential = DefaultAzureCredential()

        async def attempt() -> CosmosClient:
            client = self._make_client(self._access.key or credential)
            try:
                await client.__aenter__()
            except BaseException:
                await client.close()
                raise
            return client

        self._client = (await self.caller.call(attempt)).value

    def _make_client(self, credential: Any) -> CosmosClient:
        policy = ConnectionPolicy()
        policy.EnableEndpointDiscovery = False
        from shared.backends.azurehttp import (  # noqa: PLC0415 - aiohttp loads certificates: 150 ms
            CONNECT_TIMEOUT_SECONDS,
            make_transport,
        )

        return CosmosClient(
            self._access.endpoint,
            credential,
            consistency_level="Session",
            connection_policy=policy,
            transport=make_transport(read_timeout=self._read_timeout),
            retry_total=0,
            retry_connect=0,
            retry_read=0,
            retry_status=0,
            retry_throttle_total=_NO_THROTTLE_RETRIES,
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=self._read_timeout,
            no_response_on_write=True,
            enable_compact_utf8_item_writes=True,
            raw_request_hook=self._before,
            raw_response_hook=self._after,
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        self._containers.clear()
        if client is not None:
            await client.close()
        if self._credential is not None and hasattr(self._credential, "close"):
            await self._credential.close()
            self._credential = None if self._access.key is None else self._credential

    def _before(self, request: PipelineRequest[Any]) -> None:
        self._tokens.attach(request.http_request)

    def _after(self, response: PipelineResponse[Any, Any]) -> None:
        headers = response.http_response.headers
        try:
            units = float(headers.get("x-ms-request-charge") or 0)
        except ValueError:
            units = 0.0
        self.charge += units
        add_charge(units)
        self._tokens.note(response.http_request.url, headers)

    async def container(self, model: type[Record]) -> ContainerProxy:
        """The model's container, made or checked on first use. Raises ConfigurationError saying what is wrong with it."""
        name = container_name(model)
        known = self._containers.get(name)
        if known is not None:
            return known
        async with self._opening:
            if name not in self._containers:
                self._containers[name] = await self._checked(model, name)
            return self._containers[name]

    async def _checked(self, model: type[Record], name: str) -> ContainerProxy:
        proxy = self._proxy(name)
        properties: dict[str, Any]
        try:
            properties = (await self.caller.call(proxy.read)).value
        except RefusalError as error:
            if error.status != 404:
                raise
            if self._access.key is None:
                raise ConfigurationError(
                    f"DATABASE_NAME is {self._database!r}; must be a database with a container {name!r}, which is missing "
                    f"(with {self._access.setting} containers are not made by the service)"
                ) from error
            properties = (await self.caller.call(lambda: self._make_container(model, name))).value
        self._check(name, properties)
        return proxy

    def _proxy(self, name: str) -> ContainerProxy:
        assert self._client is not None, "the connection is open"
        return self._client.get_database_client(self._database).get_container_client(name)

    async def _make_container(self, model: type[Record], name: str) -> dict[str, Any]:
        assert self._client is not None, "the connection is open"
        with_key = PartitionKey(path=KEY_PATH, kind="Hash", version=2)
        policy = indexing_policy(model, self._buckets)
        try:
            await self._client.get_database_client(self._database).read()
        except CosmosResourceNotFoundError:
            try:
                await self._client.create_database(self._database)
            except CosmosResourceExistsError:
                logger.debug("another instance made the database")
        database = self._client.get_database_client(self._database)
        try:
            await database.create_container(name, with_key, indexing_policy=policy, default_ttl=NEVER)
        except CosmosResourceExistsError:
            logger.debug("another instance made the container")
        return await self._proxy(name).read()

    def _check(self, name: str, properties: dict[str, Any]) -> None:
        if key_paths(properties) != [KEY_PATH]:
            found = ", ".join(key_paths(properties)) or "none"
            raise ConfigurationError(
                f"DATABASE_NAME is {self._database!r}; its container {name!r} has the partition key {found}, must be {KEY_PATH}"
            )
        recorded = recorded_buckets(properties)
        if recorded is None:
            logger.warning("the container records no COSMOS_BUCKETS", extra={"container": name})
        elif recorded != self._buckets:
            raise ConfigurationError(
                f"COSMOS_BUCKETS is {self._buckets}; must be {recorded}, with which the container {name!r} was made"
            )

    async def properties(self, model: type[Record]) -> dict[str, Any] | None:
        """The definition that a model's container has in the account; None where there is no such container."""
        try:
            return (await self.caller.call(lambda: self._proxy(container_name(model)).read())).value
        except RefusalError as error:
            if error.status == 404:
                return None
            raise


@asynccontextmanager
async def opened(connection: Connection) -> AsyncIterator[Connection]:
    """The connection, open inside the block."""
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()
