"""People edit, sort, join, copy and delete the JSON lines: answers follow the lines, and what was repaired is logged."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared.backends.file.backend import FileBackend
from shared.query import Query
from shared.timestamps import shift
from tests.reliability.handmade import (
    DAYS,
    MODEL,
    answers,
    assert_follows,
    assert_writes_work,
    by_hand,
    make_history,
    opened,
    rewrite,
    segment,
    soon,
)
from tests.reliability.lines_model import said
from tests.reliability.proven import proven
from tests.support.records import START

Edit = Callable[[Path], None]


def edit_in_place(root: Path) -> None:
    """Some text is replaced by longer text."""
    path = segment(root, 0)
    rewrite(path, path.read_bytes().replace(b'"startup"', b'"started by hand"'), in_place=True)


def edit_same_size(root: Path) -> None:
    """Some text is replaced by as much."""
    path = segment(root, 0)
    rewrite(path, path.read_bytes().replace(b'"startup"', b'"STARTUP"'), in_place=True)


def edit_and_save(root: Path) -> None:
    """An editor saves a file of the same size in the place of the old one."""
    path = segment(root, 0)
    rewrite(path, path.read_bytes().replace(b'"startup"', b'"STARTUP"'))


def add_lines(root: Path) -> None:
    """Lines without `_`, one of a day that has no file yet, and one of an id that is there already."""
    with segment(root, 0).open("ab") as file:
        file.write(by_hand("by-hand", START, "first") + by_hand("r001", START, "not this"))
    (root / MODEL.__name__ / "2023-12-31.jsonl").write_bytes(by_hand("other-day", "2023-12-31T01:00:00.000Z", "second"))


def add_without_newline(root: Path) -> None:
    """The last line has no newline."""
    with segment(root, 0).open("ab") as file:
        file.write(by_hand("by-hand", START, "no newline").rstrip())


def add_half_a_line(root: Path) -> None:
    """The last line is cut off in the middle."""
    with segment(root, 0).open("ab") as file:
        file.write(by_hand("by-hand", START, "half")[:30])


def sort_lines(root: Path) -> None:
    """Every file is sorted, backwards."""
    for path in (root / MODEL.__name__).glob("*.jsonl"):
        rewrite(path, b"".join(sorted(path.read_bytes().splitlines(keepends=True), reverse=True)))


def join_files(root: Path) -> None:
    """A day's lines are put at the end of another's, and its file is removed."""
    with segment(root, 2).open("ab") as file:
        file.write(segment(root, 0).read_bytes())
    segment(root, 0).unlink()


def join_before(root: Path) -> None:
    """A day's lines are put before another's."""
    rewrite(segment(root, 0), segment(root, 2).read_bytes() + segment(root, 0).read_bytes())
    segment(root, 2).unlink()


def double_lines(root: Path) -> None:
    """A day's file is copied under another day's name."""
    shutil.copy(segment(root, 1), root / MODEL.__name__ / "2024-02-01.jsonl")


def delete_file(root: Path) -> None:
    """A day's file is deleted."""
    segment(root, 1).unlink()


def delete_all(root: Path) -> None:
    """The model's folder is deleted."""
    shutil.rmtree(root / MODEL.__name__)


def end_lines_as_windows(root: Path) -> None:
    """Lines end with CR LF."""
    rewrite(segment(root, 0), segment(root, 0).read_bytes().replace(b"\n", b"\r\n"))


def add_byte_order_mark(root: Path) -> None:
    """An editor has put a BOM in front."""
    rewrite(segment(root, 0), b"\xef\xbb\xbf" + segment(root, 0).read_bytes())


def add_blank_lines(root: Path) -> None:
    """Blank lines, and some with spaces, stand between the others."""
    rewrite(segment(root, 0), b"\n \n" + segment(root, 0).read_bytes().replace(b"\n", b"\n\n\t\n"))


def spoil_a_line(root: Path) -> None:
    """A line in the middle is no JSON any more."""
    lines = segment(root, 0).read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = lines[len(lines) // 2].replace(b"}", b"]", 1)
    rewrite(segment(root, 0), b"".join(lines))


def spell_out(root: Path) -> None:
    """A tool has written every line anew with its members in another order and spaces between them."""
    lines = [json.loads(line) for line in segment(root, 0).read_bytes().splitlines()]
    rewrite(segment(root, 0), b"".join(json.dumps(dict(sorted(line.items()))).encode() + b"\n" for line in lines))


EDITS: list[Edit] = [
    edit_in_place,
    edit_same_size,
    edit_and_save,
    add_lines,
    add_without_newline,
    add_half_a_line,
    sort_lines,
    join_files,
    join_before,
    double_lines,
    delete_file,
    delete_all,
    end_lines_as_windows,
    add_byte_order_mark,
    add_blank_lines,
    spoil_a_line,
    spell_out,
]
each_edit = pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)


@each_edit
async def test_answers_follow_lines_edited_while_closed(folder: Path, caplog: pytest.LogCaptureFixture, edit: Edit) -> None:
    """At the next start reads give what the lines say, it is logged, and writes work."""
    root = folder / "data"
    await make_history(root)
    edit(root)
    expected = said(root, MODEL)
    caplog.clear()
    async with opened(root) as backend:
        assert "the index caught up with changed segments" in caplog.messages
        assert await answers(backend) == expected == said(root, MODEL)
        await assert_writes_work(backend, root)
    async with opened(root) as backend:
        assert await answers(backend) == said(root, MODEL)


@each_edit
async def test_answers_follow_lines_edited_while_open(folder: Path, caplog: pytest.LogCaptureFixture, edit: Edit) -> None:
    """An instance that has read and cached every line soon gives what the lines say now, it is logged, and writes work."""
    root = folder / "data"
    await make_history(root)
    async with opened(root) as backend:
        await answers(backend)
        edit(root)
        caplog.clear()
        await soon(partial(looked_again, backend, caplog))
        assert "the index caught up with changed segments" in caplog.messages
        await assert_follows(backend, root)
        await assert_writes_work(backend, root)


async def looked_again(backend: FileBackend, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether a read has noticed that segments had changed."""
    await backend.count(Query(MODEL))
    return "the index caught up with changed segments" in caplog.messages


@each_edit
async def test_writes_right_after_an_edit_spoil_nothing(folder: Path, edit: Edit) -> None:
    """Whichever write comes first after an edit, no line is lost to it, not even one that lacks its newline."""
    for write in ("create", "update", "delete", "delete_where", "purge"):
        root = folder / write
        await make_history(root)
        async with opened(root) as backend:
            before = said(root, MODEL)
            edit(root)
            expected = said(root, MODEL)
            still_there = [record_id for record_id in before if record_id in expected]
            target = next(
                (record_id for record_id in still_there if before[record_id]["timestamp"] < shift(START, days=1)), None
            )
            match write:
                case "create":
                    made = proven(MODEL, "made", START)
                    await backend.create(MODEL, made)
                    expected[made.id] = made.record
                case "update" if target is not None:
                    found = await backend.find_by_id(MODEL, target)
                    assert found is not None
                    expected[target] = {**found.record, "message": "updated"}
                    await backend.update(MODEL, found._replace(record=expected[target]), found.etag)
                case "delete" if target is not None:
                    await backend.delete(MODEL, target)
                    del expected[target]
                case "delete_where":
                    gone = await backend.delete_where(Query(MODEL, {"eventType": ("startup",)}, limit=1_000))
                    assert not gone.more
                    expected = said(root, MODEL)
                    assert not [record for record in expected.values() if record["eventType"] == "startup"]
                case "purge" if target is not None:
                    await backend.purge(MODEL, [target])
                    del expected[target]
            await assert_follows(backend, root)
            assert said(root, MODEL) == expected


@pytest.mark.parametrize("wipe", [False, True], ids=["over", "in-place-of"])
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
async def test_a_backup_put_back_is_what_is_there(folder: Path, *, wipe: bool, is_open: bool) -> None:
    """A copy of the whole directory, index and lock included, is the truth again once it is copied back."""
    root, backup = folder / "data", folder / "backup"
    await make_history(root)
    shutil.copytree(root, backup)
    expected = said(backup, MODEL)
    async with opened(root) as backend:
        await assert_writes_work(backend, root)
        if is_open:
            put_back(backup, root, wipe=wipe)
            await assert_follows(backend, root)
            assert await answers(backend) == expected
            await assert_writes_work(backend, root)
    if not is_open:
        put_back(backup, root, wipe=wipe)
        async with opened(root) as backend:
            assert await answers(backend) == expected
            await assert_writes_work(backend, root)


def put_back(backup: Path, root: Path, *, wipe: bool) -> None:
    """`cp -r`, over what is there or after `rm -r` of it."""
    if wipe:
        shutil.rmtree(root)
    shutil.copytree(backup, root, dirs_exist_ok=True)


async def test_instances_agree_after_a_backup_was_put_back(folder: Path) -> None:
    """Instances that were open when the directory, lock and all, was replaced exclude each other and later ones as before."""
    root, backup = folder / "data", folder / "backup"
    await make_history(root)
    shutil.copytree(root, backup)
    async with opened(root) as first:
        put_back(backup, root, wipe=True)
        async with opened(root) as second:
            locks = [instance._connected.directory.lock for instance in (first, second)]
            with locks[1].hold(), locks[0].hold(patience=0) as held:
                assert not held
            await assert_writes_work(first, root)
            await assert_follows(second, root)


async def test_a_deleted_record_does_not_come_back_by_sorting(folder: Path) -> None:
    """A tombstone wins wherever its line stands, also when the record's own line comes after it or from another day."""
    root = folder / "data"
    await make_history(root)
    async with opened(root) as backend:
        for record_id in await answers(backend):
            await backend.delete(MODEL, record_id)
    sort_lines(root)
    join_before(root)
    sort_lines(root)
    async with opened(root) as backend:
        assert await answers(backend) == {}


async def test_a_bad_line_is_told_and_stays_where_it_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the segment and what is wrong, without the line's content, and nothing is rewritten."""
    root = folder / "data"
    await make_history(root)
    spoil_a_line(root)
    content = segment(root, 0).read_bytes()
    async with opened(root) as backend:
        await answers(backend)
    [told] = [record for record in caplog.records if record.message == "lines were left out"]
    assert (told.segment, told.lines) == (f"{MODEL.__name__}/{DAYS[0]}.jsonl", 1)  # type: ignore[attr-defined]
    assert segment(root, 0).read_bytes() == content


async def test_a_deleted_record_does_not_come_back_by_compaction(folder: Path) -> None:
    """A tombstone stays as long as another file holds a line of its record, which a person may have copied there."""
    root = folder / "data"
    await make_history(root)
    double_lines(root)
    async with opened(root) as backend:
        for record_id in await answers(backend):
            await backend.delete(MODEL, record_id)
        await backend._compact(MODEL, "2024-02-01")
    shutil.rmtree(root / ".index")
    async with opened(root) as backend:
        assert await answers(backend) == said(root, MODEL) == {}
