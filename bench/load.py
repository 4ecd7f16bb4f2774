"""A load generator as a process of its own: `python -m bench.load PORT SECONDS CONNECTIONS SEED`.

Each connection sends creates and reads in turn, the next when the last is answered: one create, one read of that
record, one list of the newest ten. It prints JSON: how many were answered, how many failed, percentiles in ms.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle

from bench.handler import bodies
from bench.measure import MS, percentile

_BODIES = 2_000
_WARM_UP_SECONDS = 0.5


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight. Knows of HTTP no more than content-length."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._sent_at = 0.0
        self.latencies: list[tuple[float, float]] = []
        self.failures = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        start = head.find(b"content-length:") + len(b"content-length:")
        stop = head.find(b"\r", start)
        length = int(head[start : stop if stop > 0 else None])
        if len(self._received) < end + 4 + length:
            return
        now = time.perf_counter()
        self.latencies.append((now, now - self._sent_at))
        self.failures += self._received[9:10] != b"2"
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += exc is not None

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))


def requests(number: int, seed: int, contents: list[bytes]) -> Iterator[bytes]:
    """The requests of one connection, without end."""
    common = b"host: localhost\r\naccept: application/json\r\n"
    for count, body in enumerate(cycle(contents)):
        record_id = f"load-{seed}-{number}-{count}".encode()
        content = b'{"id":"' + record_id + b'",' + body[1:]
        kind = b"content-type: application/json\r\ncontent-length: " + str(len(content)).encode()
        yield b"POST /api/transactions HTTP/1.1\r\n" + common + kind + b"\r\n\r\n" + content
        yield b"GET /api/transactions/" + record_id + b" HTTP/1.1\r\n" + common + b"\r\n"
        yield b"GET /api/transactions?limit=10 HTTP/1.1\r\n" + common + b"\r\n"


async def run(port: int, seconds: float, connections: int, seed: int) -> dict[str, float]:
    """Load a server; the figures after the first half second."""
    contents = bodies(_BODIES)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened = []
    for number in range(connections):
        stream = requests(number, seed, contents)
        _, protocol = await loop.create_connection(partial(Connection, stream), "127.0.0.1", port)
        opened.append(protocol)
    await asyncio.sleep(_WARM_UP_SECONDS + seconds)
    for protocol in opened:
        protocol.close()
    begin = started + _WARM_UP_SECONDS
    taken = [latency for protocol in opened for moment, latency in protocol.latencies if moment >= begin]
    return {
        "requests_per_s": len(taken) / (time.perf_counter() - begin),
        "failures": float(sum(protocol.failures for protocol in opened)),
        "p50_ms": percentile(taken, 50) * MS,
        "p99_ms": percentile(taken, 99) * MS,
    }


if __name__ == "__main__":
    port, seconds, connections, seed = sys.argv[1:]
    print(json.dumps(asyncio.run(run(int(port), float(seconds), int(connections), int(seed)))))
