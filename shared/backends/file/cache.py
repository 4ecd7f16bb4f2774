"""A bounded cache of lines by their place; the least recently read go first."""

import threading
from collections import OrderedDict
from typing import Any

Place = tuple[int, int]
"""A segment's generation and an offset in it: no other line ever has the same."""


class RecordCache:
    """Holds the lines of up to `capacity` records; 0 turns it off."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lines: OrderedDict[Place, bytes] = OrderedDict()
        self._guard = threading.Lock()
        self._hits = 0
        self._misses = 0

    def get(self, place: Place) -> bytes | None:
        """The line at the place, if it is here."""
        with self._guard:
            line = self._lines.get(place)
            if line is None:
                self._misses += 1
            else:
                self._hits += 1
                self._lines.move_to_end(place)
        return line

    def put(self, place: Place, line: bytes) -> None:
        """Keep a line."""
        if self._capacity == 0:
            return
        with self._guard:
            self._lines[place] = line
            if len(self._lines) > self._capacity:
                self._lines.popitem(last=False)

    def clear(self) -> None:
        """Let go of everything."""
        with self._guard:
            self._lines.clear()

    def stats(self) -> dict[str, Any]:
        """Figures of this process's cache."""
        with self._guard:
            return {
                "enabled": self._capacity > 0,
                "records": len(self._lines),
                "capacity": self._capacity,
                "hits": self._hits,
                "misses": self._misses,
            }
