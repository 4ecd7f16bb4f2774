"""What creates of one id that met leave behind, contended claims and fences: how long it is needed, and its removal."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from azure.core import MatchConditions
from azure.data.tables.aio import TableClient

from shared.backends.tables.calls import RefusalError
from shared.backends.tables.client import Connection
from shared.backends.tables.entities import MARK, etag_of
from shared.backends.tables.keys import Place, record_place
from shared.backends.tables.reading import KEYS, Reader
from shared.models import Record
from shared.query import Key

logger = logging.getLogger(__name__)

SETTLED_SECONDS = 900.0
"""After so long no create is on its way any more: a function runs for 10 minutes at most, and clocks may differ by 5."""
_LOOKS = 7
"""How often a create that may be on its way is looked for, about 1.3 s together."""
_FIRST_PAUSE = 0.01

T = TypeVar("T")


class Leftovers:
    """Tells what is needed no longer after `settled_seconds`, and removes fences."""

    def __init__(self, connection: Connection, reader: Reader, settled_seconds: float) -> None:
        self._connection = connection
        self._reader = reader
        self._settled_seconds = settled_seconds

    def is_settled(self, written: datetime | None) -> bool:
        """Whether all creates that were on their way when a claim was written have come to an end."""
        return written is not None and (datetime.now(UTC) - written).total_seconds() >= self._settled_seconds

    async def remove_fences(self, model: type[Record], record_id: str, moments: Iterable[str]) -> None:
        """Delete what stands at the places of an id at these timestamps, unless it is a record."""
        for moment in moments:
            place = record_place(Key(moment, record_id))
            fence = await self._reader.entity(model, place, KEYS)
            if fence is None or fence.get(MARK) is not None:
                continue
            try:
                await self._connection.call(model, partial(_delete, place, etag_of(fence)))
            except RefusalError:
                logger.debug("a create replaced the fence, or another removed it")


def _delete(place: Place, etag: str, table: TableClient) -> Awaitable[None]:
    return table.delete_entity(place.partition, place.row, etag=etag, match_condition=MatchConditions.IfNotModified)


async def waited_for(look: Callable[[], Awaitable[T]], is_clear: Callable[[T], bool]) -> T:
    """What `look` gives once that is clear, or after a moment: a create may be on its way."""
    for number in range(_LOOKS):
        seen = await look()
        if is_clear(seen):
            return seen
        await asyncio.sleep(_FIRST_PAUSE * 2**number)
    return await look()
