"""How the account is named in the settings: every accepted form, and a clear error for every other."""

import base64
import subprocess
import sys

import pytest

from shared.backends import create_backend
from shared.backends.tables.access import Access, read_access
from shared.backends.tables.client import table_name
from shared.config import Settings
from shared.errors import ConfigurationError
from shared.models import ALL_MODELS, SystemEventLog
from tests.support.environment import REPOSITORY

KEY = base64.b64encode(b"k" * 64).decode()
SETTING = "DATABASE_CONNECTION_STRING"
ENDPOINT = "https://logos.table.core.windows.net"
LOCAL = "http://127.0.0.1:10002/devstoreaccount1"


def settings(text: str | None, endpoint: str | None = None) -> Settings:
    return Settings(database_type="tables", database_connection_string=text, tables_endpoint=endpoint)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (f"DefaultEndpointsProtocol=https;AccountName=logos;AccountKey={KEY};EndpointSuffix=core.windows.net", ENDPOINT),
        (f"AccountName=logos;AccountKey={KEY}", ENDPOINT),
        (f" accountname = logos ;\n ACCOUNTKEY = {KEY} ; ; ", ENDPOINT),
        (
            f"AccountName=logos;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn",
            "https://logos.table.core.chinacloudapi.cn",
        ),
        (f"AccountName=logos;AccountKey={KEY};TableEndpoint={ENDPOINT}/;BlobEndpoint=https://x/", ENDPOINT),
        (f"AccountName=logos;AccountKey={KEY};TableEndpoint=http://localhost:99/logos", "http://localhost:99/logos"),
    ],
)
def test_accepted_connection_strings(text: str, endpoint: str) -> None:
    """Order, case of names, blanks, other services' endpoints and the last semicolon play no part."""
    assert read_access(settings(text)) == Access(endpoint, SETTING, "logos", KEY)


def test_the_emulator_by_its_short_name() -> None:
    """UseDevelopmentStorage=true is the emulator on its usual port."""
    access = read_access(settings("UseDevelopmentStorage=true"))
    assert (access.endpoint, access.account) == (LOCAL, "devstoreaccount1")


def test_a_shared_access_signature() -> None:
    """A signature stands for account and key."""
    access = read_access(settings(f"TableEndpoint={ENDPOINT};SharedAccessSignature=?sv=2020&sig=abc%3D"))
    assert access == Access(ENDPOINT, SETTING, signature="sv=2020&sig=abc%3D")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (KEY, "not of a storage account"),
        ("AccountName=logos", "no AccountKey"),
        (f"AccountKey={KEY}", "no AccountName"),
        (f"AccountName=logos;AccountKey={KEY[:-3]}", "not base64"),
        ("AccountName=logos;AccountKey=<key>", "not base64"),
        (f"AccountName=logos;AccountKey={KEY};AccountKey={KEY}", "twice"),
        (f"AccountName=logos;AccountKey={KEY};Database=x", "not of a storage account"),
        (f"AccountName=a/b;AccountKey={KEY}", "letters and digits"),
        (f"AccountName=logos;AccountKey={KEY};TableEndpoint=http://logos.example/", "no account's address"),
        (f"AccountName=logos;AccountKey={KEY};TableEndpoint=https://u:{KEY}@logos.example/", "no account's address"),
        (f"AccountName=logos;AccountKey={KEY};TableEndpoint=https://logos.example:port/", "no account's address"),
        (f"UseDevelopmentStorage=true;AccountKey={KEY}", "says more"),
        (f"AccountEndpoint=https://logos.documents.azure.com:443/;AccountKey={KEY}", "not of a storage account"),
    ],
)
def test_malformed_connection_strings(text: str, says: str) -> None:
    """The error names the setting and what is wrong with it, and shows no key."""
    with pytest.raises(ConfigurationError, match=says) as raised:
        read_access(settings(text))
    assert str(raised.value).startswith(SETTING)
    assert KEY[:-3] not in str(raised.value)


def test_an_endpoint_for_a_managed_identity() -> None:
    """An endpoint alone is reached with an identity."""
    assert read_access(settings(None, f"{ENDPOINT}/")) == Access(ENDPOINT, "TABLES_ENDPOINT")


@pytest.mark.parametrize("endpoint", ["http://localhost:10002/x", "logos.table.core.windows.net", "https://", "https://a b/"])
def test_malformed_endpoints(endpoint: str) -> None:
    """An identity's token goes to https addresses only."""
    with pytest.raises(ConfigurationError, match="TABLES_ENDPOINT"):
        read_access(settings(None, endpoint))


def test_neither_and_both() -> None:
    """One way to reach the account must be set, and no more."""
    with pytest.raises(ConfigurationError, match="is not set"):
        read_access(settings(None))
    with pytest.raises(ConfigurationError, match="both set"):
        read_access(settings("UseDevelopmentStorage=true", ENDPOINT))


def test_names_of_tables() -> None:
    """Tables are called as the database without signs, and the route."""
    assert table_name("logo-gen_2", SystemEventLog) == "logogen2events"
    assert len({table_name("logogen", model) for model in ALL_MODELS}) == len(ALL_MODELS)


@pytest.mark.parametrize("name", ["2024", "x" * 60, "0-a"])
def test_database_names_that_tables_can_t_have(name: str) -> None:
    """The error says what the name may be."""
    with pytest.raises(ConfigurationError, match=r"DATABASE_NAME is .*begin with a letter"):
        create_backend(Settings(database_type="tables", tables_endpoint=ENDPOINT, database_name=name))


def test_secrets_stay_out_of_representations() -> None:
    """Neither key nor signature is shown when an access is printed."""
    access = Access(ENDPOINT, SETTING, "logos", KEY, "sig=abc")
    assert KEY not in repr(access)
    assert "abc" not in repr(access)


def test_a_missing_driver_names_its_pip_line() -> None:
    """Without the driver the start says how to install it."""
    program = (
        "import sys; sys.modules['azure.data.tables'] = None; sys.modules['azure.data.tables.aio'] = None\n"
        "from shared.backends import create_backend; from shared.config import Settings\n"
        "create_backend(Settings(database_type='tables', tables_endpoint='https://logos.table.core.windows.net'))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "pip install -r requirements.txt" in done.stderr.splitlines()[-1]
