"""Replacing and deleting records, and the etags that guard both."""

import pytest

from shared.backends.base import Backend
from shared.errors import NotFoundError, PreconditionFailedError
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog
from shared.query import Aggregation, Query
from tests.contract.steps import add, add_all, each_model, fetch, ids
from tests.support.records import make

foreign_etags = pytest.mark.parametrize("etag", ["", "*", "0", "nonsense", '"quoted"', "ünïcode", "x" * 300])


@each_model
async def test_an_update_replaces_the_record(backend: Backend, model: type[Record]) -> None:
    """After an update the record is what was given, with nothing left of before."""
    stored = await add(backend, model, make(model, metadata={"before": 1, "both": {"a": 1}}))
    changed = make.changed(stored, metadata={"both": {"b": 2}})
    updated = await backend.update(model, changed, stored.etag)
    assert updated == changed._replace(etag=updated.etag)
    assert await backend.find_by_id(model, stored.id) == updated


async def test_an_update_gives_a_new_etag(backend: Backend) -> None:
    """Every write of a record changes its etag, even one that changes nothing else."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    once = await backend.update(SystemEventLog, stored, stored.etag)
    twice = await backend.update(SystemEventLog, once, once.etag)
    assert len({stored.etag, once.etag, twice.etag}) == 3


async def test_an_etag_lasts_as_long_as_the_record_is_not_written(backend: Backend) -> None:
    """Reads and writes of other records leave an etag as it is."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await add_all(backend, SystemEventLog, make.many(SystemEventLog, 10))
    assert (await fetch(backend, SystemEventLog, stored.id)).etag == stored.etag


async def test_an_update_replaces_hidden_fields(backend: Backend) -> None:
    """What is hidden beside a record follows its update."""
    stored = await add(backend, ApiRequestLog, make(ApiRequestLog, duration=10))
    hidden = make(ApiRequestLog, duration=5000).hidden
    await backend.update(ApiRequestLog, make.changed(stored, duration=5000)._replace(hidden=hidden), stored.etag)
    assert (await fetch(backend, ApiRequestLog, stored.id)).hidden == hidden


async def test_an_update_with_a_stale_etag_is_refused(backend: Backend) -> None:
    """An update that follows another unseen one fails and changes nothing."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    updated = await backend.update(SystemEventLog, make.changed(stored, message="first"), stored.etag)
    with pytest.raises(PreconditionFailedError):
        await backend.update(SystemEventLog, make.changed(stored, message="second"), stored.etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) == updated


@foreign_etags
async def test_an_update_with_a_foreign_etag_is_refused(backend: Backend, etag: str) -> None:
    """An etag that the record never had is another etag, whatever it looks like."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    with pytest.raises(PreconditionFailedError):
        await backend.update(SystemEventLog, make.changed(stored, message="new"), etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) == stored


async def test_updating_what_is_not_there(backend: Backend) -> None:
    """An update never creates."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    other = make(SystemEventLog)
    with pytest.raises(NotFoundError):
        await backend.update(SystemEventLog, other, stored.etag)
    assert await backend.find_by_id(SystemEventLog, other.id) is None


async def test_updating_what_was_deleted(backend: Backend) -> None:
    """An update does not bring a deleted record back."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete(SystemEventLog, stored.id)
    with pytest.raises(NotFoundError):
        await backend.update(SystemEventLog, stored, stored.etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) is None


async def test_an_update_stays_within_its_model(backend: Backend) -> None:
    """A record of the same id in another model is not touched."""
    other = await add(backend, ApiRequestLog, make(ApiRequestLog, id="same"))
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert await backend.find_by_id(ApiRequestLog, "same") == other


async def test_filters_follow_an_update(backend: Backend) -> None:
    """An updated record is found by its new values and no more by its old ones."""
    model = ImageGenerationTransaction
    stored = await add(backend, model, make(model, status="pending", apiModel="one"))
    await backend.update(model, make.changed(stored, status="completed", apiModel=None), stored.etag)
    assert await backend.count(Query(model, {"status": ("completed",)})) == 1
    assert await backend.count(Query(model, {"status": ("pending",)})) == 0
    assert await backend.count(Query(model, {"apiModel": ("one",)})) == 0


async def test_aggregates_follow_an_update(backend: Backend) -> None:
    """An updated record counts once, under its new values."""
    stored = await add(backend, ApiRequestLog, make(ApiRequestLog, statusCode=500, duration=100))
    await backend.update(ApiRequestLog, make.changed(stored, statusCode=200, duration=70), stored.etag)
    [group] = await backend.aggregate(Aggregation(ApiRequestLog, group_by=("statusCode",), sums=("duration",)))
    assert (group.key, group.count, group.sums) == ((200,), 1, {"duration": 70})


async def test_many_updates_of_one_record(backend: Backend) -> None:
    """A record that was updated often is listed once, as it is now."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    for number in range(20):
        stored = await backend.update(SystemEventLog, make.changed(stored, message=str(number)), stored.etag)
    assert (await backend.find(Query(SystemEventLog))).items == [stored]


@each_model
async def test_a_deleted_record_is_gone(backend: Backend, model: type[Record]) -> None:
    """A deleted record is found neither by id nor in lists; the others stay."""
    gone, stays = await add_all(backend, model, make.many(model, 2))
    await backend.delete(model, gone.id)
    assert await backend.find_by_id(model, gone.id) is None
    assert (await backend.find(Query(model))).items == [stays]


async def test_deleting_again(backend: Backend) -> None:
    """The second delete finds nothing."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete(SystemEventLog, stored.id)
    with pytest.raises(NotFoundError):
        await backend.delete(SystemEventLog, stored.id)


@pytest.mark.parametrize("etag", [None, "1"])
async def test_deleting_what_was_never_there(backend: Backend, etag: str | None) -> None:
    """Deleting an unknown id says so, with an etag and without."""
    with pytest.raises(NotFoundError):
        await backend.delete(SystemEventLog, make(SystemEventLog).id, etag)


async def test_deleting_with_the_right_etag(backend: Backend) -> None:
    """A delete that names the current version removes it."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete(SystemEventLog, stored.id, stored.etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) is None


async def test_deleting_with_a_stale_etag_is_refused(backend: Backend) -> None:
    """A delete that names an older version removes nothing."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    updated = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    with pytest.raises(PreconditionFailedError):
        await backend.delete(SystemEventLog, stored.id, stored.etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) == updated


@foreign_etags
async def test_deleting_with_a_foreign_etag_is_refused(backend: Backend, etag: str) -> None:
    """An etag that the record never had deletes nothing, whatever it looks like."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    with pytest.raises(PreconditionFailedError):
        await backend.delete(SystemEventLog, stored.id, etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) == stored


async def test_a_delete_stays_within_its_model(backend: Backend) -> None:
    """A record of the same id in another model stays."""
    other = await add(backend, ApiRequestLog, make(ApiRequestLog, id="same"))
    await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    await backend.delete(SystemEventLog, "same")
    assert await backend.find_by_id(ApiRequestLog, "same") == other


@pytest.mark.parametrize("timestamp", ["2023-12-01T00:00:00.000Z", "2024-01-01T12:00:00.000Z", "2024-03-01T00:00:00.000Z"])
async def test_an_id_is_free_after_a_delete(backend: Backend, timestamp: str) -> None:
    """A deleted id can be created anew, on an earlier, the same or a later day."""
    await add(backend, SystemEventLog, make(SystemEventLog, id="again", timestamp="2024-01-01T12:00:00.000Z"))
    await backend.delete(SystemEventLog, "again")
    anew = await add(backend, SystemEventLog, make(SystemEventLog, id="again", timestamp=timestamp))
    assert await backend.find_by_id(SystemEventLog, "again") == anew
    assert (await backend.find(Query(SystemEventLog))).items == [anew]


async def test_the_etag_after_a_delete_is_another(backend: Backend) -> None:
    """The same record created anew is not the version that was deleted."""
    given = make(SystemEventLog)
    etags = set()
    for _ in range(3):
        etags.add((await add(backend, SystemEventLog, given)).etag)
        await backend.delete(SystemEventLog, given.id)
    assert len(etags) == 3


async def test_an_etag_from_before_a_delete_is_stale(backend: Backend) -> None:
    """An update that saw the deleted record does not change the new one."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.delete(SystemEventLog, stored.id)
    anew = await add(backend, SystemEventLog, stored)
    with pytest.raises(PreconditionFailedError):
        await backend.update(SystemEventLog, make.changed(stored, message="late"), stored.etag)
    assert await backend.find_by_id(SystemEventLog, stored.id) == anew


async def test_deleting_every_second_record(backend: Backend) -> None:
    """Deletes among many records leave the others in their order."""
    stored = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 20))
    for record in stored[::2]:
        await backend.delete(SystemEventLog, record.id)
    assert ids((await backend.find(Query(SystemEventLog, descending=False, limit=20))).items) == ids(stored[1::2])
