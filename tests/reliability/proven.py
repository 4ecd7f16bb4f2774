"""Records whose content follows from their id and a number, so that a record out of place gives itself away."""

import hashlib
from typing import Any

from shared.models import Record, SystemEventLog
from shared.query import Stored
from tests.support.records import make


def proven(model: type[Record], record_id: str, timestamp: str, number: int = 0, size: int = 40) -> Stored:
    """The `number`-th content of a record, about `size` characters of text long."""
    fields: dict[str, Any] = {"message": text(record_id, number, size)} if model is SystemEventLog else {}
    metadata = {"n": number, "size": size, "text": text(record_id, number, size)}
    return make(model, id=record_id, timestamp=timestamp, metadata=metadata, **fields)


def text(record_id: str, number: int, size: int) -> str:
    """Text that no other record has, nor this one at another number; it holds the id."""
    start = f"{record_id} {number} {hashlib.sha256(f'{record_id} {number}'.encode()).hexdigest()} "
    return start + "".join(hashlib.sha256(f"{start}{part}".encode()).hexdigest() for part in range(size // 64))


def is_proven(stored: Stored) -> bool:
    """Whether the content is the record's own."""
    metadata = stored.record["metadata"]
    own = text(stored.id, metadata["n"], metadata["size"])
    return bool(metadata["text"] == own and stored.record.get("message", own) in (own, "ready"))
