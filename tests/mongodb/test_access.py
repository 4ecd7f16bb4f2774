"""How the server is named in the settings: every accepted form, and a clear error for every other."""

import traceback
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.client import Connection
from shared.config import Settings
from shared.errors import ConfigurationError

PASSWORD = "p4ssw0rd-of-tests"

accepted = pytest.mark.parametrize(
    "text",
    [
        "mongodb://localhost",
        "mongodb://127.0.0.1:27017/?directConnection=true",
        f"mongodb://logo:{PASSWORD}@one.example:27017,two.example:27018/admin?replicaSet=rs0&tls=true",
        f"mongodb+srv://logo:{PASSWORD}@cluster0.abcde.mongodb.net/?retryWrites=true&w=majority&appName=Cluster0",
        f"mongodb+srv://logo:{PASSWORD}@cluster0.abcde.mongodb.net/",
        f"mongodb://logos:{PASSWORD}%3D%3D@logos.mongo.cosmos.azure.com:10255/?ssl=true&retrywrites=false&appName=@logos@",
        "mongodb://localhost/?w=majority&readPreference=primary&readConcernLevel=local",
    ],
)
malformed = pytest.mark.parametrize(
    ("text", "says"),
    [
        (PASSWORD, "no connection string"),
        (f"postgresql://logo:{PASSWORD}@localhost/", "no connection string"),
        ("mongodb://", "malformed"),
        (f"mongodb://logo:hun/{PASSWORD}$@db", "malformed"),
        (f"mongodb://logo@localhost/?tls=true&tlsCertificateKeyFile=/{PASSWORD}/none.pem", "malformed"),
        (f"mongodb://logo:{PASSWORD}@@localhost/", "malformed"),
        (f"mongodb://logo:{PASSWORD}@localhost:port/", "malformed"),
        (f"mongodb://logo:{PASSWORD}@localhost/?noSuchOption=1", "malformed"),
        (f"mongodb+srv://logo:{PASSWORD}@logos.example/?noSuchOption=1", "malformed"),
        (f"mongodb+srv://logo:hun/{PASSWORD}@logos.example/", "malformed"),
        (f"mongodb+srv://logo:{PASSWORD}@@logos.example/?w=majority", "malformed"),
        (f"mongodb://logo:{PASSWORD}@localhost/?maxPoolSize=many", "malformed"),
        (f"mongodb://logo:{PASSWORD}@localhost/?maxPoolSize=0", "maxPoolSize=0"),
        (f"mongodb://logo:{PASSWORD}@localhost/?w=0", "w=0; must be majority"),
        (f"mongodb://logo:{PASSWORD}@localhost/?w=1", "w=1; must be majority"),
        (f"mongodb://logo:{PASSWORD}@localhost/?journal=false", "journal=false; must be true"),
        (f"mongodb://logo:{PASSWORD}@localhost/?readPreference=secondary", "readPreference=secondary; must be primary"),
        (f"mongodb://logo:{PASSWORD}@localhost/?readConcernLevel=available", "readConcernLevel=available; must be"),
        (f"mongodb://logo:{PASSWORD}@localhost/?readConcernLevel=Majority", "readConcernLevel=Majority; must be"),
        (f"mongodb+srv://logo:{PASSWORD}@logos.example/?readPreference=Primary", "readPreference=Primary; must be"),
    ],
)


def settings(text: str | None = None, **others: Any) -> Settings:
    return Settings(database_type="mongodb", database_connection_string=text, **others)


@accepted
def test_accepted_connection_strings(text: str) -> None:
    """Replica sets, Atlas and Cosmos DB for MongoDB are reached by the strings that they give out."""
    access = read_access(settings(text))
    assert (access.address, access.setting, access.pool_size) == (text, "DATABASE_CONNECTION_STRING", 10)


@malformed
def test_malformed_connection_strings(text: str, says: str) -> None:
    """The error names the setting and what is wrong with it, and shows no password."""
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING") as caught:
        read_access(settings(text))
    assert says in str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_what_a_connection_string_says_holds() -> None:
    """Sizes and times of the string stand before ours; nobody turns majority writes off or the driver's own retries on."""
    text = "mongodb://localhost/?maxPoolSize=3&serverSelectionTimeoutMS=500&retryWrites=true"
    options = read_access(settings(text, database_pool_size=7)).options
    assert options["maxPoolSize"] == 3
    assert "serverSelectionTimeoutMS" not in options
    assert (options["w"], options["journal"], options["retryWrites"]) == ("majority", True, False)


@pytest.mark.parametrize(
    "named",
    [
        settings(database_host="localhost"),
        settings("mongodb://localhost"),
        settings("mongodb://localhost/?retryReads=true&retryWrites=true"),
        settings("mongodb+srv://logo:p@logos.example/?retryReads=true&retryWrites=true"),
    ],
    ids=["host", "plain", "retries", "srv"],
)
def test_what_is_read_and_kept(named: Settings) -> None:
    """Unless the string says otherwise, reads see what a majority has; writes wait for one; the driver sends nothing again."""
    options = read_access(named).options
    assert {name: options[name] for name in ("readConcernLevel", "readPreference", "w", "journal")} == {
        "readConcernLevel": "majority", "readPreference": "primary", "w": "majority", "journal": True
    }  # fmt: skip
    assert (options["retryReads"], options["retryWrites"]) == (False, False)


async def test_the_client_takes_the_options() -> None:
    """The driver knows them by these names: another would be passed over."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        "mongodb://localhost", **read_access(settings("mongodb://localhost")).options
    )
    assert (client.read_concern.level, client.read_preference.mongos_mode) == ("majority", "primary")
    assert client.write_concern.document == {"w": "majority", "j": True}
    assert (client.options.retry_reads, client.options.retry_writes) == (False, False)
    await client.close()


@pytest.mark.parametrize(
    ("host", "tls", "expected"),
    [
        ("localhost", None, False),
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("LOCALHOST", None, False),
        ("mongo.example", None, True),
        ("10.0.0.4", None, True),
        ("localhost", True, True),
        ("mongo.example", False, False),
    ],
)
def test_tls_for_hosts_that_are_not_local(host: str, *, tls: bool | None, expected: bool) -> None:
    """Other machines are reached with TLS unless DATABASE_TLS says otherwise."""
    assert read_access(settings(database_host=host, database_tls=tls)).options["tls"] is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mongodb://localhost", None),
        ("mongodb://logo:p@127.0.0.1,[::1]:27018/", None),
        ("mongodb://logo:p@%2Ftmp%2Fmongodb-27017.sock/", None),
        ("mongodb://logo:p@db.example/", True),
        ("mongodb://localhost,db.example/?replicaSet=rs0", True),
        ("mongodb://db.example/?tls=false", None),
        ("mongodb://db.example/?SSL=false", None),
        ("mongodb+srv://logo:p@cluster0.abcde.mongodb.net/", None),
    ],
)
def test_tls_of_a_connection_string(text: str, expected: bool | None) -> None:  # noqa: FBT001 - a parameter
    """Other machines are reached with TLS unless the string says otherwise, as mongodb+srv does by itself."""
    assert read_access(settings(text)).options.get("tls") is expected


async def test_options_that_do_not_go_together() -> None:
    """What only the client finds out names the setting too, and shows no password."""
    access = read_access(settings(f"mongodb://logo:{PASSWORD}@localhost/?authMechanism=MONGODB-X509"))
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING has options") as caught:
        await Connection(access, "logogen", {}).open()
    assert caught.value.__suppress_context__
    assert "MONGODB-X509" not in "".join(traceback.format_exception(caught.value))


def test_an_answer_may_take_as_long_as_a_request() -> None:
    """A long count is not given up, to be begun again, before the request's deadline."""
    for named in (settings("mongodb://localhost", request_deadline_seconds=50), settings(database_host="localhost")):
        assert read_access(named).options["socketTimeoutMS"] == named.request_deadline_seconds * 1_000
    assert "socketTimeoutMS" not in read_access(settings("mongodb://localhost/?socketTimeoutMS=500")).options


def test_a_host_with_a_user() -> None:
    """User and password are taken as they are, whatever characters they have."""
    access = read_access(
        settings(database_host="mongo.example", database_port=27018, database_username="lo:go", database_password="a@b/c%")
    )
    assert access.address == "mongodb://mongo.example:27018/"
    assert (access.options["username"], access.options["password"]) == ("lo:go", "a@b/c%")


def test_addresses_of_version_six() -> None:
    """With or without brackets."""
    for host in ("fd00::5", "[fd00::5]"):
        assert read_access(settings(database_host=host)).address == "mongodb://[fd00::5]:27017/"


@pytest.mark.parametrize("host", ["mongodb://localhost", "localhost:27017", "a/b", "a b", "user@host", "a,b"])
def test_malformed_hosts(host: str) -> None:
    """A host is a name or an address alone."""
    with pytest.raises(ConfigurationError, match="DATABASE_HOST"):
        read_access(settings(database_host=host))


def test_half_a_user() -> None:
    """A user needs a password and a password a user."""
    with pytest.raises(ConfigurationError, match="DATABASE_PASSWORD is not set"):
        read_access(settings(database_host="localhost", database_username="logo"))
    with pytest.raises(ConfigurationError, match="DATABASE_USERNAME is not set") as caught:
        read_access(settings(database_host="localhost", database_password=PASSWORD))
    assert PASSWORD not in str(caught.value)


def test_neither_and_both() -> None:
    """Exactly one of the two ways must be set."""
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING is not set"):
        read_access(settings())
    for name, value in {"database_host": "localhost", "database_password": PASSWORD, "database_tls": True}.items():
        with pytest.raises(ConfigurationError, match=f"{name.upper()} are both set"):
            read_access(settings("mongodb://localhost", **{name: value}))


def test_no_secret_in_representations() -> None:
    """Neither the settings nor the access show the password."""
    for made in (
        settings(f"mongodb://logo:{PASSWORD}@localhost/"),
        settings(database_host="localhost", database_username="logo", database_password=PASSWORD),
    ):
        assert PASSWORD not in repr(made)
        assert PASSWORD not in repr(read_access(made))
