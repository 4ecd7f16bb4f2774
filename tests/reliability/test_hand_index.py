"""The index is only a cache: whatever becomes of its files, answers follow the lines and the repair is logged."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import State
from shared.query import Aggregation, Query
from shared.timestamps import shift
from tests.reliability.conftest import Effort
from tests.reliability.handmade import (
    MODEL,
    answers,
    assert_follows,
    assert_writes_work,
    make_history,
    opened,
    rewrite,
    soon,
)
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.support.records import START, make

Damage = Callable[[Path, Path], None]
_PAGE = 4_096


def delete(index: Path, other: Path) -> None:
    """The file is gone."""
    index.unlink()


def delete_folder(index: Path, other: Path) -> None:
    """The folder is gone, with what SQLite keeps beside the file."""
    shutil.rmtree(index.parent)


def empty(index: Path, other: Path) -> None:
    """The file is cut to nothing."""
    rewrite(index, b"", in_place=True)


def truncate(index: Path, other: Path) -> None:
    """Half of the file is left."""
    rewrite(index, index.read_bytes()[: index.stat().st_size // 2], in_place=True)


def replace_by_rubbish(index: Path, other: Path) -> None:
    """Another file is in its place."""
    rewrite(index, b"no index " * 4_000)


def fill_with_rubbish(index: Path, other: Path) -> None:
    """All bytes are others."""
    rewrite(index, b"\x01\xfe" * (index.stat().st_size // 2), in_place=True)


def blank_pages(index: Path, other: Path) -> None:
    """Of its pages only the first is left."""
    rewrite(index, index.read_bytes()[:_PAGE] + bytes(index.stat().st_size - _PAGE), in_place=True)


def put_another(index: Path, other: Path) -> None:
    """The index of another directory was moved here."""
    rewrite(index, other.read_bytes())


def copy_another(index: Path, other: Path) -> None:
    """The index of another directory was copied over it."""
    rewrite(index, other.read_bytes(), in_place=True)


DAMAGES: list[Damage] = [
    delete,
    delete_folder,
    empty,
    truncate,
    replace_by_rubbish,
    fill_with_rubbish,
    blank_pages,
    put_another,
    copy_another,
]
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


async def two_directories(folder: Path) -> tuple[Path, Path]:
    """A data directory, and the index of another with other records of the same days."""
    root, other = folder / "data", folder / "other"
    await make_history(root)
    await make_history(other, 40)
    async with opened(other) as backend:
        await backend.create_many(MODEL, [proven(MODEL, f"r{number:03}", START, 9) for number in range(40, 90)])
    return root, index_of(other)


def index_of(root: Path) -> Path:
    return max((root / ".index").glob("*.sqlite"))


@each_damage
async def test_an_index_damaged_while_closed_is_built_anew(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    """At the next start reads give what the lines say, writes work, and the repair is logged."""
    root, other = await two_directories(folder)
    damage(index_of(root), other)
    expected = said(root, MODEL)
    caplog.clear()
    async with opened(root) as backend:
        assert await answers(backend) == expected
        assert {"the index was built anew", "the index caught up with changed segments"} & set(caplog.messages)
        await assert_writes_work(backend, root)
    async with opened(root) as backend:
        assert await answers(backend) == said(root, MODEL)


@pytest.mark.parametrize(
    "damage", [damage for damage in DAMAGES if damage is not copy_another], ids=lambda damage: damage.__name__
)
async def test_an_index_damaged_while_open_is_built_anew(folder: Path, damage: Damage) -> None:
    """An instance that is in use soon gives what the lines say, and writes work."""
    root, other = await two_directories(folder)
    async with opened(root) as backend:
        await answers(backend)
        damage(index_of(root), other)
        await assert_follows(backend, root)
        await assert_writes_work(backend, root)
    async with opened(root) as backend:
        assert await answers(backend) == said(root, MODEL)


async def test_an_index_copied_over_one_in_use_gives_no_other_record(folder: Path) -> None:
    """SQLite can't tell that it was overwritten while open; still no read answers with a line that is not the record's."""
    root, other = await two_directories(folder)
    async with opened(root) as backend:
        await answers(backend)
        expected = said(root, MODEL)
        copy_another(index_of(root), other)
        for number in range(90):
            found = await backend.find_by_id(MODEL, f"r{number:03}")
            assert found is None or found.record == expected[found.id]


async def find(backend: FileBackend) -> None:
    page = await backend.find(Query(MODEL, descending=False, limit=1_000))
    assert page.items
    assert not page.more


async def count(backend: FileBackend) -> None:
    assert await backend.count(Query(MODEL)) == 19


async def aggregate(backend: FileBackend) -> None:
    assert sum(group.count for group in await backend.aggregate(Aggregation(MODEL, group_by=("eventType",)))) == 19


async def stats(backend: FileBackend) -> None:
    assert (await backend.get_stats()).models[MODEL.__name__].count == 19


async def health(backend: FileBackend) -> None:
    await backend.health()


async def find_by_id(backend: FileBackend) -> None:
    assert await backend.find_by_id(MODEL, "r001") is not None
    assert await backend.find_by_id(MODEL, "r010") is None


async def create(backend: FileBackend) -> None:
    assert (await backend.create(MODEL, proven(MODEL, "r001", START))).existed
    assert not (await backend.create(MODEL, proven(MODEL, "new", START))).existed
    await backend.delete(MODEL, "new")


async def update(backend: FileBackend) -> None:
    found = await backend.find_by_id(MODEL, "r001")
    assert found is not None
    await backend.update(MODEL, found, found.etag)


async def delete_one(backend: FileBackend) -> None:
    await backend.delete(MODEL, "r001")


async def delete_where(backend: FileBackend) -> None:
    await backend.delete_where(Query(MODEL, {"eventType": ("startup",)}, limit=5))


async def expire(backend: FileBackend) -> None:
    await backend.delete_where(Query(MODEL, until=shift(START, days=1, hours=6), descending=False, limit=1_000))


async def purge(backend: FileBackend) -> None:
    assert await backend.purge(MODEL, ["r001", "r002"]) == 2


async def other_model(backend: FileBackend) -> None:
    await backend.create(State, make(State, id="state"))
    await backend.delete(State, "state")


CALLS: list[Callable[[FileBackend], Awaitable[None]]] = [
    find, count, aggregate, stats, health, find_by_id, create, update, delete_one, delete_where, expire, purge, other_model,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize(
    "damage", [delete_folder, empty, fill_with_rubbish, replace_by_rubbish], ids=lambda damage: damage.__name__
)
async def test_any_call_mends_a_damaged_index(
    folder: Path, damage: Damage, call: Callable[[FileBackend], Awaitable[None]]
) -> None:
    """Whatever is asked first after the damage is answered as if nothing had happened, and so is all that comes later."""
    root, other = await two_directories(folder)
    async with opened(root) as backend:
        await find(backend)
        damage(index_of(root), other)
        await call(backend)
        await assert_follows(backend, root)
        await assert_writes_work(backend, root)


async def test_pages_damaged_by_chance_are_noticed(folder: Path, effort: Effort) -> None:
    """Whichever pages of the index are zeros after a power loss, no answer comes from them."""
    root, _ = await two_directories(folder)
    kept = index_of(root).read_bytes()
    pages = len(kept) // _PAGE
    for run in range(effort.times(25, 2_000)):
        chance = effort.chance(run)
        content = bytearray(kept)
        for page in chance.sample(range(pages), chance.choice([1, 2, pages // 3])):
            content[page * _PAGE : (page + 1) * _PAGE] = bytes(_PAGE)
        shutil.rmtree(root / ".index")
        (root / ".index").mkdir()
        (root / ".index" / "index-000001.sqlite").write_bytes(content)
        async with opened(root) as backend:
            assert await answers(backend) == said(root, MODEL)


async def test_instances_notice_an_index_that_another_has_built(folder: Path) -> None:
    """After a rebuild every open instance reads and writes by the new index, and the old one's files are gone."""
    root, _ = await two_directories(folder)
    async with opened(root) as first, opened(root) as second:
        await answers(first)
        old = index_of(root)
        rewrite(old, b"rubbish", in_place=True)
        await assert_follows(second, root)
        assert not old.exists()
        await assert_writes_work(first, root)

        async def agrees() -> bool:
            return await answers(second) == said(root, MODEL)

        await soon(agrees)
        assert await answers(second) == await answers(first)
        assert len(list((root / ".index").glob("*.sqlite"))) == 1


async def test_an_old_index_left_by_a_kill_is_removed(folder: Path) -> None:
    """Where a rebuild was cut short after the new file was in place, the old one goes with the next start."""
    root, other = await two_directories(folder)
    shutil.copy(other, root / ".index" / "index-000000.sqlite")
    (root / ".index" / "index-000009.building").write_bytes(b"half")
    async with opened(root) as backend:
        assert await answers(backend) == said(root, MODEL)
        assert [path.name for path in (root / ".index").glob("index*.[sb]*") if "-" not in path.suffix] == [index_of(root).name]
