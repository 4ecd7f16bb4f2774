"""Forgetting: retention and purges over many records."""

from datetime import datetime
from functools import partial
from statistics import median

from bench.data import END
from bench.measure import MS, Context, Result, opened, seconds
from bench.reads import TIMELINE_DAYS, timeline
from shared.backends.file.backend import FileBackend
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Query
from shared.retention import RetentionPolicy, RetentionRun
from shared.timestamps import shift

MODEL = ImageGenerationTransaction
_PURGE_DAYS = 10
_PURGED = 1_000
_PURGES = 3
_PURGE_MINUTES = _PURGE_DAYS * 24 * 60 / _PURGED


async def retention(context: Context) -> list[Result]:
    """One run that removes the older 365 of 730 days. It can be done once only, so there is one round."""
    backend = await opened(timeline(context))
    policy = RetentionPolicy({SystemEventLog.__name__: TIMELINE_DAYS // 2})
    run = RetentionRun(backend, policy, lambda: datetime.fromisoformat(END))
    taken = await seconds(run.run)
    context.built.discard("timeline")
    left = (await backend.get_stats()).models[SystemEventLog.__name__].count
    await backend.disconnect()
    figures = {"s": taken, "removed_count": context.records - left, "removed_per_s": (context.records - left) / taken}
    return [Result("retention of 365 days out of 730", context.records, figures, "5 s", taken < 5)]


async def purge(context: Context) -> list[Result]:
    """Purges of 1,000 records spread evenly over ten days that hold them all.

    The first finds segments without a dead byte; those after it have to look at every line.
    """
    backend = await opened(context.directory("dense", {MODEL: context.records}, _PURGE_DAYS))
    taken = []
    for _ in range(_PURGES):
        ids = [await _id_before(backend, shift(END, minutes=-number * _PURGE_MINUTES)) for number in range(_PURGED)]
        taken.append(await seconds(partial(backend.purge, MODEL, ids)))
    await backend.disconnect()
    figures = {"first_ms": taken[0] * MS, "later_ms": median(taken[1:]) * MS}
    return [Result("purge of 1,000 records within 10 days", context.records, figures, "2 s", max(figures.values()) < 2 * MS)]


async def _id_before(backend: FileBackend, moment: str) -> str:
    [stored] = (await backend.find(Query(MODEL, until=moment, limit=1))).items
    return stored.id
