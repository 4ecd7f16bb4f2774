"""Records as documents: what a document holds and how a record is read back from it.

A document holds the fields that queries need as members of their own, and the whole record as JSON text: so names with
`$` and dots, integers and floats of any size come back exactly, whatever server is behind the protocol, at the cost of a
few hundred bytes for the fields that stand twice.

    {"_id": <id>, "timestamp", "updatedAt", <filterable fields>, <durations in ms>, "occurredAt": <date, of log models>,
     "etag": <anew with each write>,
     "logogen": {"record": "<JSON text>", "hash", "privacy", "buckets": {<duration>: <bucket number>}}}

`_id`, `occurredAt`, `etag` and `logogen` are no field of any model; a document without `logogen` is someone else's.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from shared import jsontext
from shared.models import ALL_MODELS, LOG_MODELS, Record
from shared.query import Hidden, Stored

OWN = "logogen"
ETAG = "etag"
OCCURRED_AT = "occurredAt"
RESERVED = ("_id", ETAG, OCCURRED_AT, OWN)
assert not any(name in model.wire_names for model in ALL_MODELS for name in RESERVED), "a field has a reserved name"

READ = {ETAG: 1, OWN: 1}
"""The projection that `read_document` needs."""

Document = dict[str, Any]

_QUERIED = {model: ("timestamp", "updatedAt", *model.filterable, *model.durations) for model in ALL_MODELS}


def collection_name(model: type[Record]) -> str:
    return model.route


def new_etag() -> str:
    """Differs with every write, so that a writer whose answer was lost knows its own document again."""
    return secrets.token_hex(12)


def write_document(model: type[Record], stored: Stored) -> Document:
    """The document of a record, with an etag of its own."""
    record, hidden = stored.record, stored.hidden
    document: Document = {"_id": record["id"]}
    for name in _QUERIED[model]:
        value = record.get(name)
        if value is not None:
            document[name] = value
    if model in LOG_MODELS:
        document[OCCURRED_AT] = datetime.fromisoformat(record["timestamp"])
    document[ETAG] = new_etag()
    own: Document = {"record": jsontext.dumps(record)}
    if hidden.content_hash is not None:
        own["hash"] = hidden.content_hash
    if hidden.privacy_version is not None:
        own["privacy"] = hidden.privacy_version
    if hidden.buckets:
        own["buckets"] = dict(hidden.buckets)
    document[OWN] = own
    return document


def read_document(document: Mapping[str, Any]) -> Stored | None:
    """The record of a document; None where it is not ours."""
    own, etag = document.get(OWN), document.get(ETAG)
    if not isinstance(own, dict) or not isinstance(own.get("record"), str) or not isinstance(etag, str):
        return None
    try:
        record = from_json(own["record"], cache_strings="keys")
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("id") != document.get("_id") or not isinstance(record.get("timestamp"), str):
        return None
    buckets = own.get("buckets")
    buckets = {name: int(number) for name, number in buckets.items()} if isinstance(buckets, dict) else {}
    return Stored(record, Hidden(own.get("hash"), own.get("privacy"), buckets), etag)
