"""How the driver's errors become ours: one place, no text of the driver's, and waits as the server says."""

import asyncio
import time
from collections.abc import Callable

import pymongo.helpers_shared as driver
import pytest
from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from shared.backends.mongodb.calls import Caller, NoIndexError, UnsupportedError
from shared.errors import ConfigurationError, DeadlineError, ServiceError, ThrottledError, TooLargeError, UnavailableError
from shared.timing import set_deadline

SECRET = "mongodb://logo:p4ssw0rd@host: a prompt"
RETRYABLE = sorted(driver._RETRYABLE_ERROR_CODES)  # the driver's own list, of the specifications
LABELLED = OperationFailure(SECRET, 9, {"errorLabels": ["SystemOverloadedError"]})


def failing(*errors: PyMongoError | BSONError) -> Callable[[], "asyncio.Future[int]"]:
    """A send that fails with each of the errors in turn and then gives how often it was called."""
    left = list(errors)

    def send() -> "asyncio.Future[int]":
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if left:
            future.set_exception(left.pop(0))
        else:
            future.set_result(len(errors) + 1)
        return future

    return send


@pytest.fixture
def caller() -> Caller:
    return Caller("DATABASE_CONNECTION_STRING", 2)


@pytest.mark.parametrize(
    "error",
    [AutoReconnect(SECRET), NetworkTimeout(SECRET), NotPrimaryError(SECRET), OperationFailure(SECRET, 91)],
    ids=lambda error: type(error).__name__,
)
async def test_lost_answers(caller: Caller, error: PyMongoError) -> None:
    """A call whose answer was lost is sent again, and its caller is told."""
    answer = await caller.call(failing(error))
    assert (answer.value, answer.lost) == (2, True)


async def test_a_server_that_stays_away(caller: Caller) -> None:
    """After some attempts the call is unavailable."""
    with pytest.raises(UnavailableError) as caught:
        await caller.call(failing(*[AutoReconnect(SECRET)] * 50))
    assert SECRET not in str(caught.value)
    assert caught.value.retry_after > 0


@pytest.mark.parametrize("error", [ServerSelectionTimeoutError(SECRET), WaitQueueTimeoutError(SECRET)])
async def test_what_has_waited_is_not_sent_again(caller: Caller, error: PyMongoError) -> None:
    """The driver has waited for a server or a connection already."""
    with pytest.raises(UnavailableError):
        await caller.call(failing(error))


async def test_throttling_waits_as_told(caller: Caller) -> None:
    """A call that Cosmos DB for MongoDB refuses for its rate is sent again after the time it says."""
    told = {"errmsg": "Error=16500, RetryAfterMs=120, Details='Request rate is large'"}
    started = time.monotonic()
    assert (await caller.call(failing(OperationFailure(SECRET, 16_500, told)))).value == 2
    assert time.monotonic() - started >= 0.12


async def test_throttling_without_a_time(caller: Caller) -> None:
    """A server that says to wait no time is not called as fast as can be."""
    started = time.monotonic()
    await caller.call(failing(*[OperationFailure(SECRET, 16_500, {"errmsg": "Error=16500, RetryAfterMs=0"})] * 4))
    assert time.monotonic() - started >= 0.08


async def test_what_a_document_says_is_no_time_to_wait(caller: Caller) -> None:
    """The time comes from the server's words alone, not from the record that they are about."""
    failed = {"index": 0, "code": 16_500, "errmsg": "RetryAfterMs=5", "op": {"message": "RetryAfterMs=9000000"}}
    error = BulkWriteError({"writeErrors": [{"op": {"message": "RetryAfterMs=9000000"}, **failed}]})
    assert (await caller.call(failing(error))).value == 2


async def test_throttling_past_the_deadline(caller: Caller) -> None:
    """It is told with the time to wait, before the deadline has passed."""
    set_deadline(0.5)
    told = {"errmsg": "Error=16500, RetryAfterMs=9000, Details='Request rate is large'"}
    with pytest.raises(ThrottledError) as caught:
        await caller.call(failing(OperationFailure(SECRET, 16_500, told)))
    assert caught.value.retry_after == 9
    assert SECRET not in str(caught.value)


async def test_an_answer_past_the_deadline(caller: Caller) -> None:
    """A server that does not answer in time is told as such."""
    set_deadline(0.05)
    with pytest.raises(DeadlineError):
        await caller.call(lambda: asyncio.get_running_loop().create_future())


@pytest.mark.parametrize("code", [*RETRYABLE, 43, 175, 237, 50, 64, 79, 100, 133])
async def test_passing_refusals(caller: Caller, code: int) -> None:
    """A server that stops, steps down, is slow or has lost a cursor is asked again, and may have done the work before."""
    answer = await caller.call(failing(OperationFailure(SECRET, code)))
    assert (answer.value, answer.lost) == (2, True)


async def test_a_write_conflict(caller: Caller) -> None:
    """The server has done nothing of it, so nothing is lost when it is sent again; in the end it is unavailable."""
    answer = await caller.call(failing(OperationFailure(SECRET, 112)))
    assert (answer.value, answer.lost) == (2, False)
    with pytest.raises(UnavailableError):
        await caller.call(failing(*[OperationFailure(SECRET, 112)] * 50))


@pytest.mark.parametrize("error", [OperationFailure(SECRET, code) for code in (433, 449, 450, 462)] + [LABELLED], ids=str)
async def test_a_server_that_is_overloaded(caller: Caller, error: OperationFailure) -> None:
    """It is throttling, by whatever code it says so."""
    set_deadline(0.5)
    with pytest.raises(ThrottledError) as caught:
        await caller.call(failing(error))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (13, "", "its role must be readWrite"),
        (18, "", "does not know this user"),
        (8_000, "bad auth : Authentication failed.", "does not know this user"),
        (8_000, "user is not allowed to do action [collMod] on [logogen.events]", "the server refuses"),
        (8_000, "not authorized on logogen to execute command", "the server refuses"),
    ],
)
async def test_access_errors_name_the_setting(caller: Caller, code: int, said: str, expected: str) -> None:
    """A user that is unknown, or may not do it, is the operator's to set right."""
    with pytest.raises(ConfigurationError, match=f"DATABASE_CONNECTION_STRING: .*{expected}") as caught:
        await caller.call(failing(OperationFailure(SECRET, code, {"errmsg": said})))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "told"), [(14_031, {}), (8_000, {"errmsg": "you are over your space quota, using 512 MB of 512 MB"})]
)
async def test_a_server_that_is_full(caller: Caller, code: int, told: dict[str, str]) -> None:
    """It can't store now, which is told at once and is no matter of who asks."""
    with pytest.raises(UnavailableError, match="can't store now"):
        await caller.call(failing(OperationFailure(SECRET, code, told)))


async def test_what_is_logged(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal that nobody foresaw leaves its code, and a server that is away the kind of error; neither the driver's text."""
    with pytest.raises(ServiceError):
        await caller.call(failing(OperationFailure(SECRET, 9)))
    with pytest.raises(ServiceError):
        await caller.call(failing(PyMongoError(SECRET)))
    with pytest.raises(UnavailableError):
        await caller.call(failing(ServerSelectionTimeoutError(SECRET)))
    await caller.call(failing(NetworkTimeout(SECRET)))
    logged = [(record.levelname, getattr(record, "code", getattr(record, "error_type", None))) for record in caplog.records]
    assert logged == [
        ("ERROR", 9), ("ERROR", "PyMongoError"), ("WARNING", "ServerSelectionTimeoutError"), ("WARNING", "NetworkTimeout")
    ]  # fmt: skip
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OperationFailure(SECRET, 238), UnsupportedError),
        (OperationFailure(SECRET, 85), NoIndexError),
        (OperationFailure(SECRET, 10_334), TooLargeError),
        (DocumentTooLarge(SECRET), TooLargeError),
        (OperationFailure(SECRET, 9), ServiceError),
        (DuplicateKeyError(SECRET, 11_000), ServiceError),
        (PyMongoError(SECRET), ServiceError),
    ],
)
async def test_other_refusals(caller: Caller, error: PyMongoError | BSONError, ours: type[Exception]) -> None:
    """What a retry can't help with is told at once, without the driver's text."""
    with pytest.raises(ours) as caught:
        await caller.call(failing(error))
    assert isinstance(caught.value, ServiceError)
    assert SECRET not in str(caught.value)


async def test_a_bulk_write_is_judged_by_what_is_no_duplicate(caller: Caller) -> None:
    """Duplicates beside a throttled document do not hide it."""
    errors = [{"index": 0, "code": 11_000}, {"index": 4, "code": 16_500, "errmsg": "RetryAfterMs=5"}]
    assert (await caller.call(failing(BulkWriteError({"writeErrors": errors})))).value == 2


async def test_calls_wait_in_the_order_they_came(caller: Caller) -> None:
    """No more are under way than there are connections, and nobody passes those who wait."""
    under_way: list[int] = []
    order: list[int] = []

    async def work(number: int) -> None:
        async def send() -> None:
            under_way.append(number)
            assert len(under_way) <= 2
            order.append(number)
            await asyncio.sleep(0)
            under_way.remove(number)

        await caller.call(send)
        await caller.call(send)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert order[:10] == list(range(10))
