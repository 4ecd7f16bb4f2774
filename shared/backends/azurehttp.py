"""HTTP below the Azure drivers. aiohttp by itself sends GET, PUT and DELETE again when a kept connection drops; here not.

Timeouts are the transport's: a driver that is given one leaves it to that, Azure Tables' does even with timeouts of its own.
"""

import aiohttp
from aiohttp.client_exceptions import ClientConnectorError, ClientOSError, ServerDisconnectedError
from azure.core.pipeline.transport import AioHttpTransport

CONNECT_TIMEOUT_SECONDS = 5.0
_CONNECTIONS = 100


class _DroppedError(aiohttp.ClientConnectionError):
    """A connection dropped; of a class that aiohttp does not answer by sending the request again."""


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Middleware that leaves what to do about a dropped connection to us; a failed connect sent nothing."""
    try:
        return await handler(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        raise _DroppedError("the connection dropped") from error


def make_transport(connections: int = _CONNECTIONS, *, read_timeout: float) -> AioHttpTransport:
    """A transport with a session of its own, for the running event loop, and at most so many connections.

    `read_timeout`: the seconds that a server may be silent for.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        middlewares=(_sent_once,),
        trust_env=True,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    return AioHttpTransport(session=session, connection_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=read_timeout)
