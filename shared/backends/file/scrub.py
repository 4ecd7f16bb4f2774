"""Clears the free space of an SQLite file's pages, for a purge that leaves no copy.

`secure_delete` blanks a cell where it is deleted. Where SQLite moves cells between pages, older copies of them stay in the
unallocated space of the page they came from, which no query reads and nothing else blanks.
Source for the layout of pages: https://www.sqlite.org/fileformat2.html#b_tree_pages.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_PAGES_AT_ONCE = 256
_FILE_HEADER = 100
_PAGE_HEADER = struct.Struct(">BHHH")
"""Kind of page, first free block, number of cells, start of the cells' content (0 means 65,536)."""
_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}


class Scrubber:
    """Clears one file, by a descriptor that stays open.

    To close it while connections of this process are open would free the locks that SQLite holds through them: POSIX
    locks belong to the process and the file, not to the descriptor.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def clear(self) -> None:
        """See `clear_free_space`."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        clear_free_space(self._descriptor)

    def close(self) -> None:
        """To be called after the connections were closed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def clear_free_space(descriptor: int) -> None:
    """Blank what stands between the cell pointers and the cells of each page, and make that last.

    All changes must be in the file itself, none in a write-ahead log, and nobody may be writing. Readers don't notice.
    """
    [page_bytes] = struct.unpack(">H", os.pread(descriptor, 2, 16))
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    chunk_bytes = page_bytes * _PAGES_AT_ONCE
    for start in range(0, os.fstat(descriptor).st_size, chunk_bytes):
        chunk = os.pread(descriptor, chunk_bytes, start)
        for begin, end in _gaps(chunk, page_bytes, is_first=start == 0):
            if chunk.count(0, begin, end) != end - begin:
                os.pwrite(descriptor, bytes(end - begin), start + begin)
    os.fsync(descriptor)


def _gaps(chunk: bytes, page_bytes: int, *, is_first: bool) -> Iterator[tuple[int, int]]:
    for page in range(0, len(chunk) - page_bytes + 1, page_bytes):
        header = page + (_FILE_HEADER if is_first and page == 0 else 0)
        kind, _, cells, content = _PAGE_HEADER.unpack_from(chunk, header)
        if kind not in _HEADER_BYTES:
            continue
        begin, end = header + _HEADER_BYTES[kind] + 2 * cells, page + (content or 65_536)
        if begin < end <= page + page_bytes:
            yield begin, end
