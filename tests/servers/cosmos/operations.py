"""Point operations, transactional batches and queries on one container, as the service's documentation has them."""

import base64
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.servers.cosmos import charges, sql
from tests.servers.cosmos.account import (
    Account,
    Container,
    CosmosError,
    Item,
    Partition,
    Version,
    check_item,
    indexed_terms,
    read_charge,
)

MAX_BATCH_OPERATIONS = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024
"""https://learn.microsoft.com/azure/cosmos-db/transactional-batch#limitations"""
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-request-limits"""
DEFAULT_PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1_000
"""A page ends early for many reasons, of which these stand for all: https://learn.microsoft.com/cosmos-db/query/pagination"""


@dataclass(slots=True)
class Done:
    """What an operation answers."""

    status: int
    charge: float
    body: Any = None
    etag: str | None = None
    continuation: str | None = None


class Operations:
    """Operations of one request on one container, in one physical partition."""

    def __init__(self, account: Account, container: Container, partition: Partition, session_token: str | None) -> None:
        self._account = account
        self._container = container
        self._partition = partition
        self._session_token = session_token

    # Point operations: https://learn.microsoft.com/rest/api/cosmos-db/documents

    def read(self, key: Any, item_id: str) -> Done:
        version = self._account.look_up(self._partition, key, item_id, self._visible())
        if version is None or version.item is None:
            self._account.spend(self._partition, 1.0)
            raise CosmosError(404, "Entity with the specified id does not exist in the system.")
        charge = read_charge(version)
        self._account.spend(self._partition, charge)
        return Done(200, charge, version.item, version.item["_etag"])

    def create(self, key: Any, item: Any, raw_size: int) -> Done:
        checked = check_item(item, self._container.key_path, key, raw_size)
        charge = self._write_charge(checked, raw_size)
        self._account.spend(self._partition, charge)
        if self._current(key, checked["id"]) is not None:
            raise CosmosError(409, "Entity with the specified id already exists in the system.")
        self._account.check_room(self._partition, key, raw_size)
        return self._stored(201, charge, key, checked)

    def replace(self, key: Any, item_id: str, item: Any, if_match: str | None, raw_size: int) -> Done:
        checked = check_item(item, self._container.key_path, key, raw_size)
        if checked["id"] != item_id:
            raise CosmosError(400, "The id of the item differs from the one in the address.")
        charge = charges.replace(raw_size, indexed_terms(self._container, checked))
        self._account.spend(self._partition, charge)
        self._check_etag(self._existing(key, item_id), if_match)
        return self._stored(200, charge, key, checked)

    def delete(self, key: Any, item_id: str, if_match: str | None) -> Done:
        self._account.spend(self._partition, 5.0)
        version = self._existing(key, item_id)
        self._check_etag(version, if_match)
        assert version.item is not None
        charge = charges.write(version.size, indexed_terms(self._container, version.item))
        self._account.write(self._container, self._partition, key, item_id, None)
        return Done(204, charge)

    def _stored(self, status: int, charge: float, key: Any, item: Item) -> Done:
        version = self._account.write(self._container, self._partition, key, item["id"], item)
        assert version.item is not None
        return Done(status, charge, version.item, version.item["_etag"])

    def _write_charge(self, item: Item, size: int) -> float:
        return charges.write(size, indexed_terms(self._container, item))

    def _current(self, key: Any, item_id: str) -> Version | None:
        return self._account.look_up(self._partition, key, item_id, self._partition.lsn)

    def _existing(self, key: Any, item_id: str) -> Version:
        version = self._current(key, item_id)
        if version is None:
            raise CosmosError(404, "Entity with the specified id does not exist in the system.")
        return version

    def _check_etag(self, version: Version, if_match: str | None) -> None:
        assert version.item is not None
        if if_match is not None and if_match not in ("*", version.item["_etag"]):
            raise CosmosError(412, "One of the specified pre-condition is not met.")

    def _visible(self) -> int:
        return self._account.visible_lsn(self._partition, self._session_token)

    # Batches: https://learn.microsoft.com/azure/cosmos-db/transactional-batch

    def batch(self, key: Any, operations: Any, raw_size: int) -> Done:
        """All or nothing: where one operation fails, it has its own code and every other one 424."""
        if raw_size > MAX_BATCH_BYTES:
            raise CosmosError(413, "Request size is too large: a batch has at most 2 MB.")
        if not isinstance(operations, list) or not 0 < len(operations) <= MAX_BATCH_OPERATIONS:
            raise CosmosError(400, "Batch request has more operations than what is supported.")
        before = {name: dict(ids) for name, ids in self._partition.logical.items() if name == json.dumps(key)}
        before = {name: {item: list(versions) for item, versions in ids.items()} for name, ids in before.items()}
        results: list[Done] = []
        for operation in operations:
            try:
                results.append(self._batched(key, operation))
            except CosmosError as error:
                self._partition.logical[json.dumps(key)] = before.get(json.dumps(key), {})
                if error.status in (413, 429):
                    raise
                return self._failed_batch(len(operations), len(results), error, sum(done.charge for done in results))
        body = [{"statusCode": done.status, "requestCharge": done.charge, "eTag": done.etag} for done in results]
        for result, done in zip(body, results, strict=True):
            if done.body is not None:
                result["resourceBody"] = done.body
        return Done(200, round(sum(done.charge for done in results), 2), body)

    def _batched(self, key: Any, operation: Any) -> Done:
        kind = operation.get("operationType")
        item = operation.get("resourceBody")
        size = len(json.dumps(item, ensure_ascii=False).encode())
        if kind == "Create":
            return self.create(key, item, size)
        if kind == "Replace":
            return self.replace(key, operation["id"], item, operation.get("ifMatch"), size)
        if kind == "Delete":
            return self.delete(key, operation["id"], operation.get("ifMatch"))
        if kind == "Read":
            return self.read(key, operation["id"])
        raise CosmosError(400, f"{kind} in a batch is not known here.")

    def _failed_batch(self, count: int, failed: int, error: CosmosError, spent: float) -> Done:
        results: list[dict[str, float]] = [{"statusCode": 424, "requestCharge": 0}] * count
        results[failed] = {"statusCode": error.status, "subStatusCode": error.substatus, "requestCharge": 1.24}
        return Done(207, round(spent + 1.24, 2), results)

    # Queries: https://learn.microsoft.com/rest/api/cosmos-db/query-documents

    def query(self, query: sql.Select, key: str | None, page: int, continuation: str | None) -> Done:
        """One page. `key` is the logical partition as JSON text; None asks the whole physical partition."""
        self._check_order(query)
        if key is None and (query.group_by or (query.aggregates and not query.value)):
            raise CosmosError(400, "Only VALUE <aggregate> can be asked of several logical partitions.")
        matched = [
            item
            for item in self._account.items(self._container, self._partition, key, self._visible())
            if query.where is None or sql.evaluate(query.where, item) is True
        ]
        rows = self._rows(query, matched)
        start = 0 if continuation is None else int(base64.b64decode(continuation))
        end, size = start, 0
        for row in rows[start:]:
            size += len(json.dumps(row, ensure_ascii=False).encode())
            if end - start >= page or (size > MAX_PAGE_BYTES and end > start):
                break
            end += 1
        charge = charges.query(len(rows) if query.top is not None else len(matched), returns=not query.aggregates)
        self._account.spend(self._partition, charge)
        following = base64.b64encode(str(end).encode()).decode() if end < len(rows) else None
        return Done(200, charge, rows[start:end], continuation=following)

    def _check_order(self, query: sql.Select) -> None:
        """ORDER BY needs a range index, of several properties a composite one in the same or the reverse order.

        https://learn.microsoft.com/azure/cosmos-db/index-policy#composite-indexes
        """
        wanted = [(str(order.path), order.descending) for order in query.order_by]
        if len(wanted) == 1 and not self._container.is_indexed(wanted[0][0]):
            raise CosmosError(400, "The order-by item is not indexed.")
        reverse = [(path, not descending) for path, descending in wanted]
        if len(wanted) > 1 and not any(index in (wanted, reverse) for index in self._container.composite_indexes()):
            raise CosmosError(
                400, "The order by query does not have a corresponding composite index that it can be served from."
            )

    def _rows(self, query: sql.Select, items: list[Item]) -> list[Any]:
        if query.group_by:
            groups: defaultdict[str, list[Item]] = defaultdict(list)
            for item in items:
                values = [sql.evaluate(path, item) for path in query.group_by]
                groups[
                    json.dumps([[sql.type_name(value), None if value is sql.UNDEFINED else value] for value in values])
                ].append(item)
            return [_group_row(query, group) for group in groups.values()]
        if query.aggregates:
            row = _group_row(query, items)
            if query.value:
                return [] if row == {} else [row[""]]
            return [row]
        items = self._in_order(query, items)
        if query.top is not None:
            items = items[: query.top]
        if query.value:
            values = [sql.evaluate(query.columns[0][1], item) for item in items]
            return [value for value in values if value is not sql.UNDEFINED]
        return [_row(query, item) for item in items] if query.columns else items

    def _in_order(self, query: sql.Select, items: list[Item]) -> list[Item]:
        """Sorted items. Those without a sort property come too, unless one property is asked for and no index names it.

        https://learn.microsoft.com/azure/cosmos-db/nosql/query/order-by#remarks
        """
        if len(query.order_by) == 1 and not self._container.names(str(query.order_by[0].path)):
            items = [item for item in items if sql.evaluate(query.order_by[0].path, item) is not sql.UNDEFINED]
        for order in reversed(query.order_by):
            items = sorted(items, key=lambda item: _order_key(sql.evaluate(order.path, item)), reverse=order.descending)
        return items


def _order_key(value: Any) -> tuple[int, Any]:
    """Values of one type compare, types come in a fixed order, and what is missing comes first.

    The service promises only that null is low and leaves the place of what is missing open; this is one such order.
    https://learn.microsoft.com/azure/cosmos-db/nosql/query/order-by
    """
    kinds = ("undefined", "null", "boolean", "number", "string", "array", "object")
    kind = sql.type_name(value)
    comparable = value if kind in ("boolean", "number", "string") else 0
    return kinds.index(kind), comparable


def _row(query: sql.Select, item: Item) -> Item:
    values = {name: sql.evaluate(expression, item) for name, expression in query.columns}
    return {name: value for name, value in values.items() if value is not sql.UNDEFINED}


def _group_row(query: sql.Select, items: list[Item]) -> Item:
    row: Item = {}
    for name, expression in query.columns:
        if isinstance(expression, sql.Call) and expression.name in sql.AGGREGATES:
            value = sql.aggregate(expression, items)
        elif any(expression == path for path in query.group_by):
            value = sql.evaluate(expression, items[0])
        else:
            raise sql.QueryError("A column of a grouped query is a grouped property or an aggregate.")
        if value is not sql.UNDEFINED:
            row[name] = value
    return row


def is_single_value_aggregate(query: sql.Select) -> bool:
    return query.value and len(query.aggregates) == 1
