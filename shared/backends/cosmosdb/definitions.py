"""What the account should have: a container a model, its partition key, indexes and time to live, and how it differs.

Indexing: https://learn.microsoft.com/azure/cosmos-db/index-policy. Each indexed path costs every write a little, so only
what queries filter or order by is indexed; prompts, bodies and the record's text never are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.models import ALL_MODELS, Record

KEY_PATH = "/pk"
NEVER = -1
"""`DefaultTimeToLive` of a container whose items expire only where they say so themselves."""

MAIN_FILTERS = frozenset({"sessionId", "status", "level", "errorOccurred", "category"})
"""Filters that have a composite index, so that their lists are read in order without sorting."""

_BUCKETS = re.compile(r"/cosmosBuckets(\d+)/\?")


def container_name(model: type[Record]) -> str:
    return model.route


def indexing_policy(model: type[Record], buckets: int) -> dict[str, Any]:
    """The indexing policy of a model's container.

    An excluded path of a field that no item has records COSMOS_BUCKETS: it is read with the definition, at no further
    call, and a template can write it where the service may not.
    """
    indexed = ("pk", "timestamp", "updatedAt", *model.filterable)
    newest = [_part("timestamp", descending=True), _part("id", descending=True)]
    mains = [name for name in model.filterable if name in MAIN_FILTERS]
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{name}/?"} for name in indexed],
        "excludedPaths": [{"path": "/*"}, {"path": f"/cosmosBuckets{buckets}/?"}],
        "compositeIndexes": [newest, *([_part(name, descending=False), *newest] for name in mains)],
    }


def _part(name: str, *, descending: bool) -> dict[str, str]:
    return {"path": f"/{name}", "order": "descending" if descending else "ascending"}


def recorded_buckets(properties: Mapping[str, Any]) -> int | None:
    """The COSMOS_BUCKETS that a container was made with, if it says so."""
    for path in _paths(properties.get("indexingPolicy", {}), "excludedPaths"):
        match = _BUCKETS.fullmatch(path)
        if match is not None:
            return int(match[1])
    return None


def key_paths(properties: Mapping[str, Any]) -> list[str]:
    return list(properties.get("partitionKey", {}).get("paths", []))


def differences(model: type[Record], properties: Mapping[str, Any], buckets: int) -> list[str]:
    """How a container differs from what the code expects, in words; empty when it does not."""
    expected = indexing_policy(model, buckets)
    policy = properties.get("indexingPolicy", {})
    found: list[str] = []
    if key_paths(properties) != [KEY_PATH]:
        found.append(f"its partition key is {', '.join(key_paths(properties)) or 'missing'}, expected {KEY_PATH}")
    if properties.get("defaultTtl") != NEVER:
        found.append(f"its default time to live is {properties.get('defaultTtl', 'off')}, expected {NEVER} (items decide)")
    if policy.get("indexingMode", "consistent") != "consistent":
        found.append(f"its indexing mode is {policy['indexingMode']}, expected consistent")
    recorded = recorded_buckets(properties)
    if recorded != buckets:
        made_with = "no COSMOS_BUCKETS" if recorded is None else f"COSMOS_BUCKETS={recorded}"
        found.append(f"it records {made_with}, expected COSMOS_BUCKETS={buckets}")
    found += _set_differences("indexes", _paths(policy, "includedPaths"), _paths(expected, "includedPaths"))
    if "/*" not in _paths(policy, "excludedPaths"):
        found.append("it does not exclude /* from indexing")
    found += _set_differences("has the composite index", _composites(policy), _composites(expected))
    return found


def _set_differences(verb: str, found: Sequence[str], expected: Sequence[str]) -> list[str]:
    missing = [f"it lacks {name}, expected: it {verb} it" for name in expected if name not in found]
    return missing + [f"it {verb} {name}, which nothing needs" for name in found if name not in expected]


def _paths(policy: Mapping[str, Any], kind: str) -> list[str]:
    return [entry["path"] for entry in policy.get(kind, [])]


def _composites(policy: Mapping[str, Any]) -> list[str]:
    return [f"({', '.join(map(_described, index))})" for index in policy.get("compositeIndexes", [])]


def _described(part: Mapping[str, str]) -> str:
    return f"{part['path']} {part.get('order', 'ascending')}"


def by_container() -> dict[str, type[Record]]:
    """The models by the names of their containers."""
    return {container_name(model): model for model in ALL_MODELS}
