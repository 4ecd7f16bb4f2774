"""How the server is named in the settings: every accepted form, TLS by default, and a clear error for every other."""

from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from shared.backends.postgresql.access import read_access
from shared.config import Settings
from shared.errors import ConfigurationError

PASSWORD = "correct-horse"


def parameters(**settings: Any) -> dict[str, Any]:
    """What the driver is told."""
    return conninfo_to_dict(read_access(Settings(database_type="postgresql", **settings)).conninfo)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://anna:{PASSWORD}@db.example:6432/logos",
        f"postgres://anna:{PASSWORD}@db.example:6432/logos",
        f"host=db.example port=6432 dbname=logos user=anna password={PASSWORD}",
        f"host=db.example port=6432 dbname=logos user='anna' password='{PASSWORD}' application_name=''",
    ],
)
def test_accepted_connection_strings(text: str) -> None:
    """A URI and keywords mean the same."""
    given = parameters(database_connection_string=text, database_name="other")
    assert [given[name] for name in ("host", "port", "dbname", "user", "password")] == [
        "db.example", "6432", "logos", "anna", PASSWORD
    ]  # fmt: skip
    assert given["sslmode"] == "verify-full"


def test_settings_of_their_own() -> None:
    """Host, port, name, user and password may be given one by one."""
    given = parameters(
        database_host="db.example",
        database_port=6432,
        database_name="logos",
        database_username="anna",
        database_password="with 'quotes' and \\",
    )
    assert [given[name] for name in ("host", "port", "dbname", "user", "password")] == [
        "db.example", "6432", "logos", "anna", "with 'quotes' and \\"
    ]  # fmt: skip


def test_a_string_without_a_database() -> None:
    """DATABASE_NAME is taken where the connection string names none."""
    assert parameters(database_connection_string="postgresql://db.example", database_name="logos")["dbname"] == "logos"


def test_parameters_of_the_driver() -> None:
    """Whatever else the string says reaches the driver, over our own defaults."""
    given = parameters(database_connection_string="postgresql://h/?connect_timeout=3&target_session_attrs=read-write")
    assert (given["connect_timeout"], given["target_session_attrs"]) == ("3", "read-write")
    assert (given["application_name"], given["tcp_user_timeout"]) == ("logogen", "10000")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "/var/run/postgresql"])
def test_this_machine_needs_no_tls(host: str) -> None:
    """Hosts of this machine are reached without TLS unless DATABASE_TLS says so."""
    assert parameters(database_host=host)["sslmode"] == "disable"
    assert parameters(database_host=host, database_tls=True)["sslmode"] == "verify-full"


@pytest.mark.parametrize("host", ["db.example", "10.0.0.4", "localhost,db.example", "localhost.example"])
def test_other_machines_need_tls(host: str) -> None:
    """Other hosts are reached by TLS, with their certificate checked, unless DATABASE_TLS is false."""
    given = parameters(database_host=host)
    assert given["sslmode"] == "verify-full"
    assert given["sslrootcert"] == "system" or Path(given["sslrootcert"]).is_file()
    assert parameters(database_host=host, database_tls=False)["sslmode"] == "disable"


def test_the_string_s_own_tls_mode() -> None:
    """A mode in the connection string stays, and so does a certificate."""
    assert parameters(database_connection_string="postgresql://db.example/?sslmode=require")["sslmode"] == "require"
    given = parameters(database_connection_string="postgresql://db.example/?sslrootcert=/ca.pem")
    assert (given["sslmode"], given["sslrootcert"]) == ("verify-full", "/ca.pem")


@pytest.mark.parametrize(
    ("text", "variable", "named"),
    [
        ("service=prod", None, "service"),
        ("dbname=logos", "PGHOST", "PGHOST"),
        ("dbname=logos", "PGHOSTADDR", "PGHOSTADDR"),
        ("dbname=logos", "PGSERVICE", "PGSERVICE"),
        ("host=localhost", "PGHOSTADDR", "PGHOSTADDR"),
        ("host=localhost service=prod", None, "service"),
        ("host=localhost", "PGSERVICE", "PGSERVICE"),
    ],
)
def test_a_host_that_is_named_elsewhere(text: str, variable: str | None, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for this machine, and so reached without TLS, whose host only the driver would find."""
    if variable is not None:
        monkeypatch.setenv(variable, "10.0.0.4")
    with pytest.raises(ConfigurationError, match=f"CONNECTION_STRING leaves the server's address to {named}; must say"):
        parameters(database_connection_string=text)
    assert parameters(database_connection_string=f"{text} sslmode=verify-full")["sslmode"] == "verify-full"
    assert parameters(database_connection_string=f"{text} hostaddr=10.0.0.5")["sslmode"] == "verify-full"


def test_one_of_several_hosts() -> None:
    """The one that takes writes is looked for, unless the string says otherwise; a single host is taken as it is."""
    assert parameters(database_host="a.example,b.example")["target_session_attrs"] == "primary"
    text = "host=a.example,b.example"
    assert parameters(database_connection_string=text)["target_session_attrs"] == "primary"
    other = f"{text} target_session_attrs=any"
    assert parameters(database_connection_string=other)["target_session_attrs"] == "any"
    assert "target_session_attrs" not in parameters(database_host="a.example")


@pytest.mark.parametrize(("mode", "tls"), [("disable", True), ("prefer", True), ("verify-full", False), ("require", False)])
def test_contradicting_tls_settings(mode: str, tls: bool) -> None:  # noqa: FBT001 - a parameter
    """DATABASE_TLS and the string's mode must agree."""
    with pytest.raises(ConfigurationError, match=rf"DATABASE_TLS is '{str(tls).lower()}'.*sslmode={mode}"):
        parameters(database_connection_string=f"postgresql://db.example/?sslmode={mode}", database_tls=tls)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://anna:{PASSWORD}@db.example:port/logos?nonsense=1",
        f"host=db.example password={PASSWORD} nonsense=1",
        f"AccountEndpoint=https://db.example/;AccountKey={PASSWORD};",
        f"mongodb://anna:{PASSWORD}@db.example/logos",
        PASSWORD,
    ],
)
def test_malformed_connection_strings(text: str) -> None:
    """The error names the variable and what it may be, and shows nothing of its value."""
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING can't be read; must be postgresql://") as caught:
        parameters(database_connection_string=text)
    assert PASSWORD not in str(caught.value)


def test_no_server_is_named() -> None:
    """One of the two variables must be set, and not both."""
    with pytest.raises(ConfigurationError, match=r"DATABASE_CONNECTION_STRING is not set.*DATABASE_HOST"):
        parameters()
    others = {"database_host": "h", "database_port": 5432, "database_username": "anna", "database_password": PASSWORD}
    for name, value in others.items():
        with pytest.raises(ConfigurationError, match=f"{name.upper()} are both set") as caught:
            parameters(database_connection_string="postgresql://db.example", **{name: value})
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        f"postgresql://anna:{PASSWORD}@db.example/logos",
        f"anna:{PASSWORD}@db.example",
        f"password={PASSWORD}",
        f"db.example {PASSWORD}",
        f"db.example\t{PASSWORD}",
    ],
)
def test_a_host_that_is_none(host: str) -> None:
    """DATABASE_HOST is a host, and what else stands there is not shown: it may hold a password."""
    with pytest.raises(ConfigurationError, match=r"DATABASE_HOST can't be read; must be a host name") as caught:
        parameters(database_host=host)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.example", "db.example,a..b"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    """It stops the start, whichever setting it stands in."""
    with pytest.raises(ConfigurationError, match="DATABASE_HOST names a host that can't be"):
        parameters(database_host=host)
    with pytest.raises(ConfigurationError, match="DATABASE_CONNECTION_STRING names a host that can't be"):
        parameters(database_connection_string=f"postgresql://{host}/logos")


@pytest.mark.parametrize("host", ["@logogen", "/var/run/postgresql", f"/{'x' * 70}/a..b"])
def test_sockets(host: str) -> None:
    """A socket's folder, or its abstract name, is no host name and held to none of its rules."""
    assert parameters(database_host=host)["host"] == host


def test_no_password_is_shown() -> None:
    """An access that is printed shows no password."""
    access = read_access(Settings(database_type="postgresql", database_host="db.example", database_password=PASSWORD))
    assert PASSWORD not in repr(access)
