"""`python -m shared cosmos check`: the account against the code, in words."""

import asyncio
from collections.abc import Iterator

import pytest

from shared.backends.cosmosdb.access import Access
from shared.backends.cosmosdb.backend import CosmosBackend
from shared.backends.cosmosdb.definitions import differences, indexing_policy
from shared.cli import main
from shared.models import ALL_MODELS, SystemEventLog
from shared.query import Query
from tests.servers.cosmos.running import KEY, RunningAccount, new_account, running


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAccount]:
    """An account that the settings name."""
    with running(new_account()) as account:
        monkeypatch.setenv("DATABASE_TYPE", "cosmosdb")
        monkeypatch.setenv("DATABASE_CONNECTION_STRING", account.connection_string)
        monkeypatch.setenv("PRIVACY_SALT", "a salt of the tests")
        yield account


def make_containers(account: RunningAccount) -> None:
    async def make() -> None:
        backend = CosmosBackend(Access(account.url, "TEST", KEY), "logogen", 4)
        await backend.connect()
        for model in ALL_MODELS:
            await backend.count(Query(model))
        await backend.disconnect()

    asyncio.run(make())


def test_an_account_without_containers(served: RunningAccount, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing containers are named, nothing is made, and the exit code is 1."""
    assert main(["cosmos", "check"]) == 1
    assert "events: differs\n  it is missing" in capsys.readouterr().out
    assert served.account.databases == {}


def test_an_account_as_expected(served: RunningAccount, capsys: pytest.CaptureFixture[str]) -> None:
    """What the service made is what the code expects."""
    make_containers(served)
    assert main(["cosmos", "check"]) == 0
    assert capsys.readouterr().out.count("as expected") == len(ALL_MODELS)


def test_other_buckets(served: RunningAccount, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers made with another COSMOS_BUCKETS differ."""
    make_containers(served)
    monkeypatch.setenv("COSMOS_BUCKETS", "8")
    assert main(["cosmos", "check"]) == 1
    assert "it records COSMOS_BUCKETS=4, expected COSMOS_BUCKETS=8" in capsys.readouterr().out


def test_an_account_that_is_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so, without an address."""
    monkeypatch.setenv("DATABASE_TYPE", "cosmosdb")
    monkeypatch.setenv("DATABASE_CONNECTION_STRING", f"AccountEndpoint=http://127.0.0.1:9/;AccountKey={KEY};")
    monkeypatch.setenv("PRIVACY_SALT", "a salt of the tests")
    assert main(["cosmos", "check"]) == 1
    assert capsys.readouterr().err == "error: The database can't be reached.\n"


def test_another_database(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With another DATABASE_TYPE there is nothing to check."""
    monkeypatch.setenv("DATABASE_TYPE", "file")
    assert main(["cosmos", "check"]) == 1
    assert "must be 'cosmosdb'" in capsys.readouterr().err


def test_differences_in_words() -> None:
    """Partition key, time to live, and each index that is missing or needless are told."""
    policy = indexing_policy(SystemEventLog, 4)
    policy["includedPaths"] = [*policy["includedPaths"][1:], {"path": "/message/?"}]
    policy["compositeIndexes"] = policy["compositeIndexes"][1:]
    found = differences(SystemEventLog, {"partitionKey": {"paths": ["/id"]}, "indexingPolicy": policy}, 4)
    assert found == [
        "its partition key is /id, expected /pk",
        "its default time to live is off, expected -1 (items decide)",
        "it lacks /pk/?, expected: it indexes it",
        "it indexes /message/?, which nothing needs",
        "it lacks (/timestamp descending, /id descending), expected: it has the composite index it",
    ]
