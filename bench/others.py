"""The same reads and writes on the file backend and on what a user might pick instead.

SQLite is called as an asynchronous program has to call it, in a thread of its own; what it takes without one is shown
beside it. TinyDB and the folder of files are left out where building or asking them takes minutes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from bench.comparators import Comparator, FilePerRecord, Filters, SqliteTable, TinyStore
from bench.data import make_records, mixture
from bench.measure import MS, Context, Result, interleaved, least, opened, typical
from bench.writes import MIXED_DAYS, MODEL, fresh
from shared.backends.file.backend import FileBackend
from shared.query import Query, Stored

_LARGEST: Mapping[str, int] = {"TinyDB": 10_000, "file a record": 100_000}
_PAGE = 50
_BATCH = 1_000
_CALLS = 30
_SLOW_CALLS = 1
_BACKEND = "file backend"
_DIRECT = "SQLite, no thread"

Work = Callable[[], Awaitable[object]]
Works = Mapping[str, Callable[[], Work]]


class _Samples:
    """What is written and asked for: the same for all, each record once for each."""

    def __init__(self, context: Context) -> None:
        made = list(islice(make_records(MODEL, mixture(context.records)[MODEL], MIXED_DAYS), 2_000))
        self.ids = [stored.id for stored in made[::20]]
        self.session: Filters = {"sessionId": made[0].record["sessionId"]}
        self.model: Filters = {"apiModel": "painter-3"}
        self.seed = 10_000

    def batches(self, size: int) -> Iterator[list[Stored]]:
        while True:
            self.seed += 1
            yield fresh(size, self.seed)


def _of_backend(backend: FileBackend, samples: _Samples) -> Works:
    singles, batches, ids = samples.batches(1), samples.batches(_BATCH), iter(samples.ids * 100)

    def listed(filters: Filters) -> Work:
        query = Query(MODEL, {name: (value,) for name, value in filters.items()}, limit=_PAGE)
        return partial(backend.find, query)

    return {
        "create one": lambda: partial(backend.create_many, MODEL, next(singles)),
        "create 1,000": lambda: partial(backend.create_many, MODEL, next(batches)),
        "by id": lambda: partial(backend.find_by_id, MODEL, next(ids)),
        "newest 50": lambda: listed({}),
        "newest 50 of a session": lambda: listed(samples.session),
        "newest 50 of an API model": lambda: listed(samples.model),
    }


def _of_comparator(store: Comparator, samples: _Samples, thread: ThreadPoolExecutor | None) -> Works:
    singles, batches, ids = samples.batches(1), samples.batches(_BATCH), iter(samples.ids * 100)

    def work(function: Callable[..., object], *arguments: object) -> Work:
        async def call() -> object:
            if thread is None:
                return function(*arguments)
            return await asyncio.get_running_loop().run_in_executor(thread, partial(function, *arguments))

        return call

    return {
        "create one": lambda: work(store.create_many, next(singles)),
        "create 1,000": lambda: work(store.create_many, next(batches)),
        "by id": lambda: work(store.get, next(ids)),
        "newest 50": lambda: work(store.newest, _PAGE, {}),
        "newest 50 of a session": lambda: work(store.newest, _PAGE, samples.session),
        "newest 50 of an API model": lambda: work(store.newest, _PAGE, samples.model),
    }


async def others(context: Context) -> list[Result]:
    """Every kind of call on every store that is not hopeless at this size."""
    backend = await opened(context.directory("mixed", mixture(context.records), MIXED_DAYS))
    samples = _Samples(context)
    works: dict[str, Works] = {_BACKEND: _of_backend(backend, samples)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(context.temporary()))
        thread = stack.enter_context(ThreadPoolExecutor(1))
        for store in _loaded(context, folder):
            stack.callback(store.close)
            is_table = isinstance(store, SqliteTable)
            works[store.name] = _of_comparator(store, samples, thread if is_table else None)
            if is_table:
                works[_DIRECT] = _of_comparator(store, samples, None)
        results = [
            await _compare(context, kind, {name: kinds[kind] for name, kinds in works.items()}) for kind in works[_BACKEND]
        ]
    await backend.disconnect()
    return results


def _loaded(context: Context, folder: Path) -> Iterator[Comparator]:
    def records() -> Iterator[Stored]:
        return make_records(MODEL, mixture(context.records)[MODEL], MIXED_DAYS)

    table = SqliteTable(folder / "table.sqlite", MODEL)
    table.load(records())
    yield table
    if context.records <= _LARGEST[TinyStore.name]:
        tiny = TinyStore(folder / "tiny.json")
        tiny.create_many(list(records()))
        yield tiny
    if context.records <= _LARGEST[FilePerRecord.name]:
        files = FilePerRecord(folder / "files")
        for stored in records():
            files.create_many([stored])
        yield files


async def _compare(context: Context, kind: str, makers: Mapping[str, Callable[[], Work]]) -> Result:
    async def of(name: str, make: Callable[[], Work]) -> float:
        slow = name in _LARGEST or kind == "create 1,000"

        async def call() -> object:
            return await make()()

        return await typical(call, _SLOW_CALLS if slow else _CALLS)

    for make in makers.values():
        await make()()
    measured = await interleaved(context.rounds, {name: partial(of, name, make) for name, make in makers.items()})
    ratios = [ours / theirs for ours, theirs in zip(measured[_BACKEND], measured[SqliteTable.name], strict=True)]
    figures = {f"{name.replace(' ', '_').replace(',', '')}_ms": least(taken) * MS for name, taken in measured.items()}
    figures["ratio"] = median(ratios)
    return Result(f"{kind} against SQLite", context.records, figures, "3 times SQLite", median(ratios) <= 3)
