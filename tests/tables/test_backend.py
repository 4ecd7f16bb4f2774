"""What the backend leaves in the tables, and who gets an id that several want."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest
from azure.core.exceptions import ResourceExistsError

from shared.backends.tables.backend import TablesBackend
from shared.backends.tables.entities import Claim, write_claim, write_fence, write_record
from shared.backends.tables.keys import claim_place, record_place
from shared.errors import ConfigurationError, PreconditionFailedError, UnavailableError
from shared.ids import mint_id
from shared.models import ImageGenerationTransaction, SystemEventLog
from shared.query import Aggregation, Key, Query, Stored
from tests.contract.steps import add, add_all, each_order, fetch, ids, kept, walk
from tests.servers.tools import free_port
from tests.support.records import START, make
from tests.tables.conftest import Bench
from tests.tables.test_scanning import one_sided_events

LATER = "2024-02-01T00:00:00.000Z"
EARLIER = "2023-11-01T00:00:00.000Z"


async def claim(bench: Bench, record_id: str, timestamp: str) -> None:
    """Leave a claim as a create does that was cut short after it."""
    table = await bench.table(SystemEventLog)
    await table.create_entity(write_claim(claim_place(record_id), Claim(timestamp), "theirs"))


async def test_a_minted_id_is_one_entity(bench: Bench, backend: TablesBackend) -> None:
    """A record whose id says its time is stored in one insert, with no claim beside it."""
    await add(backend, SystemEventLog, make(SystemEventLog))
    assert len(await bench.entities(SystemEventLog)) == 1


async def test_a_client_s_id_is_two_entities(bench: Bench, backend: TablesBackend) -> None:
    """Any other id has a claim, and both go with a delete."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id="mine"))
    assert len(await bench.entities(SystemEventLog)) == 2
    await backend.delete(SystemEventLog, "mine", stored.etag)
    assert await bench.entities(SystemEventLog) == []


async def test_bounded_removal_takes_the_claims(bench: Bench, backend: TablesBackend) -> None:
    """Nothing is left of removed records, whatever their ids."""
    own = mint_id(LATER, None, bytes)
    await add_all(backend, SystemEventLog, [make(SystemEventLog, id=name) for name in ("a", "b", own)])
    assert (await backend.delete_where(Query(SystemEventLog, descending=False, limit=10))).count == 3
    assert await bench.entities(SystemEventLog) == []


async def test_a_claim_without_a_record_is_no_record(bench: Bench, backend: TablesBackend) -> None:
    """An id whose create was cut short is absent, and stays out of lists and counts."""
    await backend.count(Query(SystemEventLog))
    for record_id in ("cut-short", mint_id(LATER, None, bytes)):
        await claim(bench, record_id, START)
        assert await backend.find_by_id(SystemEventLog, record_id) is None
    assert (await backend.find(Query(SystemEventLog))).items == []
    assert await backend.count(Query(SystemEventLog)) == 0
    assert (await backend.get_stats()).models["SystemEventLog"].count == 0


@pytest.mark.parametrize("record_id", ["mine", mint_id(LATER, None, bytes), mint_id(START, None, bytes)])
@pytest.mark.parametrize("timestamp", [START, LATER])
async def test_a_claim_without_a_record_is_taken_over(
    bench: Bench, backend: TablesBackend, record_id: str, timestamp: str
) -> None:
    """The next create of the id is new, whichever time the one that was cut short had."""
    await backend.count(Query(SystemEventLog))
    await claim(bench, record_id, EARLIER)
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id=record_id, timestamp=timestamp))
    assert await fetch(backend, SystemEventLog, record_id) == stored
    assert (await backend.find(Query(SystemEventLog))).items == [stored]


async def test_a_create_that_comes_too_late(bench: Bench, backend: TablesBackend) -> None:
    """A create that lost its claim can't store its record any more, and is given the one that exists."""
    late = make(SystemEventLog, id="mine", timestamp=EARLIER)
    await backend.count(Query(SystemEventLog))
    await claim(bench, "mine", EARLIER)
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id="mine", timestamp=LATER))
    table = await bench.table(SystemEventLog)
    with pytest.raises(ResourceExistsError):
        await table.create_entity(write_record(SystemEventLog, late, "late"))
    outcome = await backend.create(SystemEventLog, late)
    assert outcome.existed
    assert kept(outcome) == stored
    assert ids((await backend.find(Query(SystemEventLog))).items) == ["mine"]


async def test_a_time_that_was_fenced_is_free_again(bench: Bench, backend: TablesBackend) -> None:
    """After the record that took the id is deleted, the time that was kept out can be stored."""
    await backend.count(Query(SystemEventLog))
    await claim(bench, "mine", EARLIER)
    await add(backend, SystemEventLog, make(SystemEventLog, id="mine", timestamp=LATER))
    await backend.delete(SystemEventLog, "mine")
    stored = await add(backend, SystemEventLog, make(SystemEventLog, id="mine", timestamp=EARLIER))
    assert await fetch(backend, SystemEventLog, "mine") == stored


async def test_a_purge_leaves_nothing_of_an_id(bench: Bench, backend: TablesBackend) -> None:
    """Claims and fences go with the record, and a claim that is left over goes too."""
    await backend.count(Query(SystemEventLog))
    await claim(bench, "mine", EARLIER)
    await claim(bench, "cut-short", EARLIER)
    await add(backend, SystemEventLog, make(SystemEventLog, id="mine", timestamp=LATER))
    assert await backend.purge(SystemEventLog, ["mine", "cut-short", "never"]) == 1
    assert await bench.entities(SystemEventLog) == []


async def test_a_purge_takes_a_fence_at_the_claim_s_own_time(bench: Bench, backend: TablesBackend) -> None:
    """What a create leaves that was cut short between fence and claim goes too."""
    await backend.count(Query(SystemEventLog))
    await claim(bench, "mine", EARLIER)
    table = await bench.table(SystemEventLog)
    await table.create_entity(write_fence(record_place(Key(EARLIER, "mine")), "theirs"))
    assert await backend.purge(SystemEventLog, ["mine"]) == 0
    assert await bench.entities(SystemEventLog) == []


OWN = mint_id(LATER, None, bytes)
each_taker = pytest.mark.parametrize("record_id", ["mine", OWN], ids=["claimed", "own-claim"])
each_removal = pytest.mark.parametrize(
    "remove",
    [
        lambda backend, record_id: backend.delete(SystemEventLog, record_id),
        lambda backend, _: backend.delete_where(Query(SystemEventLog)),
        lambda backend, record_id: backend.purge(SystemEventLog, [record_id]),
    ],
    ids=["delete", "delete_where", "purge"],
)
Removal = Callable[[TablesBackend, str], Awaitable[object]]


async def contend(bench: Bench, backend: TablesBackend, record_id: str) -> Stored:
    """Store a record that takes its id over from a create that may still be on its way, and puts a fence."""
    await backend.count(Query(SystemEventLog))
    await claim(bench, record_id, EARLIER)
    return await add(backend, SystemEventLog, make(SystemEventLog, id=record_id, timestamp=LATER))


@each_taker
@each_removal
async def test_nothing_is_left_once_creates_are_settled(
    bench: Bench, backend: TablesBackend, record_id: str, remove: Removal
) -> None:
    """Whichever way a record goes, the claim and the fences that creates left which met go with it."""
    stored = await contend(bench, backend, record_id)
    await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    await remove(await bench.open(settled_seconds=0.0), record_id)
    assert await bench.entities(SystemEventLog) == []


@each_taker
async def test_what_may_come_late_is_kept_out_after_a_delete(bench: Bench, backend: TablesBackend, record_id: str) -> None:
    """Claim and fence stay as long as the create that they keep out may come; a purge takes them."""
    stored = await contend(bench, backend, record_id)
    await backend.delete(SystemEventLog, record_id, stored.etag)
    assert await backend.find_by_id(SystemEventLog, record_id) is None
    assert len(await bench.entities(SystemEventLog)) == 2
    table = await bench.table(SystemEventLog)
    late = make(SystemEventLog, id=record_id, timestamp=EARLIER)
    with pytest.raises(ResourceExistsError):
        await table.create_entity(write_record(SystemEventLog, late, "late"))
    again = await add(backend, SystemEventLog, make(SystemEventLog, id=record_id, timestamp=START))
    assert (await backend.find(Query(SystemEventLog))).items == [again]
    assert (await backend.delete_where(Query(SystemEventLog))).count == 1
    assert await backend.purge(SystemEventLog, [record_id]) == 0
    assert await bench.entities(SystemEventLog) == []


@each_taker
async def test_etags_of_a_record_that_names_fences(bench: Bench, backend: TablesBackend, record_id: str) -> None:
    """It has one etag however it is read, and an update or a delete with another is refused."""
    stored = await contend(bench, backend, record_id)
    assert await fetch(backend, SystemEventLog, record_id) == stored
    updated = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
    assert (await backend.find(Query(SystemEventLog))).items == [updated]
    with pytest.raises(PreconditionFailedError):
        await backend.update(SystemEventLog, make.changed(stored, message="newer"), stored.etag)
    with pytest.raises(PreconditionFailedError):
        await backend.delete(SystemEventLog, record_id, stored.etag)
    assert await fetch(backend, SystemEventLog, record_id) == updated


@each_taker
async def test_a_settled_claim_is_taken_over_at_once(bench: Bench, backend: TablesBackend, record_id: str) -> None:
    """A claim whose create has come to an end is waited for by none, and fenced by none, however often the id goes round."""
    await backend.count(Query(SystemEventLog))
    settled = await bench.open(settled_seconds=0.0)
    await claim(bench, record_id, EARLIER)
    started = time.monotonic()
    for timestamp in (LATER, START, LATER):
        await add(settled, SystemEventLog, make(SystemEventLog, id=record_id, timestamp=timestamp))
        assert len(await bench.entities(SystemEventLog)) <= 2
        await settled.delete(SystemEventLog, record_id)
        assert await bench.entities(SystemEventLog) == []
    assert time.monotonic() - started < 1


async def test_creates_and_purges_of_one_id(bench: Bench) -> None:
    """Whatever creates and purges at once leave, a record is listed exactly when it is found by its id."""
    backends = [await bench.open() for _ in range(2)]

    async def create(n: int) -> None:
        timestamp = (START, LATER)[n % 2]
        await backends[n % 2].create(SystemEventLog, make(SystemEventLog, id="mine", timestamp=timestamp))

    async def purge(n: int) -> None:
        await backends[n % 2].purge(SystemEventLog, ["mine"])

    for _ in range(4):
        await asyncio.gather(*(work(n) for n in range(4) for work in (create, purge)))
        listed = (await backends[0].find(Query(SystemEventLog))).items
        found = await backends[1].find_by_id(SystemEventLog, "mine")
        assert listed == ([] if found is None else [found])


async def test_many_want_one_id_at_many_times(bench: Bench) -> None:
    """Of creates of one id with other timestamps, one that says its own time among them, one is new."""
    record_id = mint_id(START, None, bytes)
    backends = [await bench.open() for _ in range(3)]
    given = [make(SystemEventLog, id=record_id, timestamp=timestamp) for timestamp in (START, EARLIER, LATER) * 5]
    outcomes = await asyncio.gather(*(backends[n % 3].create(SystemEventLog, stored) for n, stored in enumerate(given)))
    assert [outcome.existed for outcome in outcomes].count(False) == 1
    assert len({kept(outcome).timestamp for outcome in outcomes}) == 1
    assert ids(await walk(backends[0], Query(SystemEventLog))) == [record_id]


async def test_creates_and_deletes_of_one_id(bench: Bench) -> None:
    """Whatever creates and deletes at once leave, a record is listed exactly when it is found by its id."""
    backends = [await bench.open() for _ in range(2)]

    async def create(n: int) -> None:
        await backends[n % 2].create(SystemEventLog, make(SystemEventLog, id="mine"))

    async def delete(n: int) -> None:
        await backends[n % 2].delete_where(Query(SystemEventLog))

    for _ in range(4):
        await asyncio.gather(*(work(n) for n in range(4) for work in (create, delete)))
        listed = (await backends[0].find(Query(SystemEventLog))).items
        found = await backends[1].find_by_id(SystemEventLog, "mine")
        assert listed == ([] if found is None else [found])


async def test_a_batch_sent_again(backend: TablesBackend) -> None:
    """A batch whose records all exist but one is settled in order."""
    given = [make(SystemEventLog, id=f"mine-{n}") if n % 2 else make(SystemEventLog) for n in range(60)]
    await add_all(backend, SystemEventLog, given[:59])
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [outcome.existed for outcome in outcomes] == [True] * 59 + [False]
    assert [kept(outcome).id for outcome in outcomes] == ids(given)


async def test_a_foreign_entity_is_left_out(bench: Bench, backend: TablesBackend) -> None:
    """What someone else put into a table is no record, and disturbs no list."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    table = await bench.table(SystemEventLog)
    await table.create_entity({"PartitionKey": "0_0000000", "RowKey": "notes", "text": "hello"})
    await table.create_entity({"PartitionKey": "theirs", "RowKey": "notes"})
    assert (await backend.find(Query(SystemEventLog))).items == [stored]
    assert await backend.count(Query(SystemEventLog)) == 1


@each_order
async def test_pages_that_end_early(bench: Bench, *, descending: bool) -> None:
    """Pages of few calls give each record once, though all that match are in one bucket."""
    backend = await bench.open(max_calls=12)
    given = await add_all(backend, SystemEventLog, one_sided_events(120, 60_000, 1))
    warnings = [stored for stored in given if stored.record["level"] == "warn"]
    query = Query(SystemEventLog, {"level": ("warn",)}, since=START, until=LATER, descending=descending, limit=25)
    assert await walk(backend, query) == warnings[:: -1 if descending else 1]


async def test_a_record_that_cannot_be_read(bench: Bench, backend: TablesBackend, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out and logged, and ends neither the list nor a read by id."""
    given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 3))
    table = await bench.table(SystemEventLog)
    for stored, change in ((given[2], {"Record0": "{"}), (given[1], {"Bucket_theirs": "many"})):
        place = record_place(stored.key)
        await table.update_entity({"PartitionKey": place.partition, "RowKey": place.row, **change}, mode="merge")
        assert await backend.find_by_id(SystemEventLog, stored.id) is None
    for descending in (True, False):
        assert ids(await walk(backend, Query(SystemEventLog, descending=descending, limit=1))) == [given[0].id]
    assert given[2].id in {getattr(record, "record_id", None) for record in caplog.records}


async def test_filters_on_characters_that_the_service_refuses(bench: Bench, backend: TablesBackend) -> None:
    """They are stored escaped where they are compared, and texts that look like it are told apart."""
    values = ["a\uffff", "a\\uffff", "\x01", "\\", "\\\\", "tab\t"]
    given = await add_all(backend, SystemEventLog, [make(SystemEventLog, component=value) for value in values])
    for value, stored in zip(values, given, strict=True):
        assert (await backend.find(Query(SystemEventLog, {"component": (value,)}))).items == [stored]
    groups = await backend.aggregate(Aggregation(SystemEventLog, group_by=("component",)))
    assert sorted(str(group.key[0]) for group in groups) == sorted(values)
    components = "".join(entity["component"] for entity in await bench.entities(SystemEventLog))
    assert not set(components) & {"\uffff", "\x01", "\t"}


async def test_a_disconnect_that_is_given_up(bench: Bench) -> None:
    """It frees the connections even so."""
    backend = await bench.open()
    with backend._in_hand:
        disconnecting = asyncio.create_task(backend.disconnect())
        await asyncio.sleep(0)
        disconnecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await disconnecting
        assert backend._connection._client is None


async def test_a_long_record_is_stored_in_parts(bench: Bench, backend: TablesBackend) -> None:
    """No property is longer than the service takes."""
    await add(backend, ImageGenerationTransaction, make(ImageGenerationTransaction, metadata={"text": "🦊" * 50_000}))
    [entity] = await bench.entities(ImageGenerationTransaction)
    assert all(len(value.encode("utf-16-le")) <= 65_536 for value in entity.values() if isinstance(value, str))
    assert len(entity) < 252


@pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")  # the driver, reading a refusal
async def test_a_wrong_key(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An account that refuses the key is a matter of configuration; neither error nor log shows it."""
    key = "d3Jvbmcta2V5LXdyb25nLWtleQ=="
    backend = await bench.open(key=key)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING") as raised:
        await backend.health()
    assert key not in str(raised.value)
    assert key not in caplog.text


async def test_nothing_listens(bench: Bench) -> None:
    """Connecting asks nothing of the server; the first call finds that it is away."""
    backend = await bench.open(endpoint=f"http://127.0.0.1:{free_port()}/devstoreaccount1")
    with pytest.raises(UnavailableError) as raised:
        await backend.health()
    assert raised.value.retry_after > 0
    assert "127.0.0.1" not in raised.value.message


async def test_a_filter_with_more_values_than_the_service_takes(backend: TablesBackend) -> None:
    """Values past those of a filter are compared here, types told apart."""
    given: list[Stored] = [make(SystemEventLog, component=f"c-{n}", level="info") for n in range(40)]
    await add_all(backend, SystemEventLog, given)
    wanted = tuple(f"c-{n}" for n in range(0, 40, 2))
    query = Query(SystemEventLog, {"component": wanted, "level": ("info", "warn")}, descending=False, limit=3)
    assert ids(await walk(backend, query)) == ids(given[::2])
