"""What the double charges, in request units (RU). A stated formula, as docs/cosmos.md has it: the account may charge otherwise.

A point read of 1 KB is 1 RU and of 100 KB 10 RU, a create of 1 KB without indexing 5.5 RU, and a replace twice a create:
https://learn.microsoft.com/azure/cosmos-db/optimize-cost-reads-writes. A create of 100 KB costs ten times one of 1 KB:
https://learn.microsoft.com/azure/cosmos-db/key-value-store-cost. A query costs 2.5 RU at least on a physical partition:
https://learn.microsoft.com/azure/cosmos-db/how-to-query-container. What an indexed property and a returned item add follows
from the charges measured in https://learn.microsoft.com/azure/cosmos-db/model-partition-example.
"""

_UNINDEXED_WRITE = 5.5
_INDEXED_TERM = 0.45
_QUERY_START = 2.5
_RETURNED_ITEM = 0.145
_COUNTED_ITEM = 0.001
"""What an item adds to an aggregate that the index answers is documented nowhere."""


def _by_size(size: int, small: float) -> float:
    kilobytes = max(1.0, size / 1024)
    return small * (1 + 9 * (kilobytes - 1) / 99)


def read(size: int) -> float:
    """A point read of an item of so many bytes."""
    return round(_by_size(size, 1.0), 2)


def write(size: int, terms: int) -> float:
    """A create or delete of an item of so many bytes with so many indexed terms."""
    return round(_by_size(size, _UNINDEXED_WRITE) + _INDEXED_TERM * terms, 2)


def replace(size: int, terms: int) -> float:
    return round(2 * write(size, terms), 2)


def query(items: int, *, returns: bool) -> float:
    """One page of a query on one physical partition, over so many items; `returns` when it gives them, not an aggregate."""
    return round(_QUERY_START + items * (_RETURNED_ITEM if returns else _COUNTED_ITEM), 2)
