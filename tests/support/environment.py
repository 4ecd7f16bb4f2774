"""The environment that child processes of the tests start from: nothing of the developer's settings gets in."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


def clean_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
