"""Files that survive a power cut, and that are whole whatever happens: what is in them, and their names. All block."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

# What decoding a file of JSON raises where it is damaged: by a disk, or by what was written in its middle.
DAMAGED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def sync_file(file: IO[bytes]) -> None:
    """Have what was written survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Have the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def publish(partial: Path, path: Path) -> None:
    """Give a whole and synced file its name."""
    partial.rename(path)
    sync_directory(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Have the file with this content, readable by nobody else. Once it returns, no power cut takes that away.

    Until then the file is as it was. Raises `OSError` when it cannot.
    """
    partial = path.with_suffix(".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # what a crash left may have had another mode
        file.write(content)
        sync_file(file)
    publish(partial, path)


def write_first(path: Path, content: bytes) -> None:
    """Have the file, readable by nobody else: with this content, unless another process was first to write it.

    Once it returns, no power cut takes the file away. Raises `OSError` when it cannot.
    """
    descriptor, partial = tempfile.mkstemp(prefix=f"{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            sync_file(file)
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        Path(partial).unlink()
    sync_directory(path.parent)
