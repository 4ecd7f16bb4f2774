"""Builders of valid records for tests. The same calls give the same records: ids and times follow a counter."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from shared import jsontext
from shared.ids import mint_id
from shared.models import (
    ApiRequestLog,
    ImageGenerationTransaction,
    Record,
    State,
    SystemEventLog,
    UserSession,
)
from shared.query import Hidden, Stored, Value, WireRecord
from shared.timestamps import shift

START = "2024-01-01T12:00:00.000Z"
"""Made records follow each other from here, a second apart."""

_REQUIRED: Mapping[type[Record], WireRecord] = {
    ImageGenerationTransaction: {"originalPrompt": "a fox under a lamp", "imageType": "logo"},
    ApiRequestLog: {"method": "POST", "endpoint": "/api/generate", "statusCode": 200},
    SystemEventLog: {"eventType": "startup", "message": "ready"},
    UserSession: {},
    State: {"category": "marker"},
}

_OPTIONAL: Mapping[type[Record], WireRecord] = {
    ImageGenerationTransaction: {
        "sessionId": "session-1",
        "userIP": "192.0.2.0",
        "userAgent": "Firefox/128",
        "enhancedPrompt": "a red fox under a brass lamp",
        "finalPrompt": "a red fox under a brass lamp, flat",
        "enhancePromptRequested": True,
        "status": "completed",
        "success": True,
        "errorMessage": "none",
        "imageUrl": "https://images.example/1.png",
        "processedFilename": "fox-small.png",
        "originalFilename": "fox.png",
        "processedFilePath": "/images/fox-small.png",
        "originalFilePath": "/images/fox.png",
        "fileSize": 123_456,
        "dimensions": {"width": 1024, "height": 768},
        "totalDuration": 4321.5,
        "promptEnhancementDuration": 321,
        "imageGenerationDuration": 3900.25,
        "imageProcessingDuration": 0,
        "apiModel": "painter-3",
        "apiBaseUrl": "https://api.example/v1",
        "llmModel": "writer-2",
    },
    ApiRequestLog: {
        "sessionId": "session-1",
        "userIP": "2001:db8::",
        "userAgent": "curl/8",
        "requestHeaders": {"Accept": "application/json", "X-Many": ["a", "b"]},
        "requestBody": {"prompt": "a fox", "options": [1, 2.5, None, {"deep": True}]},
        "responseHeaders": {"Content-Length": 17},
        "responseBody": "plain text",
        "duration": 87.125,
        "errorOccurred": False,
        "errorMessage": "none",
        "errorStack": "line 1\nline 2",
    },
    SystemEventLog: {
        "sessionId": "session-1",
        "component": "generator",
        "level": "warn",
        "details": [{"attempt": 1}, {"attempt": 2, "reason": None}],
        "environment": "production",
        "version": "1.2.3",
    },
    UserSession: {
        "userIP": "192.0.2.0",
        "userAgent": "Firefox/128",
        "endTime": "2024-01-01T13:00:00.000Z",
        "country": "NL",
        "browser": "Firefox",
        "os": "Linux",
    },
    State: {"data": {"hour": "2024-01-01T12", "counts": {"completed": 3}}},
}

_FILTER_VALUES: Mapping[str, tuple[Value, ...]] = {
    "sessionId": ("session-1", "session-10", "Session-1"),
    "status": ("pending", "completed", "failed"),
    "success": (True, False),
    "errorOccurred": (True, False),
    "statusCode": (200, 404, 500),
    "level": ("info", "warn", "error"),
}
_TEXT_VALUES: tuple[Value, ...] = ("alpha", "Alpha", "älpha 🎨")


def filter_values(field: str) -> tuple[Value, ...]:
    """Two or more different values that a filterable field may have."""
    return _FILTER_VALUES.get(field, _TEXT_VALUES)


class RecordMaker:
    """Makes records with the next id and time, unless `fields` (wire names) say otherwise."""

    def __init__(self) -> None:
        self._count = 0

    def restart(self) -> None:
        """Count from the beginning again."""
        self._count = 0

    def __call__(self, model: type[Record], hidden: Hidden | None = None, /, **fields: Any) -> Stored:
        """A record with the required fields and those given. What is hidden beside it follows from it by default."""
        self._count += 1
        now = shift(START, seconds=self._count)
        timestamp = fields.get("timestamp", now)
        record: WireRecord = {
            "id": fields.get("id") or mint_id(timestamp, fields.get("sessionId"), self._random_bytes),
            "timestamp": timestamp,
            "createdAt": now,
            "updatedAt": now,
            "metadata": {},
            **_REQUIRED[model],
            **fields,
        }
        model.check(record)
        return Stored(record, _hidden(model, record) if hidden is None else hidden)

    def full(self, model: type[Record], **fields: Any) -> Stored:
        """A record with every field that a client may send."""
        return self(model, **{"metadata": {"tags": ["a", "b"], "score": 0.5}, **_OPTIONAL[model], **fields})

    def many(self, model: type[Record], count: int, **fields: Any) -> list[Stored]:
        """Records that differ in id and time only."""
        return [self(model, **fields) for _ in range(count)]

    def changed(self, stored: Stored, **fields: Any) -> Stored:
        """The record with other fields (None removes one), changed by the server now; its etag is left as it was."""
        self._count += 1
        merged = {**stored.record, "updatedAt": shift(START, seconds=self._count), **fields}
        return stored._replace(record={name: value for name, value in merged.items() if value is not None})

    def _random_bytes(self, count: int) -> bytes:
        return hashlib.sha256(str(self._count).encode()).digest()[:count]


def _hidden(model: type[Record], record: WireRecord) -> Hidden:
    return Hidden(
        content_hash=hashlib.sha256(jsontext.canonical(record)).hexdigest(),
        privacy_version="1-truncate-0123abcd",
        buckets={name: round(50 * math.log1p(record[name])) for name in model.durations if name in record},
    )


make = RecordMaker()
