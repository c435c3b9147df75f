"""Heartbeats as files in the instances directory, one of each host; hosts that share the directory read one another's.

Written in place, one line of one length: on NFS a file that is opened is looked at anew, while a name that another file
takes over may be remembered for a minute. Closing it sends it to the server, so nothing more has to be synced.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from renova.aside import Aside
from renova.model.errors import NotNow
from renova.model.ids import HostId

T = TypeVar("T")

DIRECTORY = "_heartbeats"
LIMIT_S = 1.0  # for storage to take or give a beat
LENGTH = 16  # bytes of the line


class FileHeartbeats:
    """The heartbeats in the instances directory `instances`; this host is `host`."""

    def __init__(self, instances: Path, host: HostId) -> None:
        self._directory = instances / DIRECTORY
        self._host = host
        self._aside = Aside("heartbeat", at_once=2)
        self._pen, self._eyes = threading.Lock(), threading.Lock()

    async def beat(self) -> None:
        await self._call(self._pen, self._beat)

    async def read(self, hosts: Sequence[HostId]) -> dict[HostId, int]:
        return await self._call(self._eyes, lambda: self._read(hosts))

    async def _call(self, held: threading.Lock, work: Callable[[], T]) -> T:
        def alone() -> T:
            # One that hangs in the kernel cannot be ended: no other is to join it there.
            if not held.acquire(blocking=False):
                raise NotNow("the storage has not answered the call before")
            try:
                return work()
            except OSError as error:
                raise NotNow(f"{self._directory}: {error.strerror}") from error
            finally:
                held.release()

        return await self._aside.call(alone, LIMIT_S, "the storage")

    def _beat(self) -> None:
        path, flags = self._directory / self._host, os.O_RDWR | os.O_CREAT
        try:
            file = os.open(path, flags, 0o644)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, flags, 0o644)
        try:
            number = _number(os.pread(file, LENGTH, 0)) or 0
            os.pwrite(file, b"%*d\n" % (LENGTH - 1, number + 1), 0)
        finally:
            os.close(file)

    def _read(self, hosts: Sequence[HostId]) -> dict[HostId, int]:
        found = {}
        for host in hosts:
            with suppress(FileNotFoundError), (self._directory / host).open("rb") as file:
                number = _number(file.read(LENGTH))
                if number is not None:
                    found[host] = number
        return found


def _number(line: bytes) -> int | None:
    """Return the number; None for what nobody of ours has written."""
    word = line.strip()
    return int(word) if word.isdigit() else None
