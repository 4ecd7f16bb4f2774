"""The four kinds of record as clients send them."""

from dataclasses import dataclass
from typing import Any

from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession


@dataclass(frozen=True)
class Kind:
    model: type[Record]
    record: dict[str, Any]

    @property
    def route(self) -> str:
        return self.model.route

    @property
    def singular(self) -> str:
        return self.model.singular


TRANSACTION = Kind(ImageGenerationTransaction, {"originalPrompt": "a fox", "imageType": "icon"})
REQUEST = Kind(ApiRequestLog, {"method": "GET", "endpoint": "/api/generate", "statusCode": 200})
EVENT = Kind(SystemEventLog, {"eventType": "startup", "message": "ready"})
SESSION = Kind(UserSession, {"country": "NL"})
KINDS = (TRANSACTION, REQUEST, EVENT, SESSION)
