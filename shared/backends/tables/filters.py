"""What is asked of a table: OData filters with their parameters, and what of a query has to be checked here.

The service takes at most 15 comparisons in a filter, and an `or` over keys makes it read a whole table; so key ranges are
only ever ANDed, and a field with more values than fit is compared here.
https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from shared.backends.tables.entities import write_value
from shared.query import Aggregation, Query, Value

_MAX_COMPARISONS = 11
"""What is left beside two bounds of either key."""
_MAX_ENCODED = 3_000
"""Characters of all values in a URL."""

Typed = tuple[str, Value]


@dataclass(frozen=True, slots=True)
class Condition:
    """An OData filter; `text` names its values as `@name`, each between blanks."""

    text: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def __and__(self, other: "Condition") -> "Condition":
        text = " and ".join(filter(None, (self.text, other.text)))
        return Condition(text, {**self.parameters, **other.parameters})


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a query: what the service compares and what is compared here, by field."""

    pushed: Condition
    here: Mapping[str, frozenset[Typed]]

    def passes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row passes what the service did not compare."""
        return all(_typed(row.get(name)) in values for name, values in self.here.items())


def read_filters(filters: Mapping[str, tuple[Value, ...]]) -> Filters:
    """Pushes down the fields with the fewest values first, as long as they fit."""
    pushed = Condition()
    here: dict[str, frozenset[Typed]] = {}
    comparisons, encoded = _MAX_COMPARISONS, _MAX_ENCODED
    for name, values in sorted(filters.items(), key=lambda item: len(item[1])):
        different = {_typed(value): value for value in map(write_value, values)}
        length = sum(len(quote(str(value))) for value in list(different.values())[:_MAX_COMPARISONS])
        if len(different) > comparisons or length > encoded:
            here[name] = frozenset(different)
            continue
        comparisons -= len(different)
        encoded -= length
        pushed &= _any_of(name, different.values())
    return Filters(pushed, here)


def _any_of(name: str, values: Iterable[Value]) -> Condition:
    named = {f"{name}{number}": value for number, value in enumerate(values)}
    text = " or ".join(f"{name} eq @{parameter}" for parameter in named)
    return Condition(f"( {text} )", named)


def _typed(value: Any) -> Typed:
    """True is not 1 here."""
    return type(value).__name__, value


def asks_nothing(asked: Query | Aggregation) -> bool:
    """Whether no record can match: a filter without values, or an empty window."""
    empty = asked.since is not None and asked.until is not None and asked.since >= asked.until
    return empty or any(not values for values in asked.filters.values())
