"""Figures about the store as a whole, and whether it answers."""

from shared import jsontext
from shared.backends.base import Backend, ModelStats
from shared.models import MODELS, ImageGenerationTransaction, Record, State, SystemEventLog
from shared.query import Query
from tests.contract.steps import add, add_all, each_model, ids
from tests.support.records import make


async def figures(backend: Backend, model: type[Record]) -> ModelStats:
    """A model's figures."""
    return (await backend.get_stats()).models[model.__name__]


async def test_every_model_has_figures(backend: Backend) -> None:
    """All models are told of by name, empty ones too."""
    stats = await backend.get_stats()
    assert {name: (model.count, model.last_modified) for name, model in stats.models.items()} == dict.fromkeys(
        MODELS, (0, None)
    )


@each_model
async def test_counts_follow_creates(backend: Backend, model: type[Record]) -> None:
    """A model's count is of its own records, duplicates counted once."""
    given = make.many(model, 5)
    await add_all(backend, model, given)
    await backend.create_many(model, given)
    stats = await backend.get_stats()
    assert {name: figure.count for name, figure in stats.models.items()} == {**dict.fromkeys(MODELS, 0), model.__name__: 5}


async def test_counts_follow_deletes(backend: Backend) -> None:
    """Deleted, removed and purged records no longer count."""
    stored = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 10))
    await backend.delete(SystemEventLog, stored[0].id)
    await backend.delete_where(Query(SystemEventLog, limit=2))
    await backend.purge(SystemEventLog, ids(stored[1:4]))
    assert (await figures(backend, SystemEventLog)).count == 4


async def test_counts_do_not_follow_updates(backend: Backend) -> None:
    """An updated record is still one."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert (await figures(backend, SystemEventLog)).count == 1


async def test_last_modified_is_the_greatest(backend: Backend) -> None:
    """The time of the last change is the greatest `updatedAt`, whatever the timestamps and the order of arrival."""
    latest = make(SystemEventLog, updatedAt="2024-05-05T05:05:05.005Z", timestamp="2020-01-01T00:00:00.000Z")
    await add_all(backend, SystemEventLog, [make(SystemEventLog), latest, make(SystemEventLog)])
    assert (await figures(backend, SystemEventLog)).last_modified == "2024-05-05T05:05:05.005Z"


async def test_last_modified_follows_updates(backend: Backend) -> None:
    """An update of an old record is the last change."""
    old, _ = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
    changed = make.changed(old, message="new")
    await backend.update(SystemEventLog, changed, old.etag)
    assert (await figures(backend, SystemEventLog)).last_modified == changed.record["updatedAt"]


async def test_last_modified_of_what_is_left(backend: Backend) -> None:
    """The time of the last change is that of a record which is there, None when none is."""
    first, second = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
    await backend.delete(SystemEventLog, second.id)
    assert (await figures(backend, SystemEventLog)).last_modified == first.record["updatedAt"]
    await backend.delete(SystemEventLog, first.id)
    assert (await figures(backend, SystemEventLog)).last_modified is None


async def test_figures_can_be_sent(backend: Backend) -> None:
    """What a backend tells of its storage, cache and pool are JSON values by camelCase names."""
    await add(backend, ImageGenerationTransaction, make(ImageGenerationTransaction))
    stats = await backend.get_stats()
    for part in (stats.storage, stats.cache, stats.pool):
        assert jsontext.dumps(dict(part or {}))
        assert all(name.isalnum() and name[0].islower() for name in part or {})


async def test_sizes_are_plausible(backend: Backend) -> None:
    """Where the bytes of a model are known, they are not fewer than its records have compressed."""
    await add(backend, State, make(State, data={"text": "x" * 100_000}))
    size = (await figures(backend, State)).size_bytes
    assert size is None or size > 1_000


async def test_health(backend: Backend) -> None:
    """A connected backend answers."""
    await backend.health()
