"""Logs of the command line on stderr: time, level, logger and message, then the record's extra fields as `key=value`."""

import json
import logging
import sys
from datetime import UTC, datetime

from shared.timestamps import format_timestamp

_REQUESTS = "shared.api.endpoint"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class StructuredFormatter(logging.Formatter):
    """One line a record; a traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        moment = format_timestamp(datetime.fromtimestamp(record.created, UTC))
        fields = "".join(f" {key}={_value(value)}" for key, value in vars(record).items() if key not in _STANDARD)
        return f"{moment} {record.levelname:<7} {record.name}: {record.message}{fields}"


def _value(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and " " not in value:
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def configure_logging(level: int = logging.INFO, *, requests: bool = True) -> None:
    """Send everything from `level` up to stderr; without `requests` no line for a request that caused no trouble."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(StructuredFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger(_REQUESTS).setLevel(logging.NOTSET if requests else logging.WARNING)
