"""What was computed from segments, bounded; only a cache, and gone with the index it was computed from."""

import threading
from collections import OrderedDict
from typing import Any

_CAPACITY = 2_000_000
"""Numbers that may be held in all: some 32 MB."""


class Memo:
    """Remembers what was computed from a segment until the segment is another; what was asked for longest ago goes first."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Any, tuple[Any, Any, int]] = OrderedDict()
        self._guard = threading.Lock()
        self._size = 0

    def get(self, key: Any, state: Any) -> Any:
        """What was put under the key, if it was of the same state."""
        with self._guard:
            entry = self._entries.get(key)
            if entry is None or entry[0] != state:
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: Any, state: Any, value: Any, size: int) -> None:
        """Keep a value of so many numbers."""
        with self._guard:
            self._drop(key)
            self._entries[key] = (state, value, size)
            self._size += size
            while self._size > self._capacity:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Let go of everything."""
        with self._guard:
            self._entries.clear()
            self._size = 0

    def _drop(self, key: Any) -> None:
        entry = self._entries.pop(key, None)
        self._size -= entry[2] if entry is not None else 0
