"""How the Tables backend reaches an account: by a signature, by an identity, and over how many connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLContext

import pytest
from aiohttp import web
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import AccountSasPermissions, ResourceTypes, generate_account_sas

from shared.backends.tables.access import read_access
from shared.backends.tables.backend import TablesBackend
from shared.config import Settings
from shared.errors import ConfigurationError
from shared.models import SystemEventLog
from shared.query import Query
from tests.contract.steps import add, fetch, ids
from tests.faults.tables_line import opened
from tests.faults.tls import certificates
from tests.servers.azurite import ACCOUNT, KEY, Azurite
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY
from tests.support.records import make
from tests.support.serve import Serve


def signature(*, permission: AccountSasPermissions) -> str:
    """A signature for everything in the account's tables."""
    return generate_account_sas(
        AzureNamedKeyCredential(ACCOUNT, KEY),
        resource_types=ResourceTypes.from_string("sco"),
        permission=permission,
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


@asynccontextmanager
async def connected(azurite: Azurite, sas: str) -> AsyncIterator[TablesBackend]:
    text = f"TableEndpoint={azurite.endpoint};SharedAccessSignature={sas}"
    access = read_access(Settings(database_type="tables", database_connection_string=text))
    backend = TablesBackend(access, "signed")
    await backend.connect()
    try:
        yield backend
    finally:
        await backend.disconnect()


async def test_a_signature(azurite: Azurite) -> None:
    """A connection string with a signature makes tables, stores, reads and deletes."""
    everything = AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True, update=True)
    async with connected(azurite, signature(permission=everything)) as backend:
        given = [await add(backend, SystemEventLog, make(SystemEventLog, id=name)) for name in ("a", "b")]
        assert ids((await backend.find(Query(SystemEventLog, descending=False))).items) == ids(given)
        await backend.delete(SystemEventLog, "a")
        assert await fetch(backend, SystemEventLog, "b") == given[1]


@pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")  # the driver, reading a refusal
async def test_a_signature_that_may_not_write(azurite: Azurite) -> None:
    """What a signature does not allow is a matter of configuration."""
    async with connected(azurite, signature(permission=AccountSasPermissions(read=True, list=True))) as backend:
        with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING"):
            await backend.create(SystemEventLog, make(SystemEventLog))


class Account:
    """An account that knows no record, and the identity service of a function app beside it; both note what they are told."""

    def __init__(self) -> None:
        self.authorizations: set[str] = set()
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.authorizations.add(request.headers.get("authorization", ""))
        return web.json_response({"odata.error": {"code": "ResourceNotFound"}}, status=404)

    async def give_token(self, request: web.Request) -> web.Response:
        assert request.headers["x-identity-header"] == "an-identity-header"
        self.asked += 1
        expiry = int(time.time()) + 3_600
        resource = request.query["resource"]
        return web.json_response(
            {"access_token": "a-token", "expires_on": expiry, "resource": resource, "token_type": "Bearer"}
        )


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.Response]], context: SSLContext | None) -> AsyncIterator[int]:
    """Let a handler answer everything on a port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_managed_identity(tmp_path: Path) -> None:
    """With an endpoint alone, the token of the app's own identity goes with each call, by TLS."""
    account, certified = Account(), certificates(tmp_path)
    async with serving(account.answer, certified.right) as port, serving(account.give_token, None) as identity_port:
        variables = {
            "DATABASE_TYPE": "tables",
            "TABLES_ENDPOINT": f"https://localhost:{port}/",
            "PRIVACY_SALT": "a-salt-for-tests-only",
            "IDENTITY_ENDPOINT": f"http://localhost:{identity_port}/msi/token",
            "IDENTITY_HEADER": "an-identity-header",
            "SSL_CERT_FILE": str(certified.authority),
        }
        serve = Serve(REPOSITORY, state=tmp_path / "state", log=tmp_path / "log", environment=variables)
        await asyncio.to_thread(serve.start)
        try:
            async with HttpClient(serve.url) as client:
                assert (await client.get("/api/health")).status == 200
        finally:
            await asyncio.to_thread(serve.stop)
    assert account.authorizations == {"Bearer a-token"}
    assert account.asked == 1
    assert "a-token" not in (tmp_path / "log").read_text()


async def test_connections_are_bounded(azurite: Azurite) -> None:
    """However many calls are made at once, no more connections are open than DATABASE_POOL_SIZE says."""
    async with opened(azurite, 35.0, connections=3) as line:
        await asyncio.gather(*(line.backend.create(SystemEventLog, make(SystemEventLog)) for _ in range(40)))
        assert line.proxy.connections == 3
