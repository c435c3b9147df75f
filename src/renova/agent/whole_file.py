"""Small files of the agent that are whole whatever happens: journal pages, keys, certificates."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Have the file with this content, readable by nobody else. Once it returns, no power cut takes that away.

    Until then the file is as it was. Raises `OSError` when it cannot; blocks.
    """
    partial = path.with_suffix(".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # what a crash left may have had another mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
