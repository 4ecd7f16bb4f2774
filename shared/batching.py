"""Batches of records of mixed kinds: reading their items, and what the whole batch answers."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from shared import jsontext
from shared.errors import CallerError, Detail, InvalidError, ServiceError, ThrottledError, TooLargeError, TransientError
from shared.ids import is_valid_id
from shared.models import PUBLIC_MODELS, Record
from shared.privacy import holds_secret
from shared.writing import Result, Written

MAX_ITEMS = 1_000
MODEL_NAMES: dict[str, type[Record]] = {
    name: model for model in PUBLIC_MODELS for name in (model.__name__, model.route, model.singular)
}
_MODEL_MEMBER = "model"
_LINE = re.compile(rb"\S[^\n]*")


class BatchItem(NamedTuple):
    """One item as it was sent: a JSON value, or the error that kept it from being one."""

    value: Any = None
    error: InvalidError | None = None


class ItemResult(NamedTuple):
    """What became of one item. `record_id` is None where the item had no usable id and none was minted."""

    record_id: str | None
    result: Result


def items_of_array(value: Any) -> list[BatchItem]:
    """The items of a JSON array. Raises InvalidError for anything else or an empty one, TooLargeError past 1,000."""
    if not isinstance(value, list):
        raise InvalidError("A batch must be a JSON array or NDJSON.", [Detail("", "must be a JSON array")])
    _check_count(value)
    return [BatchItem(item) for item in value]


def items_of_lines(body: bytes) -> list[BatchItem]:
    """The items of NDJSON; blank lines don't count, and a line that is not JSON is an item with its error."""
    lines = list(islice(_lines(body), MAX_ITEMS + 1))
    _check_count(lines)
    return [_line_item(number, line) for number, line in lines]


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    number, end = 1, 0
    for match in _LINE.finditer(body):
        number += body.count(b"\n", end, match.start())
        end = match.end()
        yield number, match[0]


def _line_item(number: int, line: bytes) -> BatchItem:
    try:
        return BatchItem(jsontext.loads(line.strip(), f"line {number}"))
    except InvalidError as error:
        return BatchItem(error=error)


def _check_count(items: Sequence[Any]) -> None:
    if not items:
        raise InvalidError("The batch is empty.", [Detail("", "must hold at least one record")])
    if len(items) > MAX_ITEMS:
        raise TooLargeError("The batch is too large.", [Detail("", f"must hold at most {MAX_ITEMS} records")])


def split_item(item: BatchItem) -> tuple[type[Record], dict[str, Any]]:
    """The model that an item names and its other members. Raises InvalidError."""
    if item.error is not None:
        raise item.error
    if not isinstance(item.value, dict):
        raise InvalidError("An item must be a JSON object.", [Detail("", "must be a JSON object")])
    name = item.value.get(_MODEL_MEMBER)
    model = MODEL_NAMES.get(name) if isinstance(name, str) else None
    if model is None:
        known = ", ".join(model.__name__ for model in PUBLIC_MODELS)
        raise InvalidError("An item must name its model.", [Detail(_MODEL_MEMBER, f"must be one of {known}")])
    return model, {name: value for name, value in item.value.items() if name != _MODEL_MEMBER}


def id_as_sent(item: BatchItem) -> str | None:
    """The id of an item that was refused, where it is one that may be repeated."""
    record_id = item.value.get("id") if isinstance(item.value, dict) else None
    usable = isinstance(record_id, str) and is_valid_id(record_id) and not holds_secret(record_id)
    return record_id if usable else None


class BatchAnswer(NamedTuple):
    """What a whole batch answers. `retry_after` (whole seconds) is there whenever an item can be sent again."""

    status: int
    retry_after: int | None
    stored: int
    duplicates: int
    failed: int
    redactions: int
    items: list[dict[str, Any]]

    def body(self) -> dict[str, Any]:
        """The members of the answer, in the order the items were sent."""
        return {
            "success": self.stored + self.duplicates > 0,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "failed": self.failed,
            "redactions": self.redactions,
            "items": self.items,
        }


def answer_batch(results: Sequence[ItemResult]) -> BatchAnswer:
    """Status and body of a batch.

    201 when every item is stored or a duplicate, 207 when some are. When none is: 400 if all must change first, 429 or 503 if
    all can be sent again, 500 if all are our own bugs, else 207.
    """
    written = [item.result for item in results if isinstance(item.result, Written)]
    failures = [item.result for item in results if isinstance(item.result, ServiceError)]
    duplicates = sum(item.duplicate for item in written)
    return BatchAnswer(
        status=_status(written, failures),
        retry_after=_retry_after(failures),
        stored=len(written) - duplicates,
        duplicates=duplicates,
        failed=len(failures),
        redactions=sum(item.redactions for item in written),
        items=[_item_answer(index, item) for index, item in enumerate(results)],
    )


def _status(written: Sequence[Written], failures: Sequence[ServiceError]) -> int:
    if not failures:
        return 201
    if written:
        return 207
    for kind, status in ((CallerError, 400), (ThrottledError, 429), (TransientError, 503)):
        if all(isinstance(error, kind) for error in failures):
            return status
    return 207 if any(isinstance(error, CallerError | TransientError) for error in failures) else 500


def _retry_after(failures: Iterable[ServiceError]) -> int | None:
    seconds = [error.retry_after for error in failures if isinstance(error, TransientError)]
    return whole_seconds(max(seconds)) if seconds else None


def whole_seconds(seconds: float) -> int:
    """Seconds to wait, as Retry-After takes them: whole, and at least 1."""
    return max(1, math.ceil(seconds))


def _item_answer(index: int, item: ItemResult) -> dict[str, Any]:
    result = item.result
    if isinstance(result, Written):
        return {"index": index, "id": item.record_id, "status": 200 if result.duplicate else 201}
    return {
        "index": index,
        "id": item.record_id,
        "status": result.status,
        "code": result.error_code,
        "error": result.message,
        "details": [{"field": detail.field, "message": detail.message} for detail in result.details],
        "retryable": isinstance(result, TransientError),
    }
