"""A bare aiohttp server as a child process: reads the body and answers a record of the usual size. Prints its port."""

import asyncio
import socket

from aiohttp import web

from bench.handler import bodies


def main() -> None:
    """Serve until killed."""
    body = b'{"success":true,"transaction":' + bodies(1)[0] + b"}"

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    web.run_app(app, sock=listener, access_log=None, print=None, loop=asyncio.new_event_loop())


if __name__ == "__main__":
    main()
