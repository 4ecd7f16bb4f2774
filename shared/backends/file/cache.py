"""A bounded cache of records by the place of their line; the least recently read go first."""

import threading
from collections import OrderedDict
from typing import Any

from shared.query import Stored

Place = tuple[int, int]
"""A segment's generation and an offset in it: no other line ever has the same."""


class RecordCache:
    """Holds up to `capacity` records; 0 turns it off."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._records: OrderedDict[Place, Stored] = OrderedDict()
        self._guard = threading.Lock()
        self._hits = 0
        self._misses = 0

    def get(self, place: Place) -> Stored | None:
        """The record whose line is at the place, if it is here."""
        with self._guard:
            stored = self._records.get(place)
            if stored is None:
                self._misses += 1
                return None
            self._hits += 1
            self._records.move_to_end(place)
        return Stored(dict(stored.record), stored.hidden, stored.etag)

    def put(self, place: Place, stored: Stored) -> None:
        """Keep a copy of a record."""
        if self._capacity == 0:
            return
        with self._guard:
            self._records[place] = Stored(dict(stored.record), stored.hidden, stored.etag)
            if len(self._records) > self._capacity:
                self._records.popitem(last=False)

    def clear(self) -> None:
        """Let go of everything."""
        with self._guard:
            self._records.clear()

    def stats(self) -> dict[str, Any]:
        """Figures of this process's cache."""
        with self._guard:
            return {
                "enabled": self._capacity > 0,
                "records": len(self._records),
                "capacity": self._capacity,
                "hits": self._hits,
                "misses": self._misses,
            }
