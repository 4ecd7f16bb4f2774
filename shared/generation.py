"""Puts together an ImageGenerationTransaction from what an image application has at hand."""

from collections.abc import Mapping
from typing import Any

from shared.errors import Detail, InvalidError
from shared.models import ImageGenerationTransaction
from shared.query import WireRecord

_REQUEST = {name: name for name in ("id", "timestamp", "sessionId", "userIP", "userAgent", "originalPrompt", "imageType")} | {
    "prompt": "originalPrompt",
    "enhancePromptRequested": "enhancePromptRequested",
    "enhancePrompt": "enhancePromptRequested",
    "apiModel": "apiModel",
    "apiBaseUrl": "apiBaseUrl",
    "llmModel": "llmModel",
    "metadata": "metadata",
}
_RESPONSE = {
    name: name
    for name in (
        "status",
        "success",
        "errorMessage",
        "enhancedPrompt",
        "finalPrompt",
        "imageUrl",
        "processedFilename",
        "originalFilename",
        "processedFilePath",
        "originalFilePath",
        "fileSize",
        "dimensions",
        "apiModel",
        "apiBaseUrl",
        "llmModel",
    )
} | {"error": "errorMessage"}
_PERFORMANCE = {name: name for name in ImageGenerationTransaction.durations}
_CHECKPOINTS = "checkpoints"


def generation_record(request: Mapping[str, Any], response: Mapping[str, Any], performance: Mapping[str, Any]) -> WireRecord:
    """The transaction that three mappings tell of.

    `request`: `prompt` (or `originalPrompt`), and if known `imageType`, `enhancePrompt` (or `enhancePromptRequested`),
    `id`, `timestamp`, `sessionId`, `userIP`, `userAgent`, `apiModel`, `apiBaseUrl`, `llmModel`, `metadata`.
    `response`: `success` or `status`, `error` (or `errorMessage`), the prompts, `imageUrl`, file names and paths,
    `fileSize` in bytes, `dimensions` in pixels, models. `performance`: the four durations in ms, as they are or as
    `end_timer` gives them; its checkpoints go into `metadata.checkpoints`.

    Raises InvalidError naming every member that is unknown or given twice.
    """
    record: WireRecord = {}
    details: list[Detail] = []
    for part, known, members in (("request", _REQUEST, request), ("response", _RESPONSE, response)):
        _take(part, known, members, record, details)
    rest = {name: value for name, value in performance.items() if name != _CHECKPOINTS}
    _take("performance", _PERFORMANCE, rest, record, details)
    if details:
        raise InvalidError("Invalid image generation.", details)
    if performance.get(_CHECKPOINTS):
        record["metadata"] = {**(record.get("metadata") or {}), _CHECKPOINTS: performance[_CHECKPOINTS]}
    return record


def _take(part: str, known: Mapping[str, str], members: Mapping[str, Any], record: WireRecord, details: list[Detail]) -> None:
    for name, value in members.items():
        field = known.get(name)
        if field is None:
            details.append(Detail(f"{part}.{name}", f"is not a member of the {part}"))
        elif value is None:
            continue
        elif field in record and record[field] != value:
            details.append(Detail(f"{part}.{name}", f"gives {field} a second value"))
        else:
            record[field] = value
