"""Batches in which an id comes twice: only the first of it goes to the database, and the others find what it made."""

from collections.abc import Mapping, Sequence

from shared.backends.base import Outcome
from shared.query import Stored


def first_of_each_id(records: Sequence[Stored]) -> list[tuple[int, Stored]]:
    """The records that bring a new id, each with its position."""
    firsts: dict[str, tuple[int, Stored]] = {}
    for position, stored in enumerate(records):
        firsts.setdefault(stored.id, (position, stored))
    return list(firsts.values())


def with_repeats(records: Sequence[Stored], outcomes: Mapping[int, Outcome]) -> list[Outcome]:
    """An outcome for each record in the order given, from those of the firsts by position."""
    firsts: dict[str, int] = {}
    made: list[Outcome] = []
    for position, stored in enumerate(records):
        first = firsts.setdefault(stored.id, position)
        outcome = outcomes[first]
        repeats = first != position and outcome.error is None
        made.append(outcome._replace(existed=True) if repeats else outcome)
    return made
