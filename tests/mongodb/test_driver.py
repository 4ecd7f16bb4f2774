"""The driver comes with this backend only."""

import subprocess
import sys

from tests.support.environment import REPOSITORY

_WITHOUT = """
import sys
sys.modules["pymongo"] = sys.modules["bson"] = None
from shared.backends import create_backend
from shared.config import Settings
from shared.errors import ConfigurationError
try:
    create_backend(Settings(database_type="mongodb", database_host="localhost"))
except ConfigurationError as error:
    print(error)
"""
_OTHER = """
import sys
from shared.backends import create_backend
from shared.config import Settings
create_backend(Settings(database_type="file"))
print([name for name in ("pymongo", "bson") if name in sys.modules])
"""


def _printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_missing_driver() -> None:
    """Without it the start stops with the line that installs it."""
    assert _printed(_WITHOUT).endswith("run: pip install -r requirements-mongodb.txt")


def test_other_backends_do_without() -> None:
    """Another DATABASE_TYPE loads none of it."""
    assert _printed(_OTHER) == "[]"
