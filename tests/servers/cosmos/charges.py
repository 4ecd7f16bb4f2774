"""What the double charges, in request units (RU). A stated formula: its shape is the documentation's, its constants are ours.

https://learn.microsoft.com/azure/cosmos-db/request-units and
https://learn.microsoft.com/azure/cosmos-db/optimize-cost-reads-writes: a point read of 1 KB is 1 RU and of 100 KB 10 RU; a
write of 1 KB without indexing is 5 RU and of 100 KB 50 RU.
"""

_INDEXED_TERM = 0.2
_QUERY_START = 2.8
_LOADED_ITEM = 0.05
_INDEX_ITEM = 0.001


def _by_size(size: int, small: float) -> float:
    kilobytes = max(1.0, size / 1024)
    return small * (1 + 9 * (kilobytes - 1) / 99)


def read(size: int) -> float:
    """A point read of an item of so many bytes."""
    return round(_by_size(size, 1.0), 2)


def write(size: int, terms: int) -> float:
    """A create, replace or delete of an item of so many bytes with so many indexed terms."""
    return round(_by_size(size, 5.0) + _INDEXED_TERM * terms, 2)


def query(matched: int, returned_bytes: int, *, loads: bool) -> float:
    """One page of a query on one physical partition; `loads` when it returns more than an aggregate of the index."""
    per_item = _LOADED_ITEM if loads else _INDEX_ITEM
    return round(_QUERY_START + per_item * matched + returned_bytes / 1024 * 0.1, 2)
