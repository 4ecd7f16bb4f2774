"""Figures over the records, in the shape that `GET /stats` answers, and the latencies that one process has seen."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.backends.base import Backend, BackendStats, ModelStats
from shared.histograms import bucket_of, percentile
from shared.models import PUBLIC_MODELS, ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.query import Aggregation, Group, Query, Value, Window
from shared.retention import RetentionPolicy
from shared.sessions import last_activities
from shared.timestamps import format_timestamp

TOP_ENDPOINTS = 10
MAX_NAMES = 100
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_OLD_SESSION_PAGES = 10
_OLD_SESSION_LIMIT = 1_000


class LatencyMeter:
    """How long this process's operations took, in the same buckets as the records' durations; bounded by the names."""

    def __init__(self) -> None:
        self._histograms: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def observe(self, operation: str, milliseconds: float) -> None:
        self._histograms[operation][bucket_of(milliseconds)] += 1

    def figures(self) -> dict[str, Any]:
        """Count and percentiles in ms by operation."""
        return {name: {"count": sum(seen.values()), **_percentiles(seen)} for name, seen in sorted(self._histograms.items())}


class Statistics:
    """Computes figures live from the records; nothing is kept."""

    def __init__(self, backend: Backend, policy: RetentionPolicy, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._policy = policy
        self._clock = clock

    async def collect(self, window: Window) -> dict[str, Any]:
        """The `stats` member: `database` and `storage` of everything kept, the others over the window.

        `instance` holds figures of this process only, never the service's.
        """
        now = format_timestamp(self._clock())
        stats, generation, requests, events = await asyncio.gather(
            self._backend.get_stats(), self._generation(window, now), self._requests(window, now), self._events(window, now)
        )
        return {
            "database": await self._database(stats, now),
            "storage": dict(stats.storage),
            "generation": generation,
            "requests": requests,
            "events": events,
            "window": {"since": window.since, "until": window.until},
            "instance": {"cache": stats.cache, "pool": stats.pool},
        }

    async def _database(self, stats: BackendStats, now: str) -> dict[str, Any]:
        models = await asyncio.gather(*(self._model_figures(model, stats, now) for model in PUBLIC_MODELS))
        figures: dict[str, Any] = {
            "type": self._backend.name,
            "totalRecords": sum(model["recordCount"] for model in models),
            "models": {model.__name__: figures for model, figures in zip(PUBLIC_MODELS, models, strict=True)},
        }
        if any(model.get("approximate") for model in models):
            figures["approximate"] = True
        return figures

    async def _model_figures(self, model: type[Record], stats: BackendStats, now: str) -> dict[str, Any]:
        known = stats.models.get(model.__name__, ModelStats(0, None))
        cutoff = self._policy.cutoff(model, now)
        count, approximate = known.count, known.approximate
        if cutoff is not None and not (approximate and self._backend.counts_by_reading):
            count, approximate = await self._backend.count(Query(model, since=cutoff)), False
            if model is UserSession:
                old, approximate = await self._old_active_sessions(cutoff, now)
                count += old
        figures: dict[str, Any] = {"recordCount": count, "lastModified": known.last_modified if count else None}
        if known.size_bytes is not None:
            figures["sizeBytes"] = known.size_bytes
        if approximate:
            figures["approximate"] = True
        return figures

    async def _old_active_sessions(self, cutoff: str, now: str) -> tuple[int, bool]:
        """How many sessions made before the cutoff are still active, and whether there were too many to look at."""
        query = Query(UserSession, until=cutoff, limit=_OLD_SESSION_LIMIT)
        active = 0
        for _ in range(_OLD_SESSION_PAGES):
            page = await self._backend.find(query)
            activities = await last_activities(self._backend, page.items, self._policy.cutoffs(now))
            active += sum(activity >= cutoff for activity in activities)
            if page.next is None:
                return active, False
            query = Query(UserSession, until=cutoff, limit=_OLD_SESSION_LIMIT, after=page.next)
        return active, True

    async def _aggregate(
        self, model: type[Record], window: Window, now: str, group_by: tuple[str, ...], durations: tuple[str, ...] = ()
    ) -> list[Group]:
        cutoff = self._policy.cutoff(model, now)
        since = max(window.since or "", cutoff or "") or None
        if since is not None and window.until is not None and since >= window.until:
            return []
        return await self._backend.aggregate(
            Aggregation(model, since=since, until=window.until, group_by=group_by, sums=durations, histograms=durations)
        )

    async def _generation(self, window: Window, now: str) -> dict[str, Any]:
        model = ImageGenerationTransaction
        groups = await self._aggregate(model, window, now, ("status", "imageType", "apiModel"), model.durations)
        by_status = _counts(groups, 0)
        completed, failed = by_status.get("completed", 0), by_status.get("failed", 0)
        return {
            "total": _total(groups),
            "byStatus": by_status,
            "successRate": _rate(completed, completed + failed),
            "byImageType": _counts(groups, 1),
            "byApiModel": _counts(groups, 2),
            "durations": {name: _durations(groups, name) for name in model.durations},
        }

    async def _requests(self, window: Window, now: str) -> dict[str, Any]:
        groups, endpoints = await asyncio.gather(
            self._aggregate(ApiRequestLog, window, now, ("statusCode", "method", "errorOccurred"), ApiRequestLog.durations),
            self._aggregate(ApiRequestLog, window, now, ("endpoint", "errorOccurred")),
        )
        total, errors = _total(groups), sum(group.count for group in groups if group.key[2] is True)
        classes: Counter[str] = Counter()
        for group in groups:
            classes[f"{int(group.key[0] or 0) // 100}xx"] += group.count
        return {
            "total": total,
            "errors": errors,
            "errorRate": _rate(errors, total),
            "byStatusClass": dict(sorted(classes.items())),
            "byMethod": _counts(groups, 1),
            "topEndpoints": _top_endpoints(endpoints),
            "duration": _durations(groups, "duration"),
        }

    async def _events(self, window: Window, now: str) -> dict[str, Any]:
        groups = await self._aggregate(SystemEventLog, window, now, ("level",))
        return {"total": _total(groups), "byLevel": _counts(groups, 0)}


def _total(groups: Iterable[Group]) -> int:
    return sum(group.count for group in groups)


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _counts(groups: Iterable[Group], position: int) -> dict[str, int]:
    """Counts by one part of the groups' keys, greatest first: at most 100 names; records without the field play no part."""
    counts: Counter[Value] = Counter()
    for group in groups:
        name = group.key[position]
        if name is not None:
            counts[name] += group.count
    return {str(name): count for name, count in _ranked(counts)[:MAX_NAMES]}


def _ranked(counts: Mapping[Value, int]) -> list[tuple[Value, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def _top_endpoints(groups: Sequence[Group]) -> list[dict[str, Any]]:
    counts: Counter[Value] = Counter()
    errors: Counter[Value] = Counter()
    for group in groups:
        endpoint = str(group.key[0])
        counts[endpoint] += group.count
        errors[endpoint] += group.count if group.key[1] is True else 0
    return [
        {"endpoint": endpoint, "count": count, "errors": errors[endpoint]}
        for endpoint, count in _ranked(counts)[:TOP_ENDPOINTS]
    ]


def _durations(groups: Iterable[Group], name: str) -> dict[str, Any]:
    """Count, average and percentiles of a duration in ms; null where no record has it."""
    histogram: Counter[int] = Counter()
    total = 0.0
    for group in groups:
        histogram.update(group.histograms.get(name, {}))
        total += group.sums.get(name, 0.0)
    count = sum(histogram.values())
    return {"count": count, "average": round(total / count, 3) if count else None, **_percentiles(histogram)}


def _percentiles(histogram: Mapping[int, int]) -> dict[str, float | None]:
    figures = {name: percentile(histogram, quantile) for name, quantile in _QUANTILES.items()}
    return {name: None if figure is None else round(figure, 3) for name, figure in figures.items()}
