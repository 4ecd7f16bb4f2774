"""How the account is named in the settings: every accepted form, and a clear error for every other."""

import base64

import pytest

from shared.backends.cosmosdb.access import Access, read_access
from shared.config import Settings
from shared.errors import ConfigurationError

KEY = base64.b64encode(b"k" * 64).decode()
ENDPOINT = "https://logos.documents.azure.com:443/"

accepted = pytest.mark.parametrize(
    "text",
    [
        f"AccountEndpoint={ENDPOINT};AccountKey={KEY};",
        f"AccountEndpoint={ENDPOINT};AccountKey={KEY}",
        f"AccountKey={KEY};AccountEndpoint={ENDPOINT}",
        f"accountendpoint={ENDPOINT};ACCOUNTKEY={KEY}",
        f" AccountEndpoint = {ENDPOINT} ;\n AccountKey = {KEY} ; ; ",
        f"AccountEndpoint={ENDPOINT};AccountKey={KEY};DisableServerCertificateValidation=false",
        f"AccountEndpoint={ENDPOINT[:-1]};AccountKey={KEY}",
    ],
)
malformed = pytest.mark.parametrize(
    ("text", "says"),
    [
        (KEY, "neither AccountEndpoint nor AccountKey"),
        (f"AccountEndpoint={ENDPOINT}", "no AccountKey"),
        (f"AccountEndpoint={ENDPOINT};AccountKey=", "no AccountKey"),
        (f"AccountKey={KEY}", "no AccountEndpoint"),
        (f"AccountEndpoint={ENDPOINT};AccountKey={KEY[:-3]}", "not base64"),
        (f"AccountEndpoint={ENDPOINT};AccountKey=<key>", "not base64"),
        (f"AccountEndpoint={ENDPOINT};AccountKey={KEY};AccountKey={KEY}", "twice"),
        (f"AccountEndpoint={ENDPOINT};AccountKey={KEY};Database=x", "neither"),
        (f"AccountEndpoint=logos.documents.azure.com;AccountKey={KEY}", "no account's address"),
        (f"AccountEndpoint=http://logos.documents.azure.com;AccountKey={KEY}", "no account's address"),
        (f"AccountEndpoint=https://user:{KEY}@logos.example/;AccountKey={KEY}", "no account's address"),
        (f"AccountEndpoint={ENDPOINT}dbs/x;AccountKey={KEY}", "no account's address"),
        (f"AccountEndpoint=https://logos.example:port/;AccountKey={KEY}", "no account's address"),
        (f"AccountEndpoint={ENDPOINT};AccountKey={KEY};DisableServerCertificateValidation=True", "certificate checks"),
        (f"DefaultEndpointsProtocol=https;AccountName=logos;AccountKey={KEY}", "neither"),
        (f"mongodb://logos:{KEY}@logos.mongo.cosmos.azure.com:10255/", "neither"),
    ],
)


def settings(text: str | None, endpoint: str | None = None) -> Settings:
    return Settings(database_type="cosmosdb", database_connection_string=text, cosmos_endpoint=endpoint)


@accepted
def test_accepted_connection_strings(text: str) -> None:
    """Order, case of names, blanks and the last semicolon play no part."""
    assert read_access(settings(text)) == Access(ENDPOINT, "DATABASE_CONNECTION_STRING", KEY)


@malformed
def test_malformed_connection_strings(text: str, says: str) -> None:
    """The error names the setting and what is wrong with it, and shows no key."""
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING") as caught:
        read_access(settings(text))
    assert says in str(caught.value)
    assert KEY[:20] not in str(caught.value)


def test_an_emulator_on_this_machine() -> None:
    """Plain HTTP and unchecked certificates are for this machine only."""
    text = f"AccountEndpoint=http://localhost:8081/;AccountKey={KEY};DisableServerCertificateValidation=True;"
    assert read_access(settings(text)).endpoint == "http://localhost:8081/"


def test_an_endpoint_for_an_identity() -> None:
    """COSMOS_ENDPOINT alone has no key."""
    assert read_access(settings(None, "https://logos.documents.azure.com")) == Access(
        "https://logos.documents.azure.com/", "COSMOS_ENDPOINT"
    )


@pytest.mark.parametrize("endpoint", ["logos", "ftp://logos.example/", "https://", "https://a b/"])
def test_malformed_endpoints(endpoint: str) -> None:
    """A wrong endpoint is told by its setting."""
    with pytest.raises(ConfigurationError, match="COSMOS_ENDPOINT"):
        read_access(settings(None, endpoint))


def test_neither_and_both() -> None:
    """Exactly one of the two ways must be set."""
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING is not set"):
        read_access(settings(None))
    with pytest.raises(ConfigurationError, match="both set"):
        read_access(settings(f"AccountEndpoint={ENDPOINT};AccountKey={KEY}", ENDPOINT))


def test_no_secret_in_representations() -> None:
    """Neither the settings nor the access show the key."""
    made = settings(f"AccountEndpoint={ENDPOINT};AccountKey={KEY}")
    assert KEY not in repr(made)
    assert KEY not in repr(read_access(made))


def test_the_environment() -> None:
    """The variables are read, with 4 buckets and `logogen` where nothing is said."""
    environment = {"DATABASE_TYPE": "CosmosDB", "DATABASE_CONNECTION_STRING": "x", "PRIVACY_SALT": "s" * 16}
    made = Settings.from_env(environment)
    assert (made.database_type, made.database_name, made.cosmos_buckets) == ("cosmosdb", "logogen", 4)
    changed = Settings.from_env({**environment, "DATABASE_NAME": "logos-2", "COSMOS_BUCKETS": "16"})
    assert (changed.database_name, changed.cosmos_buckets) == ("logos-2", 16)


@pytest.mark.parametrize(("name", "value"), [("COSMOS_BUCKETS", "0"), ("COSMOS_BUCKETS", "257"), ("DATABASE_NAME", "a/b")])
def test_wrong_variables(name: str, value: str) -> None:
    """A wrong value is told by its variable."""
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env({name: value})
