"""What a data directory says, read the plain way: the greatest version of an id wins, then the later day, then line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.models import Record

Said = dict[str, dict[str, Any]]


def said(root: Path, model: type[Record]) -> Said:
    """The records of a model by id, without what is hidden."""
    best: dict[str, tuple[tuple[int, str, int], dict[str, Any]]] = {}
    for day, number, content in _contents(root / model.__name__):
        rank = (content.get("_", {}).get("version", 0), day, number)
        if content["id"] not in best or rank > best[content["id"]][0]:
            best[content["id"]] = rank, content
    records = {record_id: content for record_id, (_, content) in best.items() if set(content) != {"id", "_"}}
    return {record_id: _completed(content) for record_id, content in records.items()}


def _contents(folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for path in folder.glob("*.jsonl"):
        for number, line in enumerate(path.read_bytes().split(b"\n")):
            try:
                content = json.loads(line.decode("utf-8-sig"))
            except ValueError:
                continue
            if isinstance(content, dict) and "id" in content:
                yield path.stem, number, content


def _completed(content: dict[str, Any]) -> dict[str, Any]:
    """A line that was added by hand may leave out what the server sets."""
    record = {name: value for name, value in content.items() if name != "_"}
    record.setdefault("metadata", {})
    record.setdefault("createdAt", record["timestamp"])
    record.setdefault("updatedAt", record["createdAt"])
    return record
