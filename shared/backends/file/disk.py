"""The one seam through which data files are changed: appends, overwrites, syncs, cuts, renames and unlinks.

Reading does not pass here. Tests record, delay or break what passes.
"""

import os
from pathlib import Path

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


class Disk:
    """Changes files and raises OSError as the system does. Nothing lasts before its sync."""

    def open_append(self, path: Path) -> int:
        """A descriptor that appends and reads; makes the file if need be."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def write(self, descriptor: int, data: bytes) -> int:
        """Append at the end of the file; how many bytes were taken, which may be fewer."""
        return os.write(descriptor, data)

    def open_overwrite(self, path: Path) -> int:
        """A descriptor that writes in place."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def overwrite(self, descriptor: int, offset: int, data: bytes) -> int:
        """Replace bytes in place; how many were taken, which may be fewer."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to a size."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Make what was written to the file last."""
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in the place of another, atomically."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file that may be gone already."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Make a directory and those above it, unless they are there, and make their entries last."""
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        if missing:
            path.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        for folder in reversed(missing):
            self.sync_directory(folder.parent)

    def sync_directory(self, path: Path) -> None:
        """Make renames, unlinks and new files of a directory last."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)
