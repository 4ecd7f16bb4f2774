"""What the service logs is its own, on every database."""

import re

from tests.http.conftest import Host

_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +([\w.]+):")


async def test_no_driver_speaks(host: Host, mark: str) -> None:
    """No line is a driver's, whose lines name hosts, addresses and what was asked for."""
    record = {"id": f"{mark}-quiet", "eventType": mark, "message": "quietly"}
    async with host.connect() as client:
        assert (await client.post("/api/events", json=record)).status == 201
        assert (await client.get("/api/events", params={"eventType": mark})).json()["count"] == 1
        assert (await client.patch(f"/api/events/{record['id']}", json={"version": "2"})).status == 200
        assert (await client.delete(f"/api/events/{record['id']}")).status == 204
        assert (await client.get("/api/health")).status == 200
    log = host.log.read_text(encoding="utf-8")
    assert {name for name in _LINE.findall(log) if not name.startswith("shared.")} == set()
    assert mark not in log
