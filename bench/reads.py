"""Reads: lists, records by id, pages far down, statistics, and the memory that a million records take."""

import http.client
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median

from bench.data import END, RARE_COMPONENT, make_records, mixture
from bench.measure import MS, US, Context, Result, interleaved, least, opened, resident_bytes, seconds, typical
from bench.writes import MIXED_DAYS, fresh
from shared.backends.file.backend import FileBackend
from shared.config import Settings
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Key, Query
from shared.service import DatabaseService
from shared.timestamps import shift
from tests.support.serve import Serve

TIMELINE_DAYS = 730
_CALLS = 50
_PAGE = 50
_MIDDLE = Key(shift(END, days=-TIMELINE_DAYS / 2), "")


def timeline(context: Context) -> Path:
    """Events over two years."""
    return context.directory("timeline", {SystemEventLog: context.records}, TIMELINE_DAYS)


def _shapes(context: Context) -> Mapping[str, Query]:
    """The lists that are asked for. A rare match is 1 in 100,000, so that with fewer records there is none or one."""
    session = next(iter(make_records(SystemEventLog, context.records, TIMELINE_DAYS))).record["sessionId"]
    newest = Query(SystemEventLog, limit=_PAGE)
    return {
        "newest 50": newest,
        "newest 50 of a level": Query(SystemEventLog, {"level": ("warn",)}, limit=_PAGE),
        "newest 50 of a session": Query(SystemEventLog, {"sessionId": (session,)}, limit=_PAGE),
        "newest 50 of a 1 h window": Query(
            SystemEventLog, since=shift(END, days=-100), until=shift(END, days=-100, hours=1), limit=_PAGE
        ),
        "newest 50 that are 1 in 100,000": Query(SystemEventLog, {"component": (RARE_COMPONENT,)}, limit=_PAGE),
        "1 in 100,000 of a level": Query(SystemEventLog, {"level": ("info",), "component": (RARE_COMPONENT,)}, limit=_PAGE),
    }


async def find(context: Context) -> list[Result]:
    """Each list, warm: the least disturbed round's median of 50 calls."""
    backend = await opened(timeline(context))
    results = []
    for name, query in _shapes(context).items():
        await backend.find(query)
        rounds = [await typical(partial(backend.find, query), _CALLS) for _ in range(context.rounds)]
        best = least(rounds) * MS
        results.append(
            Result(f"{name}, warm", context.records, {"ms": best, "median_round_ms": median(rounds) * MS}, "5 ms", best < 5)
        )
    results.append(await _by_id(context, backend))
    await backend.disconnect()
    return results


async def _by_id(context: Context, backend: FileBackend) -> Result:
    parts = (Key(shift(END, days=-TIMELINE_DAYS * part / 10), "") for part in range(1, 10))
    pages = [await backend.find(Query(SystemEventLog, after=part, limit=_PAGE)) for part in parts]
    ids = [stored.id for page in pages for stored in page.items]

    async def each() -> float:
        return median([await seconds(partial(backend.find_by_id, SystemEventLog, one)) for one in ids])

    await each()
    best = least([await each() for _ in range(context.rounds)]) * MS
    return Result("by id, warm", context.records, {"ms": best}, "1 ms", best < 1)


async def page(context: Context) -> list[Result]:
    """A page from the middle of the list (page 10,000 of 50 in a million) against the first."""
    backend = await opened(timeline(context))
    first, far = Query(SystemEventLog, limit=_PAGE), Query(SystemEventLog, limit=_PAGE, after=_MIDDLE)

    async def time_first() -> float:
        return await typical(lambda: backend.find(first), _CALLS)

    async def time_far() -> float:
        return await typical(lambda: backend.find(far), _CALLS)

    await time_first()
    await time_far()
    measured = await interleaved(max(context.rounds, 9), {"first": time_first, "far": time_far})
    await backend.disconnect()
    ratios = [far / first for first, far in zip(measured["first"], measured["far"], strict=True)]
    figures = {
        "page_1_us": least(measured["first"]) * US,
        "far_page_us": least(measured["far"]) * US,
        "ratio": median(ratios),
    }
    name = f"page {context.records // 2 // _PAGE:,} against page 1"
    return [Result(name, context.records, figures, "1.2 times", median(ratios) <= 1.2)]


async def stats(context: Context) -> list[Result]:
    """The whole of GET /stats: the first that ever is asked, the first of a later process, again, and right after a write."""
    root = context.directory("mixed", mixture(context.records), MIXED_DAYS)
    await (await opened(root)).disconnect()
    async with _service(root) as (service, _):
        first = await seconds(service.get_stats)
    async with _service(root) as (service, backend):
        later = await seconds(service.get_stats)
        again = await typical(service.get_stats, context.rounds)
        after_writes = []
        for stored in fresh(context.rounds, 4_000):
            await backend.create(ImageGenerationTransaction, stored)
            after_writes.append(await seconds(service.get_stats))
    figures = {"again_ms": again * MS, "after_a_write_ms": median(after_writes) * MS}
    return [
        Result("statistics, warm, right after a write", context.records, figures, "1 s", median(after_writes) < 1),
        Result("statistics, first of a process", context.records, {"ms": later * MS}, "1 s", later < 1),
        Result("statistics, first after a rebuild", context.records, {"ms": first * MS}, "1 s", first < 1),
    ]


@asynccontextmanager
async def _service(root: Path) -> AsyncIterator[tuple[DatabaseService, FileBackend]]:
    backend = FileBackend(root)
    settings = Settings(database_data_dir=root, privacy_salt="0123456789abcdef")
    service = DatabaseService(settings, backend, clock=lambda: datetime.fromisoformat(END))
    await service.initialize()
    yield service, backend
    await service.close()


async def memory(context: Context) -> list[Result]:
    """What the service holds after lists, reads, statistics and creates over the records, above one without records."""
    root = context.directory("mixed", mixture(context.records), MIXED_DAYS)
    await (await opened(root)).disconnect()
    idle, idle_peak = _resident_after_use(context, None)
    full, full_peak = _resident_after_use(context, root)
    above = (full - idle) / 1e6
    figures = {"idle_mb": idle / 1e6, "above_idle_mb": above, "peak_above_idle_peak_mb": (full_peak - idle_peak) / 1e6}
    return [Result("resident memory above the idle service", context.records, figures, "150 MB", above < 150)]


def _resident_after_use(context: Context, root: Path | None) -> tuple[int, int]:
    with context.temporary() as folder:
        environment = {"DATABASE_DATA_DIR": str(root or Path(folder) / "data")}
        place = Path(folder)
        with Serve(Path.cwd(), state=place / "state", log=place / "log", environment=environment) as serve:
            connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=300)
            paths = ["/api/health"]
            if root is not None:
                lists = [
                    f"/api/{route}?limit=1000&{query}" for route in ("transactions", "events") for query in ("", "order=asc")
                ]
                paths += [
                    *lists,
                    "/api/stats",
                    "/api/requests?statusCode=500&limit=1000",
                    "/api/sessions?limit=100",
                    "/api/stats",
                ]
            for path in paths:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                assert response.status == 200, f"{path}: {response.status}"
            connection.close()
            return resident_bytes(serve.pid), resident_bytes(serve.pid, "VmHWM")
