"""Aggregations over the index: counts, bounds, sums and histograms, grouped in one pass over the rows.

SQLite groups by sorting, once for every histogram; folding its rows here is several times faster. What whole segments
come to is remembered for as long as they stay as they are, in the process and, of past days, in the index file too, so
that a later aggregation reads only what has changed.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import from_json

from shared import jsontext
from shared.backends.file.index import Index, Segment, conditions
from shared.backends.file.schema import bucket_column
from shared.models import Record
from shared.query import Aggregation, Group, Query, Value, value_kind
from shared.timestamps import from_ms, to_ms

Key = tuple[Value | None, ...]

_CHUNK_ROWS = 10_000
_SCAN_SHARE = 4
"""The whole table is read at once where more than one in so many of its records is asked for."""


@dataclass(slots=True)
class _Part:
    """What one group comes to. `least` and `greatest` are in ms."""

    count: int = 0
    least: int = 1 << 62
    greatest: int = 0
    sums: list[float] = field(default_factory=list)
    histograms: list[Counter[int | None]] = field(default_factory=list)

    def add(self, count: int, least: int, greatest: int, sums: Iterable[float]) -> None:
        self.count += count
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)
        self.sums = [known + more for known, more in zip(self.sums, sums, strict=True)]


@dataclass(frozen=True, slots=True)
class _Packed:
    """A part in little memory: each histogram as its buckets and their counts."""

    key: Key
    count: int
    least: int
    greatest: int
    sums: tuple[float, ...]
    histograms: tuple[tuple[tuple[int | None, ...], tuple[int, ...]], ...]


class _Parts:
    """The groups of an aggregation as they grow."""

    def __init__(self, aggregation: Aggregation) -> None:
        self._sums = len(aggregation.sums)
        self._histograms = len(aggregation.histograms)
        self.by_key: dict[Key, _Part] = {}

    def _part(self, key: Key) -> _Part:
        part = self.by_key.get(key)
        if part is None:
            part = _Part(sums=[0.0] * self._sums, histograms=[Counter() for _ in range(self._histograms)])
            self.by_key[key] = part
        return part

    def add_rows(self, key: Key, rows: list[tuple[Any, ...]]) -> None:
        """Count rows of one group; each is its timestamp, then the durations to sum, then the bucket numbers."""
        part = self._part(key)
        times, *columns = zip(*rows, strict=True)
        sums = (float(sum(filter(None, column))) for column in columns[: self._sums])
        part.add(len(rows), min(times), max(times), sums)
        for histogram, column in zip(part.histograms, columns[self._sums :], strict=True):
            histogram.update(column)

    def merge(self, packed: Iterable[_Packed]) -> None:
        """Count what a segment came to."""
        for one in packed:
            part = self._part(one.key)
            part.add(one.count, one.least, one.greatest, one.sums)
            for histogram, (buckets, counts) in zip(part.histograms, one.histograms, strict=True):
                for bucket, count in zip(buckets, counts, strict=True):
                    histogram[bucket] += count

    def packed(self) -> tuple[_Packed, ...]:
        return tuple(
            _Packed(
                key,
                part.count,
                part.least,
                part.greatest,
                tuple(part.sums),
                tuple((tuple(histogram), tuple(histogram.values())) for histogram in part.histograms),
            )
            for key, part in self.by_key.items()
        )

    def groups(self, aggregation: Aggregation) -> list[Group]:
        return [
            Group(
                _typed(aggregation.model, aggregation.group_by, key),
                part.count,
                from_ms(part.least),
                from_ms(part.greatest),
                dict(zip(aggregation.sums, part.sums, strict=True)),
                {
                    name: {bucket: count for bucket, count in histogram.items() if bucket is not None}
                    for name, histogram in zip(aggregation.histograms, part.histograms, strict=True)
                },
            )
            for key, part in self.by_key.items()
        ]


class Answer(NamedTuple):
    """The groups of an aggregation, and what was computed for it that `Index.keep_summaries` may keep, under its shape."""

    groups: list[Group]
    shape: str = ""
    summaries: Mapping[Segment, str] = MappingProxyType({})


def aggregate(index: Index, aggregation: Aggregation) -> Answer:
    """The answer to an aggregation."""
    parts = _Parts(aggregation)
    query = Query(aggregation.model, aggregation.filters, aggregation.since, aggregation.until)
    with index.snapshot():
        if aggregation.filters:
            where, parameters = conditions(query)
            _fold(index, aggregation, where, parameters, lambda _: parts)
            return Answer(parts.groups(aggregation))
        asked = (aggregation.model.__name__, aggregation.group_by, aggregation.sums, aggregation.histograms)
        shape = jsontext.dumps(asked)
        summaries = _fold_segments(index, aggregation, query, shape, parts)
        return Answer(parts.groups(aggregation), shape, summaries)


def _fold_segments(index: Index, aggregation: Aggregation, query: Query, shape: str, parts: _Parts) -> Mapping[Segment, str]:
    """Add what each segment comes to; the summaries of past days among what had to be computed."""
    since, until = to_ms(query.since) if query.since else 0, to_ms(query.until) if query.until else 1 << 62
    shared = index.segments_that_share_ids(aggregation.model.__name__)
    segments = index.segments(aggregation.model.__name__)
    missing, present = [], 0
    for segment in segments:
        if not segment.live or segment.least is None or segment.greatest is None:
            continue
        present += segment.live
        if segment.greatest < since or segment.least >= until:
            continue
        if since <= segment.least and segment.greatest < until and segment.number not in shared:
            known = _remembered(index, shape, segment)
            if known is None:
                missing.append(segment)
            else:
                parts.merge(known)
        else:
            where, parameters = conditions(query)
            _fold(index, aggregation, f"{where} AND {_OF_SEGMENT}", [*parameters, *_place(segment)], lambda _: parts)
    summaries, last = {}, max((segment.day for segment in segments), default="")
    for segment, found in _fold_whole(index, aggregation, missing, present):
        packed = found.packed()
        _remember(index, shape, segment, packed)
        parts.merge(packed)
        if segment.day < last:
            summaries[segment] = jsontext.dumps([asdict(one) for one in packed])
    return summaries


def _remembered(index: Index, shape: str, segment: Segment) -> tuple[_Packed, ...] | None:
    """What a segment comes to, as this process or the index file knows it."""
    known: tuple[_Packed, ...] | None = index.memo.get((shape, segment.number), _state(segment))
    if known is None and (content := index.summary(segment, shape)) is not None:
        try:
            known = tuple(_unpacked(one) for one in from_json(content))
        except (ValueError, KeyError, TypeError) as error:
            raise sqlite3.DatabaseError("a summary can't be read") from error
        _remember(index, shape, segment, known)
    return known


def _remember(index: Index, shape: str, segment: Segment, packed: tuple[_Packed, ...]) -> None:
    index.memo.put((shape, segment.number), _state(segment), packed, sum(_size(one) for one in packed))


def _unpacked(content: Mapping[str, Any]) -> _Packed:
    histograms = tuple((tuple(buckets), tuple(counts)) for buckets, counts in content["histograms"])
    return _Packed(
        tuple(content["key"]), content["count"], content["least"], content["greatest"], tuple(content["sums"]), histograms
    )


_OF_SEGMENT = "timestamp BETWEEN ? AND ? AND segment = ?"


def _place(segment: Segment) -> list[Any]:
    return [segment.least, segment.greatest, segment.number]


def _state(segment: Segment) -> tuple[int | None, ...]:
    return (segment.generation, segment.size, segment.crc, segment.live, segment.dead_bytes)


def _size(packed: _Packed) -> int:
    return 20 + sum(2 * len(buckets) for buckets, _ in packed.histograms)


def _fold_whole(
    index: Index, aggregation: Aggregation, segments: list[Segment], present: int
) -> Iterator[tuple[Segment, _Parts]]:
    """What whole segments come to, by one scan of the table where they are much of it."""
    if sum(segment.live for segment in segments) * _SCAN_SHARE > present:
        found = {segment.number: _Parts(aggregation) for segment in segments}
        _fold(index, aggregation, "timestamp IS NOT NULL", [], found.get, scan=True)
        for segment in segments:
            yield segment, found.pop(segment.number)
    else:
        for segment in segments:
            parts = _Parts(aggregation)
            _fold(index, aggregation, _OF_SEGMENT, _place(segment), lambda _, parts=parts: parts)  # type: ignore[misc]
            yield segment, parts


def _fold(
    index: Index,
    aggregation: Aggregation,
    where: str,
    parameters: list[Any],
    parts_of: Callable[[int], _Parts | None],
    *,
    scan: bool = False,
) -> None:
    """Add the rows that match to the parts of their segment; those of a segment that has none are left out."""
    buckets = (bucket_column(name) for name in aggregation.histograms)
    columns = ", ".join(f'"{name}"' for name in ("segment", *aggregation.group_by, "timestamp", *aggregation.sums, *buckets))
    table = f'"{aggregation.model.__name__}"{" NOT INDEXED" if scan else ""}'
    cursor = index.connection.execute(f"SELECT {columns} FROM {table} WHERE {where}", parameters)
    width = 1 + len(aggregation.group_by)
    while chunk := cursor.fetchmany(_CHUNK_ROWS):
        by_key: defaultdict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for row in chunk:
            by_key[row[:width]].append(row[width:])
        for (number, *key), rows in by_key.items():
            parts = parts_of(number)
            if parts is not None:
                parts.add_rows(tuple(key), rows)


def _typed(model: type[Record], names: tuple[str, ...], key: Key) -> Key:
    return tuple(
        bool(value) if value is not None and value_kind(model, name) is bool else value
        for name, value in zip(names, key, strict=True)
    )
