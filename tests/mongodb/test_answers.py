"""Answers that no server here gives: the driver gets them over the wire, and what becomes of them."""

from typing import Any

import pytest

from shared.backends.mongodb.backend import MongoBackend
from shared.errors import ConfigurationError, NotFoundError, PreconditionFailedError, ThrottledError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Aggregation, Query
from shared.timing import set_deadline
from tests.contract.steps import add, add_all, fetch, ids, kept, walk
from tests.mongodb.conftest import Bench
from tests.mongodb.wire import Document, WireProxy, besides, refusal
from tests.support.records import make

NO_MAJORITY = [
    {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}},
    {"code": 91, "errmsg": "Replication is being shut down"},
    {"code": 100, "errmsg": "Not enough data-bearing nodes"},
    {"code": 4_711, "errmsg": "a reason that nobody knows yet"},
]


@pytest.fixture
async def backend(answered: Bench, proxy: WireProxy) -> MongoBackend:
    """A backend behind the proxy that has made its indexes."""
    made = await answered.open()
    await made.count(Query(SystemEventLog))
    proxy.commands.clear()
    return made


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("error", NO_MAJORITY, ids=lambda error: error["code"])
async def test_a_write_that_no_majority_has(backend: MongoBackend, proxy: WireProxy, error: Document, count: int) -> None:
    """It is sent again before it is acknowledged, and is stored once."""
    given = make.many(SystemEventLog, count)
    proxy.once("insert", besides(writeConcernError=error))
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [outcome.existed for outcome in outcomes] == [False] * count
    assert proxy.sent("insert") == 2
    assert ids(await walk(backend, Query(SystemEventLog, descending=False))) == ids(given)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("error", NO_MAJORITY, ids=lambda error: error["code"])
async def test_writes_while_there_is_no_majority(backend: MongoBackend, proxy: WireProxy, error: Document, count: int) -> None:
    """None is acknowledged, though the server has them all."""
    set_deadline(0.5)
    proxy.always("insert", besides(n=0, writeErrors=[], writeConcernError=error))
    outcomes = await backend.create_many(SystemEventLog, make.many(SystemEventLog, count))
    assert [type(outcome.error) for outcome in outcomes] == [UnavailableError] * count
    assert not any(outcome.stored for outcome in outcomes)


async def test_duplicates_while_there_is_no_majority(backend: MongoBackend, proxy: WireProxy) -> None:
    """Beside records that exist, those that no majority has are not taken for stored."""
    there = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
    set_deadline(0.5)
    proxy.always("insert", besides(writeConcernError=NO_MAJORITY[0]))
    outcomes = await backend.create_many(SystemEventLog, [*there, make(SystemEventLog)])
    assert not any(outcome.stored for outcome in outcomes)


@pytest.mark.parametrize("command", ["update", "delete"])
async def test_a_change_that_no_majority_has(backend: MongoBackend, proxy: WireProxy, command: str) -> None:
    """It is sent again before it is acknowledged."""
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    proxy.once(command, besides(writeConcernError=NO_MAJORITY[2]))
    if command == "update":
        changed = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
        assert await fetch(backend, SystemEventLog, stored.id) == changed
    else:
        await backend.delete(SystemEventLog, stored.id)
    assert proxy.sent(command) == 2


async def test_a_delete_beside_a_create(backend: MongoBackend, proxy: WireProxy, bench: Bench) -> None:
    """A delete of whatever version finds no record, though one is made before we can look what there is."""
    other = await bench.open()
    given = make(SystemEventLog)

    async def meanwhile(answer: Document) -> Document:
        await add(other, SystemEventLog, given)
        return answer

    proxy.once("delete", meanwhile)
    with pytest.raises(NotFoundError):
        await backend.delete(SystemEventLog, given.id)
    stored = await fetch(other, SystemEventLog, given.id)
    with pytest.raises(PreconditionFailedError):
        await backend.delete(SystemEventLog, given.id, "another")
    assert await fetch(other, SystemEventLog, given.id) == stored


@pytest.mark.parametrize("code", [43, 112, 175, 189, 11_602, 13_436])
async def test_a_refusal_that_passes(backend: MongoBackend, proxy: WireProxy, code: int) -> None:
    """The list is asked for again and is whole."""
    given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 3))
    proxy.once("find", refusal(code))
    assert await walk(backend, Query(SystemEventLog, descending=False)) == given


async def test_a_conflict_of_writes(backend: MongoBackend, proxy: WireProxy, bench: Bench) -> None:
    """The document of a batch that lost it is sent again, alone."""
    given = make.many(SystemEventLog, 3)
    conflict = {"index": 1, "code": 112, "errmsg": "WriteConflict"}

    async def lose_one(answer: Document) -> Document:
        await bench.database.events.delete_one({"_id": given[1].id})
        return {**answer, "n": 2, "writeErrors": [conflict]}

    proxy.once("insert", lose_one)
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [kept(outcome).id for outcome in outcomes] == ids(given)
    assert proxy.sent("insert") == 2


async def test_an_overloaded_server(backend: MongoBackend, proxy: WireProxy) -> None:
    """It is told as throttling, and the driver sends nothing again by itself."""
    set_deadline(0.5)
    labels = ["SystemOverloadedError", "RetryableError"]
    proxy.always("find", refusal(462, "Rate limiter exceeded", errorLabels=labels))
    with pytest.raises(ThrottledError):
        await backend.find(Query(SystemEventLog))
    assert proxy.sent("find") == 1


async def test_a_server_that_is_too_old(answered: Bench, proxy: WireProxy) -> None:
    """The error names the setting and what the server must be."""
    for command in ("ismaster", "hello"):
        proxy.always(command, besides(maxWireVersion=8))
    backend = await answered.open()
    expected = r"DATABASE_CONNECTION_STRING: the server is too old; must be MongoDB 4\.4 or later"
    with pytest.raises(ConfigurationError, match=expected):
        await backend.health()


async def test_groups_come_in_one_answer(backend: MongoBackend, proxy: WireProxy) -> None:
    """An aggregate asks for its groups at once, since a cursor may be gone when it is asked again."""
    await backend.aggregate(Aggregation(SystemEventLog, group_by=("sessionId",)))
    [asked, *_] = [document for document in proxy.commands if "aggregate" in document]
    cursor: dict[str, Any] = asked["cursor"]
    assert cursor["batchSize"] >= 10_000
