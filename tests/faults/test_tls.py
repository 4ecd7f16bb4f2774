"""Each database's driver over TLS: records go by it, and nothing is told to a server that can't prove who it is."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tests.faults.tls import Certificates, TlsProxy, certificates
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve

PASSWORD = "correct-horse-battery"
EVENT = {"id": "by-tls", "eventType": "started", "message": "nothing in the clear"}


@dataclass(frozen=True)
class Server:
    """A server without TLS, and the settings of a service that reaches it by TLS, on a port of `localhost`."""

    port: int
    settings: Callable[[int], dict[str, str]]
    asks_first: bool = False


@contextmanager
def _tables() -> Iterator[Server]:
    module = import_module("tests.servers.azurite")
    with module.running() as server:
        yield Server(
            server.port,
            lambda port: {
                "DATABASE_CONNECTION_STRING": module.connection_string(f"https://localhost:{port}/{module.ACCOUNT}"),
            },
        )


@contextmanager
def _postgresql() -> Iterator[Server]:
    module = import_module("tests.servers.postgresql")
    with module.running() as server:
        server.execute(f"CREATE ROLE {module.WITH_PASSWORD} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        named = {"DATABASE_NAME": "postgres", "DATABASE_USERNAME": module.WITH_PASSWORD}
        yield Server(server.port, lambda port: _by_host(port) | named, asks_first=True)


@contextmanager
def _mongodb() -> Iterator[Server]:
    module = import_module("tests.servers.ferretdb")
    with module.running("anna", PASSWORD) as server:
        named = {"DATABASE_USERNAME": "anna", "DATABASE_POOL_SIZE": "1"}
        yield Server(server.port, lambda port: _by_host(port) | named)


def _by_host(port: int) -> dict[str, str]:
    return {"DATABASE_HOST": "localhost", "DATABASE_PORT": str(port), "DATABASE_TLS": "true", "DATABASE_PASSWORD": PASSWORD}


SERVERS = {"tables": _tables, "postgresql": _postgresql, "mongodb": _mongodb}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as running:
        yield running


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("authority"))


Make = Callable[[dict[str, str], Path | None], Serve]


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a service, which trusts an authority where one is given."""
    database_type = request.node.callspec.params["server"]
    with ExitStack() as stack:

        def make(settings: dict[str, str], authority: Path | None) -> Serve:
            trusted = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
            variables = {"DATABASE_TYPE": database_type, "PRIVACY_SALT": "a-salt-for-tests-only", **settings, **trusted}
            serve = Serve(REPOSITORY, state=tmp_path / "state", log=tmp_path / "log", environment=variables)
            stack.push(serve)
            return serve

        yield make


async def test_records_go_by_tls(server: Server, certified: Certificates, service: Make) -> None:
    """A server whose certificate is of a trusted authority and its own is used, by TLS alone."""
    async with TlsProxy(server.port, certified.right, asks_first=server.asks_first) as proxy:
        serve = await asyncio.to_thread(service(server.settings(proxy.port), certified.authority).start)
        async with HttpClient(serve.url) as client:
            assert (await client.post("/api/events", json=EVENT)).status == 201
            read = await client.get(f"/api/events/{EVENT['id']}")
            assert read.json()["event"]["message"] == EVENT["message"]
        await asyncio.to_thread(serve.stop)
    assert 0 < proxy.handshakes == proxy.connections


@pytest.mark.parametrize("flaw", ["unknown authority", "other host", "no TLS"])
async def test_an_unproven_server_is_told_nothing(server: Server, certified: Certificates, service: Make, flaw: str) -> None:
    """A server without TLS, or with a certificate that proves nothing, is not used, and hears no password and no record."""
    context = {"unknown authority": certified.right, "other host": certified.wrong_host, "no TLS": None}[flaw]
    async with TlsProxy(server.port, context, asks_first=server.asks_first) as proxy:
        serve = service(server.settings(proxy.port), None if flaw == "unknown authority" else certified.authority)
        if await asyncio.to_thread(_starts, serve):
            async with HttpClient(serve.url) as client:
                posted = await client.post("/api/events", json=EVENT)
                assert (posted.status, posted.json()["code"]) == (503, "unavailable")
            await asyncio.to_thread(serve.stop)
    assert proxy.connections > 0
    assert proxy.passed_on == 0
    assert context is None or "TLS" in serve.output()
    for secret in (PASSWORD, EVENT["message"]):
        assert secret.encode() not in proxy.heard
        assert secret not in serve.output()
    assert "Traceback" not in serve.output()


def _starts(serve: Serve) -> bool:
    try:
        serve.start()
    except RuntimeError:
        return False
    return True
