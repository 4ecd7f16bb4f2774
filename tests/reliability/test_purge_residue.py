"""After a purge no id of the subject and no text that only the subject's records had is in any byte of the directory."""

import random
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import ImageGenerationTransaction
from shared.query import Aggregation, Stored
from shared.timestamps import shift
from tests.contract.steps import kept
from tests.reliability.conftest import Effort
from tests.reliability.handmade import opened, rewrite
from tests.support.records import START, make

MODEL = ImageGenerationTransaction
_DAYS = 3
SUBJECT, OTHER = "subj3ct", "s0meone"


def generation(owner: str, number: int, revision: int = 0) -> Stored:
    """A record whose every text, filterable fields included, names its owner."""
    moment = shift(START, days=number % _DAYS, seconds=number)
    own = {name: f"{owner}-{name}-{number}-{revision}" for name in ("originalPrompt", "imageType", "apiModel", "llmModel")}
    return make(MODEL, id=f"{owner}-{number}", timestamp=moment, sessionId=f"{owner}-session-{number}", **own)


def revised(stored: Stored, revision: int) -> Stored:
    """The record with other texts."""
    owner, number = stored.id.split("-")
    texts = generation(owner, int(number), revision).record
    same = {"id", "timestamp", "sessionId", "createdAt", "updatedAt"}
    return make.changed(stored, **{name: value for name, value in texts.items() if name not in same})


async def lived(backend: FileBackend, chance: random.Random, count: int) -> list[str]:
    """The subject's ids, after creates among many others', updates, deletes, creates anew, compactions and figures."""
    batch = [generation(owner, number) for owner in (SUBJECT, OTHER) for number in range(count)]
    chance.shuffle(batch)
    stored = [
        kept(outcome)
        for start in range(0, len(batch), 500)
        for outcome in await backend.create_many(MODEL, batch[start : start + 500])
    ]
    for revision, one in enumerate(chance.sample(stored, count // 4)):
        changed = await backend.update(MODEL, revised(one, revision + 1), one.etag)
        if chance.random() < 0.4:
            await backend.delete(MODEL, changed.id)
            if chance.random() < 0.5:
                again = make.changed(generation(*_parts(changed.id), 999), timestamp=shift(START, days=chance.randrange(_DAYS)))
                await backend.create(MODEL, again)
        if chance.random() < 0.05:
            await backend._compact(MODEL, chance.choice(batch).timestamp[:10])
    await backend.aggregate(Aggregation(MODEL, group_by=("apiModel", "llmModel")))
    return [one.id for one in batch if one.id.startswith(SUBJECT)]


def _parts(record_id: str) -> tuple[str, int]:
    owner, number = record_id.split("-")
    return owner, int(number)


def residues(root: Path) -> list[str]:
    """The files that hold something of the subject in their bytes or in their names."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    return [path.name for path in paths if SUBJECT.encode() in path.read_bytes() or SUBJECT in path.name]


def is_sound(root: Path) -> bool:
    """Whether SQLite finds nothing wrong with the index."""
    [path] = (root / ".index").glob("*.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def open_files() -> list[str]:
    """What this process has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(str(link.readlink()))
    return names


def torn(folder: Path, name: str) -> Path:
    [path] = folder.glob(f"{name}*.torn")
    return path


async def others(backend: FileBackend, ids: Iterable[str]) -> list[Stored | None]:
    return [await backend.find_by_id(MODEL, record_id) for record_id in ids]


@pytest.mark.parametrize("count", [40, 1_500])
async def test_a_purge_leaves_nothing_of_the_subject(folder: Path, effort: Effort, count: int) -> None:
    """Not in segments, nor in the index and its journal, whose pages have been split and written over many times."""
    for run in range(effort.times(3 if count < 100 else 1, 60 if count < 100 else 10)):
        root, chance = folder / f"data-{run}", effort.chance(run)
        async with opened(root) as backend:
            ids = await lived(backend, chance, count)
            rest = [f"{OTHER}-{number}" for number in range(count)]
            before = await others(backend, rest)
            assert residues(root)
            for start in range(0, len(ids), 1_000):
                await backend.purge(MODEL, ids[start : start + 1_000])
            assert residues(root) == []
            assert await others(backend, rest) == before
        assert residues(root) == []
        assert is_sound(root)
        shutil.rmtree(root)


async def test_a_purge_one_by_one_leaves_nothing_of_the_last(folder: Path, effort: Effort) -> None:
    """Each call leaves nothing of its own ids, whatever the ones before have moved about in the index."""
    chance = effort.chance()
    async with opened(folder / "data") as backend:
        ids = await lived(backend, chance, 200)
        chance.shuffle(ids)
        for record_id in ids[:40]:
            await backend.purge(MODEL, [record_id])
            names = [path.name for path in (folder / "data").rglob("*") if path.is_file() and _holds(path, record_id)]
            assert names == [], record_id


def _holds(path: Path, record_id: str) -> bool:
    content = path.read_bytes()
    number = record_id.split("-")[1]
    return any(f"{SUBJECT}{part}-{number}{end}".encode() in content for part in ("", "-session") for end in ('"', " ", "\0"))


async def test_a_purge_leaves_nothing_after_a_rebuild(folder: Path, effort: Effort) -> None:
    """An index that was built from lines of many versions keeps nothing of the ones that lost."""
    chance, root = effort.chance(), folder / "data"
    async with opened(root) as backend:
        ids = await lived(backend, chance, 600)
    shutil.rmtree(root / ".index")
    async with opened(root) as backend:
        await backend.purge(MODEL, ids)
        assert residues(root) == []


async def test_a_purge_reaches_what_crashes_have_left(folder: Path, effort: Effort) -> None:
    """Not in torn tails, half-made files, indexes of before, or in lines that are glued together or torn in the middle."""
    chance, root = effort.chance(), folder / "data"
    async with opened(root) as backend:
        ids = await lived(backend, chance, 40)
    segments = sorted((root / MODEL.__name__).glob("*.jsonl"))
    one, two = (_line(segments[0], owner) for owner in (SUBJECT, OTHER))
    with segments[0].open("ab") as file:
        file.write(two[: len(two) // 2] + bytes(512) + one[40:])
        file.write(two.rstrip(b"\n") + one)
        file.write(two[: len(two) // 2] + one)
    with segments[1].open("ab") as file:
        file.write(one[:-30])
    shutil.copy(segments[0], segments[0].with_name(segments[0].name + ".compact"))
    [index] = (root / ".index").glob("*.sqlite")
    shutil.copy(index, root / ".index" / "index-000000.sqlite")
    shutil.copy(index, root / ".index" / "index-000007.building")
    async with opened(root) as backend:
        assert SUBJECT.encode() in torn(root / MODEL.__name__, segments[1].name).read_bytes()
        shutil.copy(segments[0], segments[0].with_name(segments[0].name + ".compact"))
        await backend.purge(MODEL, ids)
        assert residues(root) == []


async def test_a_purge_keeps_what_is_not_the_subject_s(folder: Path) -> None:
    """Broken lines that say whose they are, other lines of the same files and what was set aside of others stay."""
    root = folder / "data"
    async with opened(root) as backend:
        ids = await lived(backend, random.Random(1), 20)
    path = min((root / MODEL.__name__).glob("*.jsonl"))
    broken = b'{"id":"' + OTHER.encode() + b'-77","originalPrompt":"mend me"]\n'
    rewrite(path, path.read_bytes() + broken)
    async with opened(root) as backend:
        await backend.purge(MODEL, ids)
        assert broken in path.read_bytes()
        assert residues(root) == []


async def test_a_purge_of_ids_that_are_gone_clears_what_they_left(folder: Path) -> None:
    """Deleted records have lines and tombstones still; a purge afterwards counts none of them and takes them all."""
    root = folder / "data"
    async with opened(root) as backend:
        await backend.create_many(MODEL, [generation(SUBJECT, number) for number in range(30)])
        ids = [f"{SUBJECT}-{number}" for number in range(30)]
        for record_id in ids:
            await backend.delete(MODEL, record_id)
        assert residues(root)
        assert await backend.purge(MODEL, ids) == 0
        assert residues(root) == []


async def test_a_purge_while_others_read_leaves_nothing(folder: Path) -> None:
    """Another instance that has the records cached and its descriptors open keeps no file of them alive."""
    root = folder / "data"
    async with opened(root) as first, opened(root) as second:
        await first.create_many(MODEL, [generation(SUBJECT, number) for number in range(30)])
        ids = [f"{SUBJECT}-{number}" for number in range(30)]
        assert all(await others(second, ids))
        await first.purge(MODEL, ids)
        assert not any(await others(second, ids))
        assert residues(root) == []
        assert not [name for name in open_files() if name.startswith(str(root)) and name.endswith("(deleted)")]


def _line(path: Path, owner: str) -> bytes:
    return next(
        line for line in path.read_bytes().splitlines(keepends=True) if owner.encode() in line and b"originalPrompt" in line
    )
