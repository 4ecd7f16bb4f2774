"""A process that takes the lock of a directory, announces a segment, leaves half a line in it, and then does no more.

Run as a script with the directory and the segment's name; it says so on stdout and waits for its stdin to end.
"""

import sys
from pathlib import Path

from shared.backends.file.lock import DirectoryLock


def main(root: Path, segment: str) -> None:
    """Hold the lock until stdin ends."""
    with DirectoryLock(root / ".lock").hold():
        lock = DirectoryLock(root / ".lock")
        lock.announce([segment])
        with (root / segment).open("ab") as file:
            file.write(b'{"id":"half","timest')
        print("held", flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
