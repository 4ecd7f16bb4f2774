"""Errors as problem documents (RFC 9457) that keep the original application's `success` and `error` members."""

from typing import Any

from shared.batching import whole_seconds
from shared.errors import ServiceError, TransientError

MEDIA_TYPE = "application/problem+json"


def problem_document(error: ServiceError, request_id: str) -> dict[str, Any]:
    """The body that answers an error."""
    return {
        "success": False,
        "error": error.message,
        "type": f"urn:logogen:problem:{error.error_code}",
        "title": error.title,
        "status": error.status,
        "code": error.error_code,
        "details": [{"field": detail.field, "message": detail.message} for detail in error.details],
        "requestId": request_id,
    }


def problem_headers(error: ServiceError) -> dict[str, str]:
    """The headers that tell when to try again, where that may help."""
    return {"retry-after": str(whole_seconds(error.retry_after))} if isinstance(error, TransientError) else {}
