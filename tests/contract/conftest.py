"""One fixture with a parameter per backend: every test here runs unchanged on each."""

from collections.abc import AsyncIterator

import pytest

from shared.backends.base import Backend
from tests.contract.gaps import gap_of
from tests.contract.stores import STORES, Store
from tests.support.records import make


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database."""
    gap = gap_of(request.param, request.node)
    if gap is not None:
        pytest.skip(gap)
    async with STORES[request.param](request) as settings:
        yield Store(settings)


@pytest.fixture
async def backend(store: Store) -> AsyncIterator[Backend]:
    """A connected instance over the empty database."""
    async with store.open() as instance:
        yield instance


@pytest.fixture(autouse=True)
def _same_records_every_time() -> None:
    """Each test's records are the same, whichever tests ran before it."""
    make.restart()
