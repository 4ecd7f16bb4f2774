"""Aggregates: grouped by the server, or folded here where the server can't take the least and greatest of a group."""

import logging
from collections.abc import Mapping
from typing import Any

from shared.backends.folding import Totals
from shared.backends.mongodb import queries
from shared.backends.mongodb.calls import UnsupportedError
from shared.backends.mongodb.client import Connection
from shared.backends.mongodb.documents import OWN, Document
from shared.query import Aggregation, Group

logger = logging.getLogger(__name__)

_FOLD_BATCH = 5_000
_GROUPS_AT_ONCE = 100_000
"""Groups in one answer, so that hardly any needs a second: a cursor may be gone when it is asked again."""


class Aggregator:
    """Computes aggregates; a server that once refused to group is not asked again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._server_groups = True

    async def aggregate(self, aggregation: Aggregation) -> list[Group]:
        if queries.asks_nothing(aggregation):
            return []
        if self._server_groups:
            try:
                return list((await self._grouped(aggregation)).groups())
            except UnsupportedError:
                if self._server_groups:  # of several at once the first says so
                    logger.info("the server does not group as asked; aggregates are computed by the service")
                self._server_groups = False
        return list((await self._folded(aggregation)).groups())

    async def _grouped(self, aggregation: Aggregation) -> Totals:
        totals = Totals(aggregation)
        for row in await self._rows(aggregation, queries.group_pipeline(aggregation)):
            if isinstance(row["lo"], str) and isinstance(row["hi"], str):  # documents that are not ours may lack them
                totals.add_grouped({**(row["_id"] or {}), **row})
        for name in aggregation.histograms if any(True for _ in totals.groups()) else ():
            for row in await self._rows(aggregation, queries.histogram_pipeline(aggregation, name)):
                totals.add_bucket({**row["_id"], "n": row["n"]}, name)
        return totals

    async def _rows(self, aggregation: Aggregation, pipeline: list[queries.Stage]) -> list[Document]:
        collection = await self._connection.collection(aggregation.model)

        async def send() -> list[Document]:
            async with await collection.aggregate(pipeline, batchSize=_GROUPS_AT_ONCE) as cursor:
                return await cursor.to_list()

        return (await self._connection.caller.call(send)).value

    async def _folded(self, aggregation: Aggregation) -> Totals:
        collection = await self._connection.collection(aggregation.model)
        wanted, columns = queries.matching(aggregation), queries.projection(aggregation)

        async def send() -> Totals:
            totals = Totals(aggregation)
            async with collection.find(wanted, columns, batch_size=_FOLD_BATCH) as cursor:
                async for row in cursor:
                    totals.add_record(_folding_row(aggregation, row))
            return totals

        return (await self._connection.caller.call(send)).value


def _folding_row(aggregation: Aggregation, document: Document) -> dict[str, Any]:
    buckets: Mapping[str, Any] = document.get(OWN, {}).get("buckets", {})
    return {
        "t": document.get("timestamp"),
        **{f"k{number}": document.get(name) for number, name in enumerate(aggregation.group_by)},
        **{f"s{number}": document.get(name) for number, name in enumerate(aggregation.sums)},
        **{f"h{number}": buckets.get(name) for number, name in enumerate(aggregation.histograms)},
    }
