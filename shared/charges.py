"""What the request in hand has cost the database, in its own units (request units of Cosmos DB)."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Charge:
    """A sum that the tasks of one request share."""

    units: float = 0.0


_charge: ContextVar[Charge | None] = ContextVar("charge", default=None)


def start_charge() -> Charge:
    """Count from zero in this task and in those it starts."""
    charge = Charge()
    _charge.set(charge)
    return charge


def add_charge(units: float) -> None:
    """Count units; without effect outside a request."""
    charge = _charge.get()
    if charge is not None:
        charge.units += units
