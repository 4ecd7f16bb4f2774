"""Options of these tests: `--soak` is the long form, `--seed` (or RELIABILITY_SEED) does again what chance once did."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability")
    group.addoption("--soak", action="store_true", help="the long form of the reliability tests")
    group.addoption("--seed", type=int, help="what the reliability tests' chance starts from (default: RELIABILITY_SEED)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("seed", default=None) is None:
        config.option.seed = int(os.environ.get("RELIABILITY_SEED") or random.SystemRandom().randrange(1_000_000))


def pytest_report_header(config: pytest.Config) -> str:
    return f"reliability: --seed={config.option.seed}{' --soak' if config.option.soak else ''}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a test does, and the chance it does it by."""

    name: str
    seed: int
    soak: bool

    def times(self, short: int, long: int) -> int:
        """How often: by the form of the run."""
        return long if self.soak else short

    def chance(self, *parts: object) -> random.Random:
        """Chance that the seed, the test and the parts settle."""
        return random.Random("/".join(map(str, (self.seed, self.name, *parts))))


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> Effort:
    """A failure tells the seed that does it again."""
    config = request.config
    if config.getoption("seed", default=None) is None:
        pytest_configure(config)
    seed, soak = int(config.option.seed), bool(config.getoption("soak", default=False))
    request.node.add_report_section("call", "seed", f"--seed={seed}")
    return Effort(request.node.name, seed, soak)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, in memory where there is such a place: for tests whose disk is a simulated one."""
    path = Path(tempfile.mkdtemp(prefix="reliability", dir=_MEMORY if _MEMORY.is_dir() else None))
    yield path
    shutil.rmtree(path)
