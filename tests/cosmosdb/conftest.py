"""An account of the double for each test, and backends over it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.backend import CosmosBackend
from tests.faults.proxy import Proxy
from tests.servers.cosmos.account import Account
from tests.servers.cosmos.running import KEY, new_account
from tests.servers.cosmos.server import CosmosDouble

DATABASE = "logogen"


class Bench:
    """An account behind a proxy that counts, and as many backends as a test opens."""

    def __init__(self, account: Account, double: CosmosDouble, proxy: Proxy, stack: AsyncExitStack) -> None:
        self.account = account
        self.double = double
        self.proxy = proxy
        self._stack = stack

    @property
    def connection_string(self) -> str:
        return f"AccountEndpoint={self.double.url};AccountKey={KEY};"

    def make(self, *, key: str | None = KEY, setting: str = "DATABASE_CONNECTION_STRING", **options: Any) -> CosmosBackend:
        """A backend that is not connected."""
        buckets = options.pop("buckets", 4)
        access = Access(options.pop("url", self.proxy.url), setting, key)
        return CosmosBackend(access, options.pop("database", DATABASE), buckets, **options)

    async def open(self, **options: Any) -> CosmosBackend:
        """A connected backend, disconnected after the test."""
        backend = self.make(**options)
        await backend.connect()
        self._stack.push_async_callback(backend.disconnect)
        return backend


@pytest.fixture
def account() -> Account:
    """The account under test; a test changes it before it opens anything."""
    return new_account(physical=3)


@pytest.fixture
async def bench(account: Account) -> AsyncIterator[Bench]:
    """The account, served."""
    async with CosmosDouble(account).serve() as double, Proxy(double.url).serve() as proxy, AsyncExitStack() as stack:
        yield Bench(account, double, proxy, stack)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate of this machine's own, since tokens travel over TLS only."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
    ).sign(key, hashes.SHA256())
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
