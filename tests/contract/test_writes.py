"""Creating records: one at a time, many at a time, and as they were elsewhere."""

from typing import cast

import pytest

from shared.backends.base import Backend, Outcome
from shared.errors import InvalidError, ThrottledError
from shared.models import MODELS, ImageGenerationTransaction, Record, State, SystemEventLog
from shared.query import Hidden, Query, Stored
from tests.contract.steps import add, add_all, each_model, fetch, ids, kept
from tests.support.records import make

Writer = pytest.mark.parametrize("write", ["create_many", "put_raw"])


async def write_many(backend: Backend, write: str, model: type[Record], records: list[Stored]) -> list[Outcome]:
    """Store by the method of that name."""
    method = backend.create_many if write == "create_many" else backend.put_raw
    return await method(model, records)


@each_model
async def test_a_created_record_is_found_as_it_was_given(backend: Backend, model: type[Record]) -> None:
    """Every field of a record comes back as it went in."""
    given = make.full(model)
    await add(backend, model, given)
    assert (await fetch(backend, model, given.id)).record == given.record


@each_model
async def test_a_record_of_required_fields_only(backend: Backend, model: type[Record]) -> None:
    """No field is added to a record that has only the required ones."""
    given = make(model)
    await add(backend, model, given)
    assert (await fetch(backend, model, given.id)).record == given.record


@each_model
async def test_hidden_fields_come_back(backend: Backend, model: type[Record]) -> None:
    """Content hash, privacy version and buckets are kept beside the record."""
    given = make.full(model)
    await add(backend, model, given)
    assert (await fetch(backend, model, given.id)).hidden == given.hidden


async def test_hidden_fields_come_back_in_lists(backend: Backend) -> None:
    """A page's records carry what is hidden beside them, and not inside them."""
    given = make.full(ImageGenerationTransaction)
    await add(backend, ImageGenerationTransaction, given)
    [item] = (await backend.find(Query(ImageGenerationTransaction))).items
    assert (item.record, item.hidden) == (given.record, given.hidden)


async def test_a_record_without_hidden_fields(backend: Backend) -> None:
    """A record with nothing hidden beside it comes back with nothing hidden."""
    given = make(SystemEventLog, Hidden())
    await add(backend, SystemEventLog, given)
    assert (await fetch(backend, SystemEventLog, given.id)).hidden == Hidden()


async def test_create_gives_what_is_stored(backend: Backend) -> None:
    """The outcome of a create is the record as it is then found, etag included."""
    given = make.full(ImageGenerationTransaction)
    stored = await add(backend, ImageGenerationTransaction, given)
    assert stored == given._replace(etag=stored.etag)
    assert await backend.find_by_id(ImageGenerationTransaction, given.id) == stored


async def test_lists_carry_the_same_etag(backend: Backend) -> None:
    """A record has one etag, however it is read."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    [item] = (await backend.find(Query(SystemEventLog))).items
    assert item == stored


async def test_an_id_that_was_never_stored(backend: Backend) -> None:
    """Reading an unknown id gives None."""
    await add(backend, SystemEventLog, make(SystemEventLog))
    assert await backend.find_by_id(SystemEventLog, make(SystemEventLog).id) is None


async def test_an_existing_id_is_left_alone(backend: Backend) -> None:
    """Creating an id again writes nothing and gives the stored record."""
    first = await add(backend, SystemEventLog, make(SystemEventLog, id="same", message="first"))
    outcome = await backend.create(SystemEventLog, make(SystemEventLog, id="same", message="second"))
    assert outcome.existed
    assert kept(outcome) == first
    assert await backend.find_by_id(SystemEventLog, "same") == first


async def test_an_existing_id_on_another_day(backend: Backend) -> None:
    """An id is taken whatever the timestamp of the record that comes later."""
    first = await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    later = make(SystemEventLog, id="same", timestamp="2025-06-01T00:00:00.000Z")
    outcome = await backend.create(SystemEventLog, later)
    assert outcome.existed
    assert kept(outcome) == first


async def test_ids_are_unique_per_model_only(backend: Backend) -> None:
    """Each model may have a record of the same id."""
    given = {model: make(model, id="same") for model in MODELS.values()}
    for model, record in given.items():
        await add(backend, model, record)
    assert {model: (await fetch(backend, model, "same")).record for model in given} == {
        model: record.record for model, record in given.items()
    }


async def test_create_raises_the_error_of_its_outcome() -> None:
    """A create that could not be written raises why."""

    class Busy:
        async def create_many(self, model: type[Record], records: list[Stored]) -> list[Outcome]:
            return [Outcome(error=ThrottledError("slow down", retry_after=3)) for _ in records]

    with pytest.raises(ThrottledError, match="slow down"):
        await Backend.create(cast("Backend", Busy()), State, make(State))


@Writer
async def test_no_records_have_no_outcomes(backend: Backend, write: str) -> None:
    """An empty batch is no error."""
    assert await write_many(backend, write, SystemEventLog, []) == []


@Writer
async def test_outcomes_stand_in_the_order_given(backend: Backend, write: str) -> None:
    """Whatever the times and ids, the outcomes follow the records."""
    given = make.many(SystemEventLog, 50)
    shuffled = given[::3] + given[2::3] + given[1::3]
    outcomes = await write_many(backend, write, SystemEventLog, shuffled)
    assert [kept(outcome).record for outcome in outcomes] == [stored.record for stored in shuffled]


@Writer
async def test_the_first_of_an_id_in_a_batch_wins(backend: Backend, write: str) -> None:
    """An id twice in a batch: the second finds the first."""
    first, second = make(SystemEventLog, id="same", message="first"), make(SystemEventLog, id="same", message="second")
    outcomes = await write_many(backend, write, SystemEventLog, [first, make(SystemEventLog), second])
    assert [outcome.existed for outcome in outcomes] == [False, False, True]
    assert kept(outcomes[2]) == kept(outcomes[0])
    assert (await fetch(backend, SystemEventLog, "same")).record["message"] == "first"


@Writer
async def test_existing_ids_do_not_keep_the_others_out(backend: Backend, write: str) -> None:
    """New records of a batch are stored, those that exist are given back."""
    there = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 5))
    new = make.many(SystemEventLog, 5)
    again = [make.changed(stored, message="again") for stored in there]
    mixed = [item for pair in zip(new, again, strict=True) for item in pair]
    outcomes = await write_many(backend, write, SystemEventLog, mixed)
    assert [outcome.existed for outcome in outcomes] == [False, True] * 5
    assert [kept(outcome) for outcome in outcomes[1::2]] == there
    assert await backend.count(Query(SystemEventLog)) == 10


@Writer
async def test_a_taken_id_twice_in_a_batch(backend: Backend, write: str) -> None:
    """Both find the record that was there before."""
    there = await add(backend, SystemEventLog, make(SystemEventLog, id="same"))
    outcomes = await write_many(backend, write, SystemEventLog, make.many(SystemEventLog, 2, id="same"))
    assert [(outcome.existed, kept(outcome)) for outcome in outcomes] == [(True, there)] * 2


async def test_a_full_batch(backend: Backend) -> None:
    """A thousand records go in at once, each with an outcome."""
    stored = await add_all(backend, ImageGenerationTransaction, make.many(ImageGenerationTransaction, 1_000))
    page = await backend.find(Query(ImageGenerationTransaction, descending=False, limit=1_000))
    assert page.items == stored


async def test_a_batch_over_many_days(backend: Backend) -> None:
    """Records of one batch may lie any number of days apart."""
    given = [
        make(SystemEventLog, timestamp=f"20{year:02}-{month:02}-15T00:00:00.000Z")
        for year in range(20, 26)
        for month in range(1, 13)
    ]
    await add_all(backend, SystemEventLog, given)
    assert ids((await backend.find(Query(SystemEventLog, descending=False, limit=100))).items) == ids(given)


@each_model
async def test_put_raw_keeps_records_as_they_are(backend: Backend, model: type[Record]) -> None:
    """The server's fields and the hidden ones are stored as given."""
    moments = {"createdAt": "2020-02-02T02:02:02.002Z", "updatedAt": "2021-03-03T03:03:03.003Z"}
    given = make.full(model, **moments)
    [outcome] = await backend.put_raw(model, [given])
    found = await fetch(backend, model, given.id)
    assert not outcome.existed
    assert found == given._replace(etag=kept(outcome).etag)


HIDDEN = {
    "nothing": Hidden(),
    "hash-only": Hidden("0" * 64),
    "implied": Hidden("implicit"),
    "version-only": Hidden(None, "2-hash-ffffffff"),
    "empty-texts": Hidden("", ""),
    "odd-texts": Hidden("🦊'\"\\%", "_$.\n"),
    "long-texts": Hidden("h" * 1_000, "v" * 1_000),
    "buckets-only": Hidden(buckets={"totalDuration": 0}),
    "least-and-greatest": Hidden(buckets={"totalDuration": -1_000, "imageProcessingDuration": 2**31 - 1}),
    "without-durations": Hidden("f" * 64, "1-drop-00000000", {"promptEnhancementDuration": 207}),
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
async def test_put_raw_keeps_what_is_hidden(backend: Backend, hidden: Hidden) -> None:
    """Hash, version and buckets stay exactly as given, whether or not they follow from the record, through an update too."""
    given = make(ImageGenerationTransaction, hidden)
    [outcome] = await backend.put_raw(ImageGenerationTransaction, [given])
    stored = kept(outcome)
    assert stored.hidden == hidden
    assert await backend.find_by_id(ImageGenerationTransaction, given.id) == stored
    assert (await backend.find(Query(ImageGenerationTransaction))).items == [stored]
    updated = await backend.update(ImageGenerationTransaction, make.changed(stored, status="failed"), stored.etag)
    assert (await fetch(backend, ImageGenerationTransaction, given.id)) == updated
    assert updated.hidden == hidden


async def test_put_raw_of_a_full_batch(backend: Backend) -> None:
    """A thousand records of all kinds of hidden fields come back each with its own."""
    hidden = [*HIDDEN.values()]
    given = [make(ImageGenerationTransaction, hidden[n % len(hidden)]) for n in range(1_000)]
    outcomes = await backend.put_raw(ImageGenerationTransaction, given)
    page = await backend.find(Query(ImageGenerationTransaction, descending=False, limit=1_000))
    assert page.items == [kept(outcome) for outcome in outcomes]
    assert [(item.record, item.hidden) for item in page.items] == [(stored.record, stored.hidden) for stored in given]


async def test_put_raw_and_create_see_each_other(backend: Backend) -> None:
    """An id that was put is taken for a create, and the other way round."""
    put = make(SystemEventLog, id="put")
    await backend.put_raw(SystemEventLog, [put])
    created = await add(backend, SystemEventLog, make(SystemEventLog, id="created"))
    outcome = await backend.create(SystemEventLog, make(SystemEventLog, id="put"))
    [raw] = await backend.put_raw(SystemEventLog, [make(SystemEventLog, id="created")])
    assert outcome.existed
    assert kept(outcome).record == put.record
    assert raw == Outcome(created, existed=True)


async def test_a_caller_may_change_what_it_gave(backend: Backend) -> None:
    """What is stored does not follow changes to the object that was given."""
    given = make(SystemEventLog, id="mine", metadata={"list": [1]})
    await add(backend, SystemEventLog, given)
    given.record["metadata"]["list"].append(2)
    assert (await fetch(backend, SystemEventLog, "mine")).record["metadata"] == {"list": [1]}


async def test_a_caller_may_change_what_it_got(backend: Backend) -> None:
    """What is stored does not follow changes to an object that was read."""
    await add(backend, SystemEventLog, make(SystemEventLog, id="mine", metadata={"list": [1]}))
    for _ in range(2):
        found = await fetch(backend, SystemEventLog, "mine")
        found.record["metadata"]["list"].append(2)
    assert (await fetch(backend, SystemEventLog, "mine")).record["metadata"] == {"list": [1]}


@pytest.mark.parametrize("unwritable", ["\ud800", {"a": "\udfff"}], ids=ascii)
async def test_a_record_that_is_no_json(backend: Backend, unwritable: object) -> None:
    """It is refused by itself, whatever stands beside it in the batch, and nothing of it is stored."""
    given = make.many(SystemEventLog, 3)
    given[1] = make.changed(given[1], metadata={"value": unwritable})
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [type(outcome.error) for outcome in outcomes] == [type(None), InvalidError, type(None)]
    assert await backend.count(Query(SystemEventLog)) == 2
