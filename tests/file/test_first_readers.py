"""The first readers of a new index come together."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.backends.file.backend import FileBackend
from shared.backends.file.schema import connect
from shared.models import SystemEventLog
from shared.query import Query


async def test_a_new_index_takes_many_connections_at_once(tmp_path: Path) -> None:
    """None of the threads that open a fresh index at the same moment finds it locked by another."""
    threads = 8
    for number in range(25):
        backend = FileBackend(tmp_path / str(number))
        await backend.connect()
        [path] = (tmp_path / str(number) / ".index").glob("*.sqlite")
        together = threading.Barrier(threads)

        def open_it(_: int, path: Path = path, together: threading.Barrier = together) -> None:
            together.wait()
            connect(path).close()

        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(open_it, range(threads))) == [None] * threads
        await asyncio.gather(*(backend.find(Query(SystemEventLog)) for _ in range(threads)))
        await backend.disconnect()
