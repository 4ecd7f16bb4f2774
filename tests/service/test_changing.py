"""Changing and deleting records while others do the same."""

import asyncio

import pytest

from shared.errors import ConflictError, NotFoundError, PreconditionFailedError
from shared.etags import Condition, read_condition
from shared.models import ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.service import DatabaseService
from tests.service.parts import Clock, FaultyBackend, event, transaction


def condition(tag: str) -> Condition:
    read = read_condition("If-Match", tag)
    assert read is not None
    return read


async def test_patches_of_different_fields_all_arrive(service: DatabaseService) -> None:
    """Without a condition a patch is tried again when another one came first."""
    await service.create(SystemEventLog, event(id="e"))
    await asyncio.gather(*(service.update(SystemEventLog, "e", {"metadata": {f"k{n}": n}}) for n in range(8)))
    assert (await service.get(SystemEventLog, "e")).record["metadata"] == {f"k{n}": n for n in range(8)}


async def test_of_several_with_the_same_condition_one_wins(service: DatabaseService) -> None:
    """With If-Match a patch of an older version fails."""
    tag = condition((await service.create(SystemEventLog, event(id="e"))).etag)
    results = await asyncio.gather(
        *(service.update(SystemEventLog, "e", {"message": str(n)}, tag) for n in range(5)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, PreconditionFailedError) for result in results) == 4


async def test_an_equal_patch_writes_nothing(service: DatabaseService, clock: Clock) -> None:
    """UpdatedAt and the version stay when nothing changes."""
    written = await service.create(SystemEventLog, event(id="e"))
    clock.turn(hours=1)
    updated = await service.update(SystemEventLog, "e", {"message": "ready"})
    assert not updated.changed
    assert updated.etag == written.etag
    assert (await service.get(SystemEventLog, "e")).record == written.record


async def test_updated_at_never_goes_back(service: DatabaseService, clock: Clock) -> None:
    """A clock that was set back leaves the last change's time."""
    written = await service.create(SystemEventLog, event(id="e"))
    clock.turn(hours=-5)
    updated = await service.update(SystemEventLog, "e", {"message": "changed"})
    assert updated.record["updatedAt"] == written.record["updatedAt"]


async def test_there_is_nothing_to_change_where_there_is_no_record(service: DatabaseService) -> None:
    """An unknown or impossible id is not found, whatever the condition."""
    for record_id in ("none", "../x", "x" * 200):
        with pytest.raises(NotFoundError):
            await service.update(SystemEventLog, record_id, {}, condition("*"))
        with pytest.raises(NotFoundError):
            await service.get(SystemEventLog, record_id)


async def test_a_delete_with_an_old_version_fails(service: DatabaseService) -> None:
    """If-Match protects from deleting what has changed."""
    old = condition((await service.create(SystemEventLog, event(id="e"))).etag)
    updated = await service.update(SystemEventLog, "e", {"message": "changed"})
    with pytest.raises(PreconditionFailedError):
        await service.delete(SystemEventLog, "e", old)
    await service.delete(SystemEventLog, "e", condition(updated.etag))


async def test_a_session_with_records_is_not_deleted(service: DatabaseService) -> None:
    """That would be an erasure; without its records the session can go."""
    await service.create(ImageGenerationTransaction, transaction(id="t", sessionId="s"))
    with pytest.raises(ConflictError, match="has records"):
        await service.delete(UserSession, "s")
    await service.delete(ImageGenerationTransaction, "t")
    await service.delete(UserSession, "s")
    with pytest.raises(NotFoundError):
        await service.get(UserSession, "s")


async def test_a_deleted_session_comes_back_with_its_next_record(service: DatabaseService) -> None:
    """The process that deleted it does not believe it is still there."""
    await service.create(SystemEventLog, event(id="e", sessionId="s"))
    await service.delete(SystemEventLog, "e")
    await service.delete(UserSession, "s")
    await service.create(SystemEventLog, event(sessionId="s"))
    await service.get(UserSession, "s")


async def test_a_session_may_be_sent_back_with_its_counters(service: DatabaseService) -> None:
    """Derived fields may be repeated as they were read, not changed."""
    await service.create(ImageGenerationTransaction, transaction(sessionId="s"))
    read = (await service.get(UserSession, "s")).record
    updated = await service.update(UserSession, "s", {**read, "country": "NL"})
    assert updated.changed
    assert "totalRequests" not in (await service._backend.find_by_id(UserSession, "s")).record  # type: ignore[union-attr]


async def test_a_record_that_comes_in_while_its_session_goes_has_one(
    service: DatabaseService, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is put back as its record implies it, without what was deleted of it."""
    await service.create(UserSession, {"id": "s", "userAgent": "Firefox", "country": "NL"})
    delete = backend.delete

    async def record_first(model: type[Record], record_id: str, etag: str | None = None) -> None:
        await service.create(SystemEventLog, event(sessionId="s"))
        await delete(model, record_id, etag)

    monkeypatch.setattr(backend, "delete", record_first)
    await service.delete(UserSession, "s")
    session = (await service.get(UserSession, "s")).record
    assert (session["userAgent"], session.get("country")) == ("Firefox", None)
