"""A lock between the hosts that share a directory, held by an open file."""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from renova.drivers.blocking import in_thread
from renova.model.clock import Clock


@asynccontextmanager
async def locked(path: Path, clock: Clock, ask_every_s: float = 0.2) -> AsyncIterator[None]:
    """Hold the lock file `path`, for as long as it takes; made when absent, never removed.

    Waits by asking again, since a thread that waits in the kernel could not be cancelled.
    """
    with await in_thread(None, path.open, "ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await clock.sleep(ask_every_s)
        yield


@contextmanager
def opened_locked(path: Path) -> Iterator[BinaryIO]:
    """Open the file `path` for reading and writing, made when absent, and hold its lock. Blocks; for short holds.

    The file is the one that `path` names while the lock is held, even if another holder removed it before.
    """
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield file
                return
