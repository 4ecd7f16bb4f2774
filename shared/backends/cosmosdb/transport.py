"""HTTP below the driver. aiohttp by itself sends GET, PUT and DELETE a second time when a kept connection drops; here not."""

import aiohttp
from aiohttp.client_exceptions import ClientConnectorError, ClientOSError, ServerDisconnectedError
from azure.core.pipeline.transport import AioHttpTransport


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


def make_transport() -> AioHttpTransport:
    """A transport with a session of its own, for the running event loop."""
    session = aiohttp.ClientSession(
        middlewares=(_sent_once,), trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )
    return AioHttpTransport(session=session)
