"""The one client of a process: opened on first use, bounded, and its tables, made where they are missing.

What the driver would send again by itself is off: a write that may have been done must not be sent unseen.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.data.tables.aio import TableClient, TableServiceClient

from shared.backends.driver_logs import silence
from shared.backends.tables.access import Access
from shared.backends.tables.calls import TABLE_MISSING, Caller, RefusalError, unexpected
from shared.errors import ConfigurationError
from shared.models import ALL_MODELS, Record

logger = logging.getLogger(__name__)
silence("azure.core", "azure.data", "azure.identity")

READ_TIMEOUT_SECONDS = 35.0
"""The service itself gives up on a query after 30 s."""
_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")

T = TypeVar("T")


def table_name(database: str, model: type[Record]) -> str:
    """The table of a model: DATABASE_NAME without `-` and `_`, and the model's route. Raises ConfigurationError.

    https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#table-names
    """
    name = database.replace("-", "").replace("_", "") + model.route
    if _TABLE_NAME.fullmatch(name) is None:
        longest = 63 - max(len(model.route) for model in ALL_MODELS)
        raise ConfigurationError(
            f"DATABASE_NAME is {database!r}; must begin with a letter and have at most {longest} letters and digits,"
            " since the names of tables begin with it"
        )
    return name


class Connection:
    """An open client and its tables."""

    def __init__(
        self,
        access: Access,
        database: str,
        *,
        connections: int = 10,
        read_timeout: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._names = {model: table_name(database, model) for model in ALL_MODELS}
        self._caller = Caller(access.setting)
        self._access = access
        self._database = database
        self._connections = connections
        self._identity: Any = None
        self._read_timeout = read_timeout
        self._client: TableServiceClient | None = None
        self._tables: dict[type[Record], TableClient] = {}
        self._making = asyncio.Lock()

    async def open(self) -> None:
        """Make the client; nothing is sent yet."""
        self._client = self._make_client()
        self._tables = {model: self._client.get_table_client(name) for model, name in self._names.items()}

    def _make_client(self) -> TableServiceClient:
        from shared.backends.azurehttp import make_transport  # noqa: PLC0415 - aiohttp loads certificates: 150 ms

        return TableServiceClient(
            self._access.endpoint,
            credential=self._make_credential(),
            transport=make_transport(self._connections, read_timeout=self._read_timeout),
            retry_total=0,
            retry_connect=0,
            retry_read=0,
            retry_status=0,
        )

    def _make_credential(self) -> Any:
        if self._access.key is not None:
            return AzureNamedKeyCredential(self._access.account, self._access.key)
        if self._access.signature is not None:
            return AzureSasCredential(self._access.signature)
        if self._identity is None:
            from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - not with a key: it costs 140 ms

            self._identity = DefaultAzureCredential()
        return self._identity

    async def close(self) -> None:
        client, self._client = self._client, None
        self._tables = {}
        if client is not None:
            await client.close()
        identity, self._identity = self._identity, None
        if identity is not None:
            await identity.close()

    async def call(self, model: type[Record], send: Callable[[TableClient], Awaitable[T]]) -> T:
        """What a call on the model's table gives; a missing table is made first.

        Raises as Caller.call does, and UnavailableError where the table does not stay.
        """
        table = self._tables[model]
        try:
            return await self._caller.call(lambda: send(table))
        except RefusalError as refusal:
            if refusal.code != TABLE_MISSING:
                raise
        await self._make_table(model)
        try:
            return await self._caller.call(lambda: send(table))
        except RefusalError as refusal:
            if refusal.code == TABLE_MISSING:
                raise unexpected(refusal) from refusal
            raise

    async def _make_table(self, model: type[Record]) -> None:
        async with self._making:
            try:
                await self._caller.call(self._tables[model].create_table)
            except RefusalError as refusal:
                if refusal.status != 409:
                    raise unexpected(refusal) from refusal
                logger.debug("another task or instance made the table")
