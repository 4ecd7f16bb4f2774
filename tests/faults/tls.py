"""TLS in front of a server that has none: what a driver says to it arrives, and whom it trusts shows."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.faults.tcp import TcpProxy

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""How PostgreSQL's clients ask for TLS: https://www.postgresql.org/docs/current/protocol-message-formats.html"""


@dataclass(frozen=True)
class Certificates:
    """An authority that signs for `localhost` and for another host. `authority` is the file of its own certificate."""

    right: ssl.SSLContext
    wrong_host: ssl.SSLContext
    authority: Path


def certificates(folder: Path) -> Certificates:
    """A new authority."""
    signer = trustme.CA()
    path = folder / "authority.pem"
    signer.cert_pem.write_to_path(str(path))
    return Certificates(_context(signer, "localhost"), _context(signer, "elsewhere.example"), path)


def _context(signer: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    signer.issue_cert(host).configure_cert(context)
    return context


class TlsProxy(TcpProxy):
    """Passes on what comes by TLS, and nothing else; without a context it hangs up on whoever says something.

    `asks_first` where clients ask in the clear whether there is TLS, as PostgreSQL's do.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None, *, asks_first: bool) -> None:
        super().__init__("127.0.0.1", port)
        self._context = context
        self._asks_first = asks_first
        self.handshakes = 0
        """How many clients there are that it came to an understanding with; not all of them then say something."""
        self.heard = b""
        """What clients said before there was TLS."""

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            if self._context is None:
                self.heard += await from_client.read(1_024)
                return
            await self._secure(from_client, to_client, self._context)
        except (ssl.SSLError, OSError, EOFError):
            return
        self.handshakes += 1
        await super()._serve(from_client, to_client)

    async def _secure(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter, context: ssl.SSLContext
    ) -> None:
        if self._asks_first:
            assert await from_client.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST
            to_client.write(b"S")
            await to_client.drain()
        await to_client.start_tls(context)
