"""Work that rewrites segments: compaction, and purges that leave no copy behind. It runs under the directory's lock."""

from collections.abc import Sequence

from shared.backends.file.store import Store
from shared.models import Record


def purge(store: Store, model: type[Record], record_ids: Sequence[str]) -> int:
    raise NotImplementedError
