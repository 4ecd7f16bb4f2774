"""Configuration: read once, checked at start, and silent about secrets."""

from pathlib import Path

import pytest

from shared.config import Settings
from shared.errors import ConfigurationError

SECRET = "correct-horse-battery-staple"


def test_nothing_set_gives_a_service_on_plain_files() -> None:
    """The defaults need no account, no network and no salt, and keep everything for ever."""
    settings = Settings.from_env({})
    assert (settings.database_type, settings.database_data_dir) == ("file", Path("data"))
    assert settings.privacy_salt is None
    assert settings.privacy_ip_mode == "truncate"
    assert set(settings.retention_days.values()) == {0}
    assert (settings.retention_schedule, settings.request_deadline_seconds) == ("0 30 3 * * *", 100.0)


def test_empty_variables_count_as_unset() -> None:
    """Deployment templates leave variables empty."""
    assert Settings.from_env({"DATABASE_TYPE": "", "DATABASE_MAX_CACHE_SIZE": " "}) == Settings.from_env({})


def test_a_password_is_taken_as_it_is() -> None:
    """Spaces around any other value don't count; those of a password belong to it."""
    settings = Settings.from_env({"DATABASE_PASSWORD": " secret ", "DATABASE_USERNAME": " anna "})
    assert (settings.database_password, settings.database_username) == (" secret ", "anna")


def test_the_original_s_name_means_the_same() -> None:
    """DATABASE_TYPE=mock is the file backend."""
    assert Settings.from_env({"DATABASE_TYPE": "Mock"}).database_type == "file"


def test_every_variable_is_read() -> None:
    """Each variable reaches its field."""
    settings = Settings.from_env(
        {
            "DATABASE_DATA_DIR": "/tmp/x",
            "DATABASE_ENABLE_CACHE": "false",
            "DATABASE_MAX_CACHE_SIZE": "5",
            "PRIVACY_SALT": SECRET,
            "PRIVACY_SALT_PREVIOUS": f"{SECRET}-1, {SECRET}-2",
            "PRIVACY_IP_MODE": "HASH",
            "RETENTION_DAYS_EVENTS": "90",
            "RETENTION_SCHEDULE": "*/5 * * * * *",
            "REQUEST_DEADLINE_SECONDS": "2.5",
        }
    )
    assert settings == Settings(
        database_data_dir=Path("/tmp/x"),
        database_enable_cache=False,
        database_max_cache_size=5,
        privacy_salt=SECRET,
        privacy_salt_previous=(f"{SECRET}-1", f"{SECRET}-2"),
        privacy_ip_mode="hash",
        retention_days={**Settings().retention_days, "SystemEventLog": 90},
        retention_schedule="*/5 * * * * *",
        request_deadline_seconds=2.5,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_TYPE", "oracle"),
        ("DATABASE_ENABLE_CACHE", "maybe"),
        ("DATABASE_MAX_CACHE_SIZE", "-1"),
        ("DATABASE_MAX_CACHE_SIZE", "1e3"),
        ("DATABASE_MAX_CACHE_SIZE", "٣"),
        ("PRIVACY_IP_MODE", "keep"),
        ("RETENTION_DAYS_TRANSACTIONS", "36501"),
        ("RETENTION_DAYS_SESSIONS", "1.5"),
        ("RETENTION_SCHEDULE", "30 3 * * *"),
        ("RETENTION_SCHEDULE", "0 99 3 * * *"),
        ("REQUEST_DEADLINE_SECONDS", "0"),
        ("REQUEST_DEADLINE_SECONDS", "231"),
        ("REQUEST_DEADLINE_SECONDS", "nan"),
    ],
)
def test_a_wrong_value_stops_the_start(name: str, value: str) -> None:
    """The error names the variable, its value and what it may be."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert repr(value) in message
    assert "must be" in message


@pytest.mark.parametrize("name", ["PRIVACY_SALT", "PRIVACY_SALT_PREVIOUS"])
def test_a_secret_is_never_shown(name: str) -> None:
    """Neither an error nor the repr of the settings holds a salt."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({name: "too-short"})
    assert "too-short" not in str(caught.value)
    assert SECRET not in repr(Settings.from_env({name: SECRET}))


def test_files_are_refused_where_the_disk_vanishes() -> None:
    """In Azure the file backend stops the start; on a developer's host it does not."""
    with pytest.raises(ConfigurationError, match="DATABASE_TYPE"):
        Settings.from_env({"WEBSITE_INSTANCE_ID": "abc"})
    Settings.from_env({"WEBSITE_INSTANCE_ID": "abc", "AZURE_FUNCTIONS_ENVIRONMENT": "Development"})


def test_settings_can_not_be_changed() -> None:
    """Configuration is frozen."""
    with pytest.raises(AttributeError):
        Settings().database_type = "other"  # type: ignore[misc]


@pytest.mark.parametrize("schedule", ["0 30 3 * * 7", "0 30 3 L * *", "0 30 3 * * 1#2", "0 30 3 * * MOO"])
def test_a_schedule_that_the_host_would_refuse_stops_the_start(schedule: str) -> None:
    """What cron takes and NCRONTAB does not is found at the start, not when the timer is indexed."""
    with pytest.raises(ConfigurationError, match="RETENTION_SCHEDULE"):
        Settings.from_env({"RETENTION_SCHEDULE": schedule})


def test_a_schedule_may_name_its_days() -> None:
    """Names of days and months are NCRONTAB, short or whole."""
    assert Settings.from_env({"RETENTION_SCHEDULE": "0 30 3 * jan Monday"}).retention_schedule == "0 30 3 * jan Monday"
