"""What stands between a backend and its server in these tests."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.backends.base import Backend
from shared.models import SystemEventLog
from shared.query import Query
from tests.contract.steps import ids, walk

B = TypeVar("B", bound=Backend)
P = TypeVar("P")


@dataclass
class Line(Generic[B, P]):
    """A backend, the proxy in front of its server, and a backend that goes past the proxy."""

    backend: B
    direct: B
    proxy: P

    async def stored(self) -> list[str]:
        """The ids that the server has, each as often as it has it."""
        return ids(await walk(self.direct, Query(SystemEventLog, descending=False, limit=500)))
