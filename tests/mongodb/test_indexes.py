"""The indexes: made where that is quick, left to a command where it is not, and never the reason that nothing works."""

import asyncio
import gc
import logging
import math
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from shared.backends.mongodb import client
from shared.backends.mongodb.indexes import EXPIRY
from shared.cli import main
from shared.models import ALL_MODELS, LOG_MODELS, Record, SystemEventLog
from shared.query import Query
from tests.contract.steps import add_all, walk
from tests.mongodb.conftest import Bench
from tests.mongodb.wire import Document, WireProxy, instead, refusal
from tests.servers.ferretdb import FerretDB
from tests.support.records import make

DAYS = {model.__name__: 30 for model in ALL_MODELS}
COMMAND = "python -m shared mongodb indexes"
EVENTS = len(SystemEventLog.filterable) + 2
"""Indexes of the events' collection besides that of its ids and its expiry."""


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, Any]]:
    """Level, message and code of each record."""
    return [(record.levelname, record.message, getattr(record, "code", None)) for record in caplog.records]


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
async def test_indexes(bench: Bench, model: type[Record]) -> None:
    """Every filterable field has an index in the order of lists, and so has a list without filters."""
    await (await bench.open()).count(Query(model))
    found = (await bench.database[model.route].index_information()).values()
    order = [("timestamp", -1), ("_id", -1)]
    wanted = [order, [("updatedAt", -1)], *([(name, 1), *order] for name in model.filterable)]
    assert sorted(definition["key"] for definition in found) == sorted([[("_id", 1)], *wanted])


async def test_instances_that_start_at_once_make_indexes_once(bench: Bench) -> None:
    """They find the database as it should be, whoever was first."""
    backends = [await bench.open() for _ in range(4)]
    await asyncio.gather(*(backend.count(Query(model)) for backend in backends for model in ALL_MODELS))
    for model in ALL_MODELS:
        assert len(await bench.database[model.route].index_information()) == len(model.filterable) + 3


async def test_a_server_without_expiry(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once a collection that the timer alone removes; everything else works."""
    backend = await bench.open(**DAYS)
    for _ in range(2):
        for model in ALL_MODELS:
            await backend.count(Query(model))
    said = [record for record in caplog.records if "no TTL index" in record.message]
    assert {(vars(record)["collection"], vars(record)["code"]) for record in said} == {
        (model.route, 238) for model in LOG_MODELS
    }
    assert len(said) == len(LOG_MODELS)


async def test_more_days_than_an_index_counts(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once a collection that the timer alone removes; nothing is asked of the server."""
    backend = await bench.open(SystemEventLog=24_856, UserSession=24_856)
    for model in ALL_MODELS:
        await backend.count(Query(model))
    [record] = caplog.records
    assert "can't count so many days; the retention timer alone removes" in record.message
    assert (vars(record)["collection"], vars(record)["days"]) == ("events", 24_856)


# Large collections


async def test_a_large_collection(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for a build: it is used as it is, and one warning names the indexes and the command that makes them."""
    monkeypatch.setattr(client, "IN_LINE", 2)
    await bench.database.events.insert_many([{"_id": f"more-{n}"} for n in range(3)])
    backend = await bench.open(**DAYS)
    given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 5))
    assert await walk(backend, Query(SystemEventLog, descending=False)) == given
    assert await bench.database.events.index_information() == {"_id_": {"v": 2, "key": [("_id", 1)]}}
    [record] = [record for record in caplog.records if "foreign" not in record.message]
    assert record.message.endswith(f"run {COMMAND}")
    indexes = vars(record)["indexes"]
    assert (len(indexes), indexes[-1]) == (EVENTS + 1, EXPIRY)


@pytest.fixture
def named(server: FerretDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that the settings name."""
    name = "test-of-the-command"
    monkeypatch.setattr(logging.root, "handlers", [])  # the command makes its own, and closes those it finds
    monkeypatch.setenv("DATABASE_TYPE", "mongodb")
    monkeypatch.setenv("DATABASE_CONNECTION_STRING", server.connection_string)
    monkeypatch.setenv("DATABASE_NAME", name)
    monkeypatch.setenv("PRIVACY_SALT", "a salt of the tests")
    yield name
    with MongoClient[Document](server.connection_string) as bare:
        bare.drop_database(name)


def test_the_command(server: FerretDB, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes what is missing, whatever the size, and prints what it made; what the server lacks is said besides."""
    monkeypatch.setattr(client, "IN_LINE", 0)
    monkeypatch.setenv("RETENTION_DAYS_EVENTS", "30")
    with MongoClient[Document](server.connection_string) as bare:
        bare[named].events.insert_one({"_id": "there"})
        assert main(["mongodb", "indexes"]) == 0
        found = bare[named].events.index_information()
    assert len(found) == EVENTS + 1
    printed = capsys.readouterr()
    made = dict(line.split(": ") for line in printed.out.splitlines())
    assert list(made) == [model.route for model in ALL_MODELS]
    assert sorted(["_id_", *made["events"].split(", ")]) == sorted(found)
    assert "the retention timer alone removes what is past its days collection=events code=238" in printed.err
    assert main(["mongodb", "indexes"]) == 0
    assert capsys.readouterr().out.count(": nothing to make\n") == len(ALL_MODELS)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the driver, PYTHON-5867: closed while it connects
def test_the_command_without_its_server(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, without an address, and so it does with another DATABASE_TYPE."""
    monkeypatch.setenv("DATABASE_CONNECTION_STRING", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200")
    assert main(["mongodb", "indexes"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: The database can't be reached."
    gc.collect()
    monkeypatch.setenv("DATABASE_TYPE", "file")
    assert main(["mongodb", "indexes"]) == 1
    assert "must be 'mongodb'" in capsys.readouterr().err


# Other days


async def expires_by(proxy: WireProxy, bench: Bench, days: int) -> None:
    """Let the events have a TTL index, as far as who goes through the proxy can see."""
    await bench.database.events.create_index("occurredAt", name=EXPIRY)

    async def change(answer: Document) -> Document:
        for definition in answer["cursor"]["firstBatch"]:
            if definition["name"] == EXPIRY:
                definition["expireAfterSeconds"] = days * 86_400
        return answer

    proxy.always("listIndexes", change)


async def test_other_days_without_a_build(answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture) -> None:
    """The index that there is gets them; it is neither dropped nor made again, whatever the size of the collection."""
    await expires_by(proxy, answered, 7)
    proxy.once("collMod", instead(ok=1.0))
    await (await answered.open(**DAYS)).count(Query(SystemEventLog))
    [asked] = [document for document in proxy.commands if "collMod" in document]
    assert (asked["collMod"], asked["index"]) == ("events", {"name": EXPIRY, "expireAfterSeconds": 30 * 86_400})
    assert proxy.sent("dropIndexes") == 0
    assert not caplog.records


async def test_the_same_days(answered: Bench, proxy: WireProxy) -> None:
    """Nothing is changed."""
    await expires_by(proxy, answered, 30)
    await (await answered.open(**DAYS)).count(Query(SystemEventLog))
    assert proxy.sent("collMod") == proxy.sent("dropIndexes") == 0


@pytest.mark.parametrize("code", [13, 27, 72, 238])
async def test_days_that_can_not_be_changed(
    answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """The index is dropped, since it would remove what is to be kept, and made anew; where that is refused, the log says so."""
    await expires_by(proxy, answered, 7)
    proxy.once("collMod", refusal(code))
    await (await answered.open(**DAYS)).count(Query(SystemEventLog))
    assert EXPIRY not in await answered.database.events.index_information()
    assert [(level, code) for level, message, code in logged(caplog) if "no TTL index" in message] == [("WARNING", 238)]
    assert len(caplog.records) == 1


async def test_days_that_can_neither_be_changed_nor_dropped(
    answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The index stays as it is, the log says what it goes on to do, and nothing is called made."""
    await expires_by(proxy, answered, 7)
    proxy.always("collMod", refusal(13))
    proxy.always("dropIndexes", refusal(13))
    backend = await answered.open(**DAYS)
    assert EXPIRY not in await backend._connection.make_indexes(SystemEventLog, math.inf)
    assert proxy.sent("dropIndexes") == 1
    [(level, message, code)] = logged(caplog)
    assert (level, code) == ("WARNING", 13)
    assert "removes by the days that it had" in message


async def test_no_days_any_more(answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture) -> None:
    """The index is dropped; where the server refuses that, the log says what it goes on to do."""
    await expires_by(proxy, answered, 7)
    proxy.once("dropIndexes", refusal(13))
    await (await answered.open()).count(Query(SystemEventLog))
    assert EXPIRY not in await answered.database.events.index_information()
    [(level, message, code)] = logged(caplog)
    assert (level, code) == ("WARNING", 13)
    assert "removes by the days that it had" in message


async def test_an_index_that_another_instance_has_dropped(
    answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as good as dropped."""
    await expires_by(proxy, answered, 7)
    proxy.once("dropIndexes", refusal(27))
    await (await answered.open()).count(Query(SystemEventLog))
    assert not caplog.records


# Refusals


@pytest.mark.parametrize("code", [13, 67, 72, 85, 86, 197, 8_000])
async def test_indexes_that_the_server_refuses(
    answered: Bench, proxy: WireProxy, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """Everything works without; a warning for the indexes and one for the expiry say what is missing, and nothing else does."""
    proxy.always("createIndexes", refusal(code, "not allowed"))
    backend = await answered.open(**DAYS)
    for _ in range(2):
        given = await add_all(backend, SystemEventLog, make.many(SystemEventLog, 2))
        assert (await walk(backend, Query(SystemEventLog, descending=False)))[-2:] == given
    assert [(level, code) for level, _, code in logged(caplog)] == [("WARNING", code)] * 2


# On a server that can


async def test_expiry_follows_the_settings(real: Bench) -> None:
    """The index expires by the days set now: made, changed and dropped, and no sessions or state ever."""

    async def expiries(**days: int) -> dict[str, int]:
        backend = await real.open(**days)
        found = {}
        for model in ALL_MODELS:
            await backend.count(Query(model))
            for definition in (await real.database[model.route].index_information()).values():
                if "expireAfterSeconds" in definition:
                    found[model.route] = int(definition["expireAfterSeconds"])
        return found

    assert await expiries() == {}
    assert await expiries(**DAYS) == dict.fromkeys(("transactions", "requests", "events"), 30 * 86_400)
    assert await expiries(ApiRequestLog=7, SystemEventLog=36_500) == {"requests": 7 * 86_400}
    assert await expiries() == {}
