"""The power goes after any operation on the disk: what was acknowledged is there, whatever unsynced bytes became of."""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from shared.backends.file.backend import FileBackend
from shared.models import SystemEventLog
from shared.query import Stored
from tests.reliability.conftest import Effort
from tests.reliability.ledger import Ledger, everything, reopened
from tests.reliability.proven import proven
from tests.reliability.recording import Acknowledged, Asked, Event, IndexCopy, Key, RecordingDisk
from tests.reliability.storage import Image, Storage, Written
from tests.reliability.workload import Workload
from tests.support.records import START

_ROOT = "home/data"
_STEPS = 22


async def recorded(
    world: Path,
    chance: random.Random,
    steps: int = _STEPS,
    before: Storage | None = None,
    found: Mapping[Key, Stored] = MappingProxyType({}),
    *,
    copies: float = 0.08,
) -> Sequence[Event]:
    """The events of random work on a directory that may not be there yet, the second half by another instance.

    After so many of the operations (`copies`, 0 to 1) the index is copied.
    """
    disk = RecordingDisk(world, world / _ROOT, before)
    disk.wants_index = lambda: chance.random() < copies
    for half in (steps - steps // 2, steps // 2):
        backend = FileBackend(world / _ROOT, disk=disk)
        await backend.connect()
        workload = Workload(backend, disk, chance, found)
        await workload.run(half)
        found = workload.present
        await backend.disconnect()
    return disk.events


class Crashes:
    """Walks through events; at each point it can lay down what a crash would leave there, and check it."""

    def __init__(
        self, folder: Path, chance: random.Random, storage: Storage | None = None, ledger: Ledger | None = None
    ) -> None:
        self.storage = storage or Storage()
        self.ledger = ledger or Ledger()
        self._folder = folder
        self._chance = chance
        self._indexes: list[tuple[IndexCopy, dict[int, int]]] = []

    def follow(self, event: Event) -> bool:
        """Take one more event; whether it was one that a crash right after it can tell from the one before."""
        if isinstance(event, Asked | Acknowledged):
            self.ledger.follow(event)
            return isinstance(event, Acknowledged)
        if isinstance(event, IndexCopy):
            self._indexes.append((event, self.storage.revisions()))
            return False
        self.storage.apply(event)
        return True

    async def check(self, image: Image) -> dict[Key, Stored]:
        """What a plain instance finds in the image, after checking it."""
        world = self.lay_down(image)
        found = await reopened(world / _ROOT)
        self.ledger.check(found)
        shutil.rmtree(world)
        return found

    def lay_down(self, image: Image, *, oldest: int = 4) -> Path:
        """A folder with the image, and in most cases with one of the `oldest` last copies of the index."""
        world = Path(tempfile.mkdtemp(prefix="image", dir=self._folder))
        image.write(world)
        if self._indexes and (world / _ROOT).is_dir() and self._chance.random() < 0.7:
            self._put_index(world / _ROOT, image, *self._chance.choice(self._indexes[-oldest:]))
        return world

    def _put_index(self, root: Path, image: Image, index: IndexCopy, revisions: Mapping[int, int]) -> None:
        folder = root / ".index"
        folder.mkdir(exist_ok=True)
        for name, content in index.content.items():
            (folder / name).write_bytes(content)
        numbers = {path: number for path, (number, _) in image.files.items()}
        now = self.storage.revisions()
        with (
            suppress(sqlite3.DatabaseError),
            closing(sqlite3.connect(max(folder.glob("*.sqlite")), isolation_level=None)) as connection,
        ):
            for row in connection.execute("SELECT number, model, day, inode, size, modified_ns FROM segments").fetchall():
                path = f"{_ROOT}/{row[1]}/{row[2]}.jsonl"
                number = numbers.get(path)
                if number is None or index.inodes.get(row[3]) != number:
                    continue
                status = (root.parent.parent / path).stat()
                connection.execute("UPDATE segments SET inode = ? WHERE number = ?", (status.st_ino, row[0]))
                as_before = index.modified_ns.get(number) == row[5] and now[number] == revisions.get(number)
                if status.st_size == row[4] and as_before:
                    connection.execute("UPDATE segments SET modified_ns = ? WHERE number = ?", (status.st_mtime_ns, row[0]))


@pytest.mark.parametrize("number", range(2))
async def test_no_power_loss_takes_what_was_acknowledged(folder: Path, effort: Effort, number: int) -> None:
    """After every operation the unsynced is dropped, or lost, torn and reordered by chance, with a stale index or none."""
    for run in range(effort.times(1, 40)):
        chance = effort.chance(run)
        world = folder / f"world-{run}"
        world.mkdir()
        events = await recorded(world, chance)
        crashes = Crashes(folder, chance)
        for event in events:
            if crashes.follow(event):
                await crashes.check(crashes.storage.drop_all())
                await crashes.check(crashes.storage.lose_power(chance))


async def test_a_purge_cut_short_alters_and_brings_back_nothing(folder: Path, effort: Effort) -> None:
    """Long lines that are blanked in part are no records, and what they had replaced stays replaced."""
    world, chance = folder / "world", effort.chance()
    world.mkdir()
    disk = RecordingDisk(world, world / _ROOT)
    backend = FileBackend(world / _ROOT, disk=disk)
    await backend.connect()
    workload = Workload(backend, disk, chance, {})
    made = [proven(SystemEventLog, f"long-{number}", START, size=3_000) for number in range(4)]
    for stored in made:
        await workload.create(SystemEventLog, stored)
    await workload.update(SystemEventLog, made[0].id)
    await workload.delete(SystemEventLog, made[1].id)
    await workload.purge_ids(SystemEventLog, [stored.id for stored in made])
    await backend.disconnect()
    crashes = Crashes(folder, chance)
    for event in disk.events:
        if crashes.follow(event) and isinstance(event, Written):
            for _ in range(effort.times(8, 200)):
                await crashes.check(crashes.storage.lose_power(chance))


async def test_no_power_loss_after_a_kill_takes_what_was_acknowledged(folder: Path, effort: Effort) -> None:
    """A process that had begun to work is killed with something half done, another goes on, and then the power goes."""
    world = folder / "world"
    world.mkdir()
    chance = effort.chance()
    first = Crashes(folder, chance)
    events = await recorded(world, chance, copies=1)
    begun = next(point for point, event in enumerate(events) if isinstance(event, Acknowledged))
    points = set(chance.sample(range(begun, len(events)), effort.times(12, (len(events) - begun) // 2)))
    for point, event in enumerate(events):
        if first.follow(event) and point in points:
            await go_on(folder, chance, first)


async def go_on(folder: Path, chance: random.Random, first: Crashes) -> None:
    """Work on over what a killed process has left, and lose the power after each operation of that."""
    left = first.storage.keep_all()
    found = await first.check(left)
    world = first.lay_down(left, oldest=1)
    events = await recorded(world, chance, 4, first.storage, found)
    second = Crashes(folder, chance, first.storage.copy(), first.ledger.forget_calls(found))
    for event in events:
        if second.follow(event) and isinstance(event, Acknowledged):
            await second.check(second.storage.drop_all())


async def test_a_directory_goes_on_after_a_power_loss(folder: Path, effort: Effort) -> None:
    """What a torn directory takes afterwards is there after the next start, with all that was there before."""
    world = folder / "world"
    world.mkdir()
    chance = effort.chance()
    crashes = Crashes(folder, chance)
    for event in await recorded(world, chance):
        if crashes.follow(event) and chance.random() < effort.times(1, 8) / 8:
            image = crashes.lay_down(crashes.storage.lose_power(chance))
            backend = FileBackend(image / _ROOT)
            await backend.connect()
            found = await everything(backend)
            late = proven(SystemEventLog, "late", START)
            await backend.create(SystemEventLog, late)
            found[SystemEventLog, "late"] = late
            await backend.disconnect()
            after = await reopened(image / _ROOT)
            assert {key: stored.record for key, stored in after.items()} == {
                key: stored.record for key, stored in found.items()
            }
            shutil.rmtree(image)
