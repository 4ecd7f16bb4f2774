"""What the MongoDB backend stores, and what it does where a server can't do something."""

import json
import logging
from typing import Any

import pytest

from shared.backends.mongodb.backend import MongoBackend
from shared.backends.mongodb.client import Connection
from shared.backends.mongodb.documents import Document
from shared.errors import ServiceError, UnavailableError
from shared.models import ApiRequestLog, ImageGenerationTransaction, SystemEventLog
from shared.query import Aggregation, Query
from tests.contract.reference import aggregate, in_order
from tests.contract.steps import add, add_all, fetch, ids, walk
from tests.mongodb.conftest import Bench, bench_on
from tests.servers import ferretdb
from tests.servers.ferretdb import FerretDB
from tests.support.records import make

FOREIGN: tuple[dict[str, Any], ...] = (
    {"_id": "by-hand", "message": "not ours", "timestamp": "2030-01-01T00:00:00.000Z"},
    {"_id": "no-time", "logogen": {"record": "{}"}, "etag": "x"},
    {"_id": "half", "timestamp": "2020-01-01T00:00:00.000Z", "logogen": {"record": '{"id": "other"'}, "etag": "x"},
    {"_id": 17, "timestamp": 5, "logogen": "text"},
)


# What is stored


async def test_a_document(bench: Bench) -> None:
    """Queried fields are members, the record is text, and what is hidden stands beside it."""
    backend = await bench.open()
    given = make.full(ApiRequestLog, metadata={"$x": 1, "a.b": 1.0, "__proto__": 2**53, "": -0.0})
    stored = await add(backend, ApiRequestLog, given)
    [document] = await bench.database.requests.find().to_list()
    own = document.pop("logogen")
    assert json.loads(own.pop("record")) == given.record
    assert own == {
        "hash": given.hidden.content_hash,
        "privacy": given.hidden.privacy_version,
        "buckets": dict(given.hidden.buckets),
    }
    assert document.pop("occurredAt").isoformat() == given.timestamp.removesuffix("Z").replace(".000", "")
    assert document.pop("etag") == stored.etag
    assert document.pop("_id") == given.id
    assert document == {
        name: given.record[name]
        for name in ("timestamp", "updatedAt", "duration", *ApiRequestLog.filterable)
        if name in given.record
    }


# Documents that are not ours


async def test_foreign_documents_are_left_out_of_lists(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Lists pass over what someone else has put there, with a warning, and pages are as full as they should be."""
    backend = await bench.open()
    given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 10))
    more = [{"_id": f"more-{n}", "timestamp": "2031-01-01T00:00:00.000Z"} for n in range(30)]
    await bench.database.events.insert_many([*FOREIGN, *more])
    for descending in (True, False):
        page = await backend.find(Query(SystemEventLog, descending=descending, limit=4))
        assert page.items == (given[::-1] if descending else given)[:4]
        assert page.more
        walked = await walk(backend, Query(SystemEventLog, descending=descending, limit=3))
        assert walked == (given[::-1] if descending else given)
    assert "a foreign document is left out" in caplog.messages


async def test_a_foreign_document_under_an_id(bench: Bench) -> None:
    """It is neither read nor written over, and is no bug of ours."""
    backend = await bench.open()
    await bench.database.events.insert_many(FOREIGN)
    with pytest.raises(UnavailableError):
        await backend.find_by_id(SystemEventLog, "by-hand")
    with pytest.raises(UnavailableError):
        await backend.create(SystemEventLog, make(SystemEventLog, id="by-hand"))
    assert await bench.database.events.count_documents({"_id": "by-hand", "message": "not ours"}) == 1


async def test_foreign_documents_among_the_duplicates_of_a_batch(bench: Bench) -> None:
    """Only the record whose id such a document has is refused; the others are found."""
    backend = await bench.open()
    there = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
    await bench.database.events.insert_many(FOREIGN)
    given = [there[0], make(SystemEventLog, id="by-hand"), make(SystemEventLog), there[1]]
    outcomes = await backend.create_many(SystemEventLog, given)
    assert [outcome.existed for outcome in outcomes] == [True, False, False, True]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), UnavailableError, type(None), type(None)]


async def test_foreign_documents_in_aggregates(bench: Bench) -> None:
    """What has no time of ours is in no group."""
    backend = await bench.open()
    await add(backend, SystemEventLog, make(SystemEventLog))
    await bench.database.events.insert_many([{"_id": "no-time"}, {"_id": "number", "timestamp": 5}])
    [group] = await backend.aggregate(Aggregation(SystemEventLog))
    assert group.count == 1


# Servers that can't do something


async def test_a_server_without_figures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not know `collStats` tells counts, and no bytes."""
    backend = await bench.open()
    await add(backend, SystemEventLog, make(SystemEventLog))
    command = Connection.command

    async def misspelt(self: Connection, name: str, value: Any = 1) -> Document:
        return await command(self, f"{name}x", value)

    monkeypatch.setattr(Connection, "command", misspelt)
    figures = (await backend.get_stats()).models["SystemEventLog"]
    assert (figures.count, figures.size_bytes) == (1, None)


async def test_a_document_that_the_server_refuses(bench: Bench) -> None:
    """The others of its batch are stored and told so, those that were there before too; it is our bug, and no retry helps."""
    backend = await bench.open()
    there = await add(backend, SystemEventLog, make(SystemEventLog))
    refused = make(SystemEventLog)
    refused = refused._replace(hidden=refused.hidden._replace(buckets={"$n": 1}))
    given = make.many(SystemEventLog, 2)
    outcomes = await backend.create_many(SystemEventLog, [given[0], refused, there, given[1]])
    assert [outcome.existed for outcome in outcomes] == [False, False, True, False]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), ServiceError, type(None), type(None)]
    assert await backend.count(Query(SystemEventLog)) == 3
    with pytest.raises(ServiceError):
        await backend.create(SystemEventLog, refused)


async def test_a_server_that_does_not_group(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Aggregates are computed here, which the server is asked about once."""
    caplog.set_level(logging.INFO)
    backend = await bench.open()
    given = make.many(ApiRequestLog, 5, sessionId="s-1", duration=3)
    await add_all(backend, ApiRequestLog, given)
    asked = Aggregation(ApiRequestLog, group_by=("sessionId",), sums=("duration",), histograms=("duration",))
    for _ in range(2):
        assert in_order(await backend.aggregate(asked)) == in_order(aggregate(given, asked))
    assert sum("does not group" in message for message in caplog.messages) == 1


# On a server that can


async def test_groups_of_the_server(real: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A real server groups by itself, and nothing is folded here."""
    caplog.set_level(logging.INFO)
    backend = await real.open()
    given = [
        make(ImageGenerationTransaction, sessionId=f"s-{n % 3}", success=n % 2 == 0, totalDuration=n * 1.5) for n in range(20)
    ]
    await add_all(backend, ImageGenerationTransaction, given)
    both = ("totalDuration",)
    asked = Aggregation(ImageGenerationTransaction, group_by=("sessionId", "success"), sums=both, histograms=both)
    assert in_order(await backend.aggregate(asked)) == in_order(aggregate(given, asked))
    assert not any("does not group" in message for message in caplog.messages)


# Life


async def test_a_replica_set_by_name() -> None:
    """A connection string that names its replica set finds the primary; what is stored there is read and changed."""
    with ferretdb.running(replica_set="rs0") as member:
        text = f"mongodb://{member.address}/?maxPoolSize=1&replicaSet=rs0"
        async with bench_on(text) as found:
            backend = await found.open()
            stored = await add(backend, SystemEventLog, make(SystemEventLog))
            assert await fetch(backend, SystemEventLog, stored.id) == stored
            updated = await backend.update(SystemEventLog, make.changed(stored, message="new"), stored.etag)
            assert await walk(backend, Query(SystemEventLog)) == [updated]
            other = Bench(found.database, text.replace("rs0", "rs1&serverSelectionTimeoutMS=500"), found.stack)
            with pytest.raises(UnavailableError):
                await (await other.open()).health()


async def test_one_client_that_connects_on_first_use(server: FerretDB, bench: Bench) -> None:
    """Connecting asks no server for anything."""
    unreachable = Bench(bench.database, "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200", bench.stack)
    backend = await unreachable.open()
    for call in (backend.health(), backend.count(Query(SystemEventLog)), backend.get_stats()):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert "127.0.0.1" not in str(caught.value)


async def test_a_disconnected_backend(bench: Bench) -> None:
    """It is unavailable until it is connected again."""
    backend = await bench.open()
    stored = await add(backend, SystemEventLog, make(SystemEventLog))
    await backend.disconnect()
    with pytest.raises(UnavailableError):
        await fetch(backend, SystemEventLog, stored.id)
    await backend.connect()
    assert await fetch(backend, SystemEventLog, stored.id) == stored


async def test_figures(bench: Bench) -> None:
    """Counts come from the collection's metadata and say so; bytes are known."""
    backend: MongoBackend = await bench.open()
    stored = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 3))
    stats = await backend.get_stats()
    figures = stats.models["SystemEventLog"]
    assert (figures.count, figures.approximate) == (len(ids(stored)), True)
    assert figures.size_bytes
    assert stats.pool == {"maxPoolSize": 1}
