"""The retention timer while its database is away: the host is told that it failed, in our words."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.azurite import ACCOUNT, connection_string
from tests.servers.tools import free_port
from tests.support.clients import HttpClient
from tests.support.environment import REPOSITORY
from tests.support.serve import Serve

AWAY: dict[str, Callable[[int], dict[str, str]]] = {
    "tables": lambda port: {"DATABASE_CONNECTION_STRING": connection_string(f"http://127.0.0.1:{port}/{ACCOUNT}")},
    "mongodb": lambda port: {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(port)},
}


@pytest.mark.parametrize("database_type", AWAY)
async def test_a_run_without_a_database(database_type: str, tmp_path: Path) -> None:
    """It fails with a message that names no host and none of the driver's errors."""
    port = free_port()
    settings = {
        **AWAY[database_type](port),
        "DATABASE_TYPE": database_type,
        "PRIVACY_SALT": "a-salt-for-tests-only",
        "RETENTION_DAYS_EVENTS": "90",
    }
    with Serve(REPOSITORY, state=tmp_path / "state", log=tmp_path / "log", environment=settings) as serve:
        async with HttpClient(serve.url) as client:
            assert (await client.post("/admin/functions/retention", json={"input": ""})).status == 202
        await _until_logged(serve, "UnavailableError: The database can't be reached.")
    for foreign in (f":{port} ", "azure.core", "aiohttp", "pymongo", "During handling", "direct cause"):
        assert foreign not in serve.output()


async def _until_logged(serve: Serve, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in serve.output():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
