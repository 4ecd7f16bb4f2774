"""The documents point at what is there."""

import re
from pathlib import Path

import pytest

from tests.support.environment import REPOSITORY

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"\]\(([^)]+)\)")
_REFERENCE = re.compile(r"\]\[([^\]]+)\]")
_DEFINITION = re.compile(r"^\[([^\]]+)\]: \S+$", re.MULTILINE)

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def prose(path: Path) -> str:
    """A document's text without code."""
    return _CODE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as they are made on the web."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    """A link to a file names one that exists, and a heading in it."""
    for link in _LINK.findall(prose(document)):
        name, _, anchor = link.partition("#")
        if "://" not in link:
            target = document.parent / name if name else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@each_document
def test_references_and_definitions_match(document: Path) -> None:
    """Every reference is defined in its document, and every definition is used."""
    text = prose(document)
    assert set(_REFERENCE.findall(text)) == set(_DEFINITION.findall(text))
