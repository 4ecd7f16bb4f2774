"""`mongodb+srv`: what a name server says, or does not say, of the database's name."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import dns.asyncresolver
import dns.message
import dns.rcode
import pytest

from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.backend import MongoBackend
from shared.config import Settings
from shared.errors import ConfigurationError, UnavailableError


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with one code; with none it does not answer."""

    rcode: dns.rcode.Rcode | None = None
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # its class does not say so on Python 3.11

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.rcode is not None:
            answer = dns.message.make_response(dns.message.from_wire(data))
            answer.set_rcode(self.rcode)
            self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    """A name server, the only one that this machine asks."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
    yield server
    transport.close()


@pytest.fixture
async def backend() -> AsyncIterator[MongoBackend]:
    text = "mongodb+srv://logo:p@cluster0.abcde.example/?connectTimeoutMS=300"
    made = MongoBackend(read_access(Settings(database_type="mongodb", database_connection_string=text)), "names")
    await made.connect()
    yield made
    await made.disconnect()


@pytest.mark.parametrize("rcode", [None, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_name_that_can_not_be_looked_up_now(
    names: NameServer, backend: MongoBackend, caplog: pytest.LogCaptureFixture, rcode: dns.rcode.Rcode | None
) -> None:
    """The database is unavailable, as long as the name server does not answer, and the log says why without the name."""
    names.rcode = rcode
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            await backend.health()
        assert "example" not in str(caught.value)
    assert {record.message for record in caplog.records} == {"the database's name can't be looked up"}
    assert "example" not in caplog.text


async def test_a_name_that_there_is_not(names: NameServer, backend: MongoBackend) -> None:
    """It is the setting that is wrong."""
    names.rcode = dns.rcode.NXDOMAIN
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING: the server can't be used"):
        await backend.health()
