"""Files that survive a power cut: what is in them, and their names."""

import os
from pathlib import Path
from typing import IO


def sync_file(file: IO[bytes]) -> None:
    """Have what was written survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def publish(partial: Path, path: Path) -> None:
    """Give a whole and synced file its name."""
    partial.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
