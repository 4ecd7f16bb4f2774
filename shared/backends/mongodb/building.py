"""`python -m shared mongodb indexes`: makes the indexes that requests do without, however long it takes."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace

from shared.backends.mongodb.access import read_access
from shared.backends.mongodb.client import Connection
from shared.backends.mongodb.documents import collection_name
from shared.config import Settings
from shared.models import ALL_MODELS
from shared.timing import set_deadline

_LONG_SECONDS = 30 * 86_400.0


async def build(settings: Settings) -> AsyncIterator[str]:
    """A line for each collection when it is done. Raises ConfigurationError and TransientError."""
    set_deadline(_LONG_SECONDS)
    access = read_access(settings)
    access = replace(access, options={**access.options, "socketTimeoutMS": 0})
    connection = Connection(access, settings.database_name, settings.retention_days)
    await connection.open()
    try:
        for model in ALL_MODELS:
            made = await connection.make_indexes(model, math.inf)
            yield f"{collection_name(model)}: {', '.join(made) or 'nothing to make'}"
    finally:
        await connection.close()
