"""What the Tables backend makes of the service's own answers that Azurite never gives."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from shared.backends.tables.backend import TablesBackend
from shared.errors import ConfigurationError, ServiceError, ThrottledError, TooLargeError, UnavailableError
from shared.models import SystemEventLog
from shared.query import Query
from shared.timing import set_deadline
from tests.contract.steps import add, add_all, ids, kept
from tests.faults.proxy import NO_FAULT, Answer, Fault, Plan, always, calm, once
from tests.faults.tables_line import TablesLine, is_call, is_insert, opened
from tests.servers.azurite import Azurite
from tests.support.records import make

REFUSALS = {
    "busy": (503, "ServerBusy"),
    "timed-out": (500, "OperationTimedOut"),
    "too-large": (400, "EntityTooLarge"),
    "no-table": (404, "TableNotFound"),
    "strange": (400, "InvalidInput"),
}
"""Status and code of answers: https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes"""
each_passing = pytest.mark.parametrize(("fault", "error"), [("busy", ThrottledError), ("timed-out", UnavailableError)])
each_lasting = pytest.mark.parametrize(("fault", "error"), [("too-large", TooLargeError), ("strange", ServiceError)])


def single(status: int, code: str) -> Answer:
    """A refusal of a call of one entity."""
    return lambda: web.Response(status=status, text=_error(code), content_type="application/json")


def in_batch(status: int, code: str) -> Answer:
    """A refusal of a transaction, which stands in a part of an answer that says accepted."""
    part = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n\r\n{_error(code)}\r\n"
    changes = _part("batch", 'multipart/mixed; boundary="changes"', _part("changes", "application/http", part))
    return lambda: web.Response(status=202, body=changes.encode(), headers={"Content-Type": "multipart/mixed; boundary=batch"})


def _part(boundary: str, content_type: str, text: str) -> str:
    encoding = "Content-Transfer-Encoding: binary\r\n"
    return f"--{boundary}\r\nContent-Type: {content_type}\r\n{encoding}\r\n{text}--{boundary}--\r\n"


def _error(code: str) -> str:
    return json.dumps({"odata.error": {"code": code, "message": {"lang": "en-US", "value": "0:No."}}})


def elsewhere() -> web.Response:
    """What a server answers that knows no tables."""
    return web.Response(status=404, text="<html>nothing here</html>", content_type="text/html")


ANSWERS: dict[Fault, Answer] = {
    "elsewhere": elsewhere,
    **{name: single(*answer) for name, answer in REFUSALS.items()},
    **{f"{name}-in-batch": in_batch(*answer) for name, answer in REFUSALS.items()},
}


def is_batch(request: web.Request) -> bool:
    return request.path.endswith("$batch")


def where(fault: Fault, text: str) -> Plan:
    """A fault at every call that sends a text."""

    def plan(request: web.Request) -> Fault:
        if text.encode() not in (request._read_bytes or b""):
            return NO_FAULT
        return f"{fault}-in-batch" if is_batch(request) else fault

    return plan


@pytest.fixture
async def line(azurite: Azurite) -> AsyncIterator[TablesLine]:
    async with opened(azurite, 35.0, ANSWERS) as line:
        yield line


@each_passing
async def test_one_answer_that_passes(line: TablesLine, fault: str, error: type[ServiceError]) -> None:
    """A create and a batch that the service was too busy for are sent again."""
    line.proxy.plan = once(fault, is_insert)
    await add(line.backend, SystemEventLog, make(SystemEventLog))
    line.proxy.plan = once(f"{fault}-in-batch", is_batch)
    await add_all(line.backend, SystemEventLog, [make(SystemEventLog, sessionId="s-1") for _ in range(5)])
    assert (line.proxy.faults[fault], line.proxy.faults[f"{fault}-in-batch"]) == (1, 1)


@each_passing
async def test_an_answer_that_does_not_pass(line: TablesLine, fault: str, error: type[ServiceError]) -> None:
    """Busy is throttled, timed out is unavailable, for one record as for each of a batch, and for a read."""
    set_deadline(0.5)
    line.proxy.plan = lambda request: f"{fault}-in-batch" if is_batch(request) else fault
    with pytest.raises(error):
        await line.backend.create(SystemEventLog, make(SystemEventLog))
    outcomes = await line.backend.create_many(SystemEventLog, [make(SystemEventLog, sessionId="s-1") for _ in range(5)])
    assert {type(outcome.error) for outcome in outcomes} <= {error, UnavailableError}
    set_deadline(0.5)
    with pytest.raises(error):
        await line.backend.find(Query(SystemEventLog))


@each_lasting
async def test_one_record_that_is_refused(line: TablesLine, fault: str, error: type[ServiceError]) -> None:
    """Its outcome holds the error; all others of the call are stored."""
    given = [make(SystemEventLog, timestamp=f"2024-01-{1 + n % 9:02d}T00:00:00.000Z", sessionId="s-1") for n in range(60)]
    given[7] = make.changed(given[7], message="REFUSED")
    line.proxy.plan = where(fault, "REFUSED")
    outcomes = await line.backend.create_many(SystemEventLog, given)
    assert [number for number, outcome in enumerate(outcomes) if outcome.error is not None] == [7]
    assert type(outcomes[7].error) is error
    assert {kept(outcome).id for outcome in outcomes if outcome.error is None} == set(await line.stored())
    with pytest.raises(error):
        await line.backend.create(SystemEventLog, given[7])


@each_lasting
async def test_a_record_with_a_claim_that_is_refused(line: TablesLine, fault: str, error: type[ServiceError]) -> None:
    """It is refused as any other, by itself, and can be stored once it is smaller."""
    given = [make(SystemEventLog, id=f"mine-{n}", message="REFUSED" if n == 1 else "fine") for n in range(3)]
    line.proxy.plan = where(fault, "REFUSED")
    outcomes = await line.backend.create_many(SystemEventLog, [*given, given[1]])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), error, type(None), error]
    line.proxy.plan = calm
    await add(line.backend, SystemEventLog, make.changed(given[1], message="smaller"))
    assert sorted(await line.stored()) == ids(given)


Asked = Callable[[TablesBackend], Awaitable[object]]
CALLS: dict[str, Asked] = {
    "health": lambda backend: backend.health(),
    "find_by_id": lambda backend: backend.find_by_id(SystemEventLog, "mine"),
    "find": lambda backend: backend.find(Query(SystemEventLog)),
    "count": lambda backend: backend.count(Query(SystemEventLog)),
    "create": lambda backend: backend.create(SystemEventLog, make(SystemEventLog)),
    "update": lambda backend: backend.update(SystemEventLog, make(SystemEventLog), "W/\"datetime'2024'\""),
    "delete": lambda backend: backend.delete(SystemEventLog, "mine"),
    "delete_where": lambda backend: backend.delete_where(Query(SystemEventLog)),
    "purge": lambda backend: backend.purge(SystemEventLog, ["mine"]),
    "get_stats": lambda backend: backend.get_stats(),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
async def test_an_endpoint_that_knows_no_tables(line: TablesLine, call: Asked) -> None:
    """It is a matter of configuration, not a database without records."""
    line.proxy.plan = always("elsewhere", is_call)
    with pytest.raises(ConfigurationError, match="TEST"):
        await call(line.backend)


@each_call
async def test_a_table_that_does_not_stay(line: TablesLine, call: Asked) -> None:
    """A table that is missing after it was made is a database that is away."""
    line.proxy.plan = always("no-table", is_call)
    with pytest.raises(UnavailableError):
        await call(line.backend)
