"""However the lines of a directory are ordered, repeated and spread over its files, the answers are the same."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.query import Query, Stored
from shared.timestamps import shift
from tests.contract.reference import select
from tests.reliability.conftest import Effort
from tests.reliability.handmade import DAYS, MODEL, answers, assert_follows, opened
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.support.records import START, make

_IDS = [f"r{number}" for number in range(8)]


async def lines_of_a_life(root: Path, chance: random.Random) -> list[bytes]:
    """The lines that random creates, updates and deletes leave."""
    async with opened(root) as backend:
        for number in range(40):
            record_id, moment = chance.choice(_IDS), shift(START, days=chance.randrange(len(DAYS)), minutes=number)
            outcome = await backend.create(MODEL, proven(MODEL, record_id, moment, number))
            assert outcome.stored is not None
            if outcome.existed:
                if chance.random() < 0.3:
                    await backend.delete(MODEL, record_id)
                else:
                    changed = make.changed(outcome.stored, message=f"change {number}")
                    await backend.update(MODEL, changed, outcome.stored.etag)
    return [line for path in (root / MODEL.__name__).glob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]


def spread(root: Path, lines: Sequence[bytes], chance: random.Random) -> None:
    """Write the lines anew: shuffled, some of them more than once, over files of any days, one after the other or in place."""
    folder = root / MODEL.__name__
    shuffled = [*lines, *chance.sample(lines, chance.randint(0, len(lines)))]
    chance.shuffle(shuffled)
    files: dict[str, list[bytes]] = {}
    for line in shuffled:
        files.setdefault(chance.choice([*DAYS, "2023-01-01", "2025-12-31"]), []).append(line)
    for path in folder.glob("*.jsonl"):
        if path.stem not in files or chance.random() < 0.5:
            path.unlink()
    for day, content in files.items():
        (folder / f"{day}.jsonl").write_bytes(b"".join(content))


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
async def test_lines_mean_the_same_in_any_order_and_place(folder: Path, effort: Effort, *, is_open: bool) -> None:
    """Shuffled, doubled and spread over other days, they give the same records by id and in every list."""
    for run in range(effort.times(12, 1_000)):
        root, chance = folder / "data", effort.chance(run)
        lines = await lines_of_a_life(root, chance)
        expected = said(root, MODEL)
        async with opened(root) as backend:
            if is_open:
                await answers(backend)
                spread(root, lines, chance)
                await assert_follows(backend, root)
        if not is_open:
            spread(root, lines, chance)
        async with opened(root) as backend:
            assert await answers(backend) == expected == said(root, MODEL)
            for query in (Query(MODEL, limit=3), Query(MODEL, since=shift(START, days=1), limit=100)):
                found = [stored.record for stored in (await backend.find(query)).items]
                assert found == [stored.record for stored in select(map(Stored, expected.values()), query)][: query.limit]
        shutil.rmtree(root)


async def test_ties_go_to_the_later_day_and_then_to_the_later_line(folder: Path, effort: Effort) -> None:
    """Lines of one version that differ, as hands may make them, are settled by where they stand; all readers agree."""
    for run in range(effort.times(12, 1_000)):
        root, chance = folder / "data", effort.chance(run)
        (root / MODEL.__name__).mkdir(parents=True)
        lines = [_tied(chance, number) for number in range(30)]
        spread(root, lines, chance)
        async with opened(root) as backend:
            assert await answers(backend) == said(root, MODEL)
            spread(root, lines, chance)

            await assert_follows(backend, root)
        async with opened(root) as backend:
            assert await answers(backend) == said(root, MODEL)
        shutil.rmtree(root)


def _tied(chance: random.Random, number: int) -> bytes:
    version = chance.randrange(3)
    reserved = f',"_":{{"version":{version}}}' if version else ""
    if version and chance.random() < 0.2:
        return f'{{"id":"{chance.choice(_IDS)}"{reserved}}}\n'.encode()
    moment = shift(START, seconds=number)
    times = f'"timestamp":"{moment}","createdAt":"{moment}","updatedAt":"{moment}","metadata":{{}}'
    return f'{{"id":"{chance.choice(_IDS)}",{times},"eventType":"tie","message":"line {number}"{reserved}}}\n'.encode()
