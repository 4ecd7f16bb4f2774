"""What an account holds: databases, containers, physical partitions and the versions of every item. No HTTP here."""

import base64
import json
import re
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from azure.cosmos import PartitionKey

from tests.servers.cosmos import charges

MAX_ITEM_BYTES = 2 * 1024 * 1024
MAX_ID_BYTES = 1_023
MAX_NESTING = 128
"""Limits of an item: https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits"""

Clock = Callable[[], float]
Item = dict[str, Any]


class CosmosError(Exception):
    """The service's refusal: HTTP status, sub-status and message.

    https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb
    """

    def __init__(self, status: int, message: str, substatus: int = 0, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.substatus = substatus
        self.retry_after_ms = retry_after_ms


OWNER_MISSING = 1003
"""Sub-status of a 404 where the container or database is missing."""
PARTITION_FULL = 1014
"""Sub-status of a 403 where a logical partition has no room left.

https://learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden#partition-key-exceeding-storage
"""


@dataclass(slots=True)
class Version:
    """An item as it was from a log sequence number on; None once deleted."""

    lsn: int
    item: Item | None
    size: int = 0
    expires: float | None = None


@dataclass(slots=True)
class Partition:
    """A physical partition: a range of hashes, its own log, and its share of the throughput.

    https://learn.microsoft.com/azure/cosmos-db/partitioning#physical-partitions
    """

    id: str
    least: str
    beyond: str
    lsn: int = 1
    logical: dict[str, dict[str, list[Version]]] = field(default_factory=dict)
    second: int = 0
    spent: float = 0.0

    @property
    def token(self) -> str:
        return f"{self.id}:0#{self.lsn}"


@dataclass(slots=True)
class Container:
    """A container's definition and its physical partitions."""

    name: str
    rid: str
    definition: dict[str, Any]
    partitions: list[Partition]

    @property
    def key_path(self) -> str:
        return str(self.definition["partitionKey"]["paths"][0])

    def partition_of(self, key: Any) -> Partition:
        """The physical partition of a logical one, by the hash that the SDK uses too."""
        place = _hash(self.definition["partitionKey"], key)
        return self.partitions[bisect_right([partition.least for partition in self.partitions], place) - 1]

    def composite_indexes(self) -> Iterator[list[tuple[str, bool]]]:
        """Each composite index as (path, descending) pairs."""
        for index in self.definition["indexingPolicy"].get("compositeIndexes", []):
            yield [(part["path"], part.get("order", "ascending") == "descending") for part in index]

    def is_indexed(self, path: str) -> bool:
        """Whether a property path has a range index.

        https://learn.microsoft.com/azure/cosmos-db/index-policy#include-exclude-precedence
        """
        if path in ("/id", "/_ts"):
            return True
        policy = self.definition["indexingPolicy"]
        included = [entry["path"] for entry in policy.get("includedPaths", [])]
        excluded = [entry["path"] for entry in policy.get("excludedPaths", [])]
        return max(_precision(path, pattern) for pattern in included or [""]) > max(
            _precision(path, pattern) for pattern in excluded or [""]
        )

    def names(self, path: str) -> bool:
        """Whether the indexing policy includes a property by name; every item is in its index then, without it too.

        https://learn.microsoft.com/azure/cosmos-db/index-policy#includeexclude-strategy
        """
        included = [entry["path"] for entry in self.definition["indexingPolicy"].get("includedPaths", [])]
        return path in ("/id", "/_ts") or f"{path}/?" in included


def _precision(path: str, pattern: str) -> int:
    if pattern == f"{path}/?":
        return 10_000
    if pattern.endswith("/*") and f"{path}/".startswith(pattern[:-1]):
        return len(pattern)
    return -1


_hashes: dict[tuple[str, str], str] = {}


def _hash(definition: Mapping[str, Any], key: Any) -> str:
    cache = (json.dumps(definition), json.dumps(key))
    if cache not in _hashes:
        kind = PartitionKey(path=definition["paths"][0], kind="Hash", version=definition.get("version", 2))
        _hashes[cache] = str(kind._get_effective_partition_key_string([key]))  # the service's own hash
    return _hashes[cache]


@dataclass(slots=True)
class Account:
    """An account.

    `physical` partitions a container; `throughput` RU/s of a container, shared evenly by them (None: no limit, as in
    serverless tests); `lag` writes that a read without session token may be behind; `logical_bytes` that a logical
    partition holds (None: 20 GB, more than a test stores); `tokens` of identities that read and write items but make no
    containers.
    """

    key: str
    physical: int = 1
    throughput: float | None = None
    lag: int = 0
    logical_bytes: int | None = None
    clock: Clock = time.time
    tokens: frozenset[str] = frozenset()
    databases: dict[str, dict[str, Container]] = field(default_factory=dict)
    _made: int = 0

    def make_database(self, name: str) -> None:
        if name in self.databases:
            raise CosmosError(409, "Database with this id already exists.")
        self.databases[name] = {}

    def database(self, name: str) -> dict[str, Container]:
        if name not in self.databases:
            raise CosmosError(404, "Owner resource does not exist.", OWNER_MISSING)
        return self.databases[name]

    def make_container(self, database: str, definition: dict[str, Any]) -> Container:
        """A new, empty container. Raises what is wrong with its definition."""
        containers = self.database(database)
        name = definition["id"]
        if name in containers:
            raise CosmosError(409, "Container with this id already exists.")
        if len(definition.get("partitionKey", {}).get("paths", [])) != 1:
            raise CosmosError(400, "Partition key path is required; hierarchical keys are not known here.")
        definition.setdefault("indexingPolicy", {"indexingMode": "consistent", "includedPaths": [{"path": "/*"}]})
        _check_indexing(definition["indexingPolicy"])
        self._made += 1
        rid = base64.b64encode(b"LOGO" + self._made.to_bytes(3) + b"\x80").decode().replace("/", "-")
        containers[name] = Container(name, rid, definition, _split(self.physical))
        return containers[name]

    def container(self, database: str, name: str) -> Container:
        containers = self.database(database)
        if name not in containers:
            raise CosmosError(404, "Owner resource does not exist.", OWNER_MISSING)
        return containers[name]

    def spend(self, partition: Partition, units: float) -> None:
        """Take request units from this second's share. Raises 429 once it is used up, with the time until the next.

        https://learn.microsoft.com/azure/cosmos-db/troubleshoot-request-rate-too-large
        """
        if self.throughput is None:
            return
        now = self.clock()
        if int(now) != partition.second:
            partition.second, partition.spent = int(now), 0.0
        if partition.spent >= self.throughput / self.physical:
            wait = max(1, round((int(now) + 1 - now) * 1000))
            raise CosmosError(429, "Request rate is large. More request units may be needed.", 3200, wait)
        partition.spent += units

    def visible_lsn(self, partition: Partition, session_token: str | None) -> int:
        """How far a read sees: all of it with a session token, and perhaps `lag` writes less without one.

        https://learn.microsoft.com/azure/cosmos-db/consistency-levels#session-consistency
        """
        stale = max(1, partition.lsn - self.lag)
        for part in (session_token or "").split(","):
            name, _, vector = part.partition(":")
            if name == partition.id and re.fullmatch(r"-?\d+#\d+(#.*)?", vector):
                wanted = int(vector.split("#")[1])
                if wanted > partition.lsn:
                    raise CosmosError(404, "The read session is not available for the input session token.", 1002)
                return max(stale, wanted)
        return stale

    def look_up(self, partition: Partition, key: Any, item_id: str, lsn: int) -> Version | None:
        """The item as it was at a log sequence number, unless it was deleted or has expired."""
        versions = partition.logical.get(json.dumps(key), {}).get(item_id, [])
        for version in reversed(versions):
            if version.lsn <= lsn:
                return None if version.item is None or self.is_expired(version) else version
        return None

    def is_expired(self, version: Version) -> bool:
        """Whether an item's time to live is over.

        https://learn.microsoft.com/azure/cosmos-db/time-to-live
        """
        return version.expires is not None and self.clock() >= version.expires

    def items(self, container: Container, partition: Partition, key: Any, lsn: int) -> Iterator[Item]:
        """The items of a physical partition, or of one logical partition in it where `key` is given (as a JSON text)."""
        logical = partition.logical if key is None else {key: partition.logical.get(key, {})}
        for name, ids in logical.items():
            for item_id in tuple(ids):
                version = self.look_up(partition, json.loads(name), item_id, lsn)
                if version is not None and version.item is not None:
                    yield version.item

    def write(self, container: Container, partition: Partition, key: Any, item_id: str, item: Item | None) -> Version:
        """Note a new version of an item; None deletes it."""
        partition.lsn += 1
        size = 0
        if item is not None:
            size = len(json.dumps(item, ensure_ascii=False).encode())
            item = {
                **item,
                "_rid": container.rid,
                "_self": f"dbs/x/colls/{container.rid}/docs/{partition.lsn}/",
                "_etag": f'"{uuid.uuid4()}"',
                "_attachments": "attachments/",
                "_ts": int(self.clock()),
            }
        versions = partition.logical.setdefault(json.dumps(key), {}).setdefault(item_id, [])
        if self.lag == 0:
            versions.clear()
        version = Version(partition.lsn, item, size, _expiry(container, item))
        if item is None and self.lag == 0:
            del partition.logical[json.dumps(key)][item_id]
        else:
            versions.append(version)
        return version

    def check_room(self, partition: Partition, key: Any, size: int) -> None:
        """Refuse an item that a logical partition has no room for.

        https://learn.microsoft.com/azure/cosmos-db/concepts-limits#provisioned-throughput
        """
        if self.logical_bytes is None:
            return
        held = sum(versions[-1].size for versions in partition.logical.get(json.dumps(key), {}).values())
        if held + size > self.logical_bytes:
            raise CosmosError(403, "Partition key reached maximum size of 20 GB.", PARTITION_FULL)

    def usage(self, container: Container) -> tuple[int, int]:
        """How many items a container has, and their bytes."""
        count = size = 0
        for partition in container.partitions:
            for ids in partition.logical.values():
                for versions in ids.values():
                    if versions[-1].item is not None and not self.is_expired(versions[-1]):
                        count, size = count + 1, size + versions[-1].size
        return count, size


def _expiry(container: Container, item: Item | None) -> float | None:
    """When an item expires: by its own `ttl` or else its container's, and only where the container has one at all."""
    default = container.definition.get("defaultTtl")
    if item is None or default is None:
        return None
    ttl = item.get("ttl", default)
    return None if ttl == -1 else float(item["_ts"] + ttl)


def _split(count: int) -> list[Partition]:
    bounds = ["", *(f"{n * 0x40 // count:02X}" + "0" * 30 for n in range(1, count)), "FF"]
    return [Partition(str(number), *pair) for number, pair in enumerate(pairwise(bounds))]


def _check_indexing(policy: Mapping[str, Any]) -> None:
    paths = [entry["path"] for entry in (*policy.get("includedPaths", []), *policy.get("excludedPaths", []))]
    if "/*" not in paths:
        raise CosmosError(400, "The special mandatory indexing path '/*' is not provided.")
    for index in policy.get("compositeIndexes", []):
        if len(index) < 2:
            raise CosmosError(400, "A composite index has two paths or more.")


def check_item(item: Any, key_path: str, key: Any, raw_size: int) -> Item:
    """An item that may be stored. Raises 400 for what no item may have and 413 past 2 MB.

    The service itself takes ? and # in an id; the SDK does not, so nothing here may need it.
    """
    if raw_size > MAX_ITEM_BYTES:
        raise CosmosError(413, "Request size is too large.")
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not item["id"]:
        raise CosmosError(400, "The input content is invalid because the required property 'id' is missing.")
    if len(item["id"].encode()) > MAX_ID_BYTES or re.search(r"[/\\?#]", item["id"]):
        raise CosmosError(400, "The id is too long or has one of / \\ ? #.")
    ttl = item.get("ttl")
    if ttl is not None and (type(ttl) is not int or not (ttl == -1 or 0 < ttl <= 2**31 - 1)):
        raise CosmosError(400, "The input ttl is invalid: it is a positive 32-bit integer or -1.")
    if item.get(key_path[1:]) != key:
        raise CosmosError(400, "PartitionKey extracted from document doesn't match the one specified in the header.", 1001)
    if _depth(item) > MAX_NESTING:
        raise CosmosError(400, "The item nests too deeply.")
    return item


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def indexed_terms(container: Container, item: Item) -> int:
    """How many index entries an item makes: one for each indexed property and one for each composite index.

    A property that the policy names has one in items that lack it too, and so has a composite index:
    https://learn.microsoft.com/azure/cosmos-db/index-policy#includeexclude-strategy
    """
    policy = container.definition["indexingPolicy"]
    named = {entry["path"][:-2] for entry in policy.get("includedPaths", []) if entry["path"].endswith("/?")}
    found = {f"/{name}" for name in item if container.is_indexed(f"/{name}")} - {"/id"}
    return len(named | found) + sum(1 for _ in container.composite_indexes())


def read_charge(version: Version) -> float:
    return charges.read(version.size)
