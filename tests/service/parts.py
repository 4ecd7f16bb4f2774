"""What the service's tests are made of: a clock that the test turns, a backend that fails on request, small records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.backends.base import Outcome
from shared.backends.file.backend import FileBackend
from shared.errors import ServiceError, TransientError
from shared.models import Record
from shared.query import Stored, WireRecord

SALT = "a-salt-for-tests-only"
START = datetime(2024, 6, 15, 12, tzinfo=UTC)


@dataclass
class Clock:
    """Stands still until it is turned."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass
class Faults:
    """What goes wrong with the next writes: an error by model name, raised or as every outcome."""

    raised: dict[str, TransientError] = field(default_factory=dict)
    outcomes: dict[str, ServiceError] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)


class FaultyBackend(FileBackend):
    """The file backend, with writes that fail where a test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.faults = Faults()

    async def create_many(self, model: type[Record], records: Sequence[Stored]) -> list[Outcome]:
        self.faults.created += [f"{model.__name__} {stored.id}" for stored in records]
        if model.__name__ in self.faults.raised:
            raise self.faults.raised[model.__name__]
        if model.__name__ in self.faults.outcomes:
            return [Outcome(error=self.faults.outcomes[model.__name__])] * len(records)
        return await super().create_many(model, records)


def transaction(**fields: Any) -> WireRecord:
    return {"originalPrompt": "a fox", **fields}


def request_log(**fields: Any) -> WireRecord:
    return {"method": "GET", "endpoint": "/api/generate", "statusCode": 200, **fields}


def event(**fields: Any) -> WireRecord:
    return {"eventType": "startup", "message": "ready", **fields}
