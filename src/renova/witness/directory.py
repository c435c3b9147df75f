"""The witness on a real file system: a directory for each host, in it a file for each lease, named <era>.<epoch>.

No cache stands between what one machine writes and another reads: both go past the page cache (O_DIRECT) on a file
that is opened anew each time. A file appears whole, under its name; later it is only overwritten in place, by one block
with one meaning, so a write that comes late changes nothing that matters.
"""

import mmap
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from renova.aside import Aside
from renova.durable import DAMAGED, sync_directory
from renova.model.errors import NotNow
from renova.witness import LeaseName, Shown

T = TypeVar("T")

BLOCK = 4096  # bytes; what any storage writes and reads without a cache
MOST_HANGING = 8  # calls that storage has not answered yet; beyond, no more are made


class WitnessDirectory:
    """The witness at `path`. A call that has not ended after `limit_s` is left to itself."""

    def __init__(self, path: Path, *, limit_s: float = 5.0) -> None:
        self._path = path
        self._limit_s = limit_s
        self._aside = Aside("witness")
        self._hanging = threading.Semaphore(MOST_HANGING)

    async def have(self, lease: LeaseName, word: str) -> Shown:
        return await self._call(lambda: self._have(lease, word))

    async def read(self, lease: LeaseName) -> Shown:
        return await self._call(lambda: _read(self._file(lease)))

    async def revoke(self, lease: LeaseName, word: str) -> None:
        await self._call(lambda: _revoke(self._file(lease), word))

    async def _call(self, work: Callable[[], T]) -> T:
        if not self._hanging.acquire(blocking=False):
            raise NotNow(f"the witness {self._path} hangs")

        def run() -> T:
            try:
                return work()
            finally:
                self._hanging.release()

        try:
            return await self._aside.call(run, self._limit_s, f"the witness {self._path}")
        except FileNotFoundError as error:
            raise NotNow(f"the witness {self._path} does not have {error.filename}") from error
        except OSError as error:
            raise NotNow(f"the witness {self._path} cannot be used ({error.strerror})") from error

    def _file(self, lease: LeaseName) -> Path:
        return self._path / lease.host / f"{lease.era}.{lease.epoch}"

    def _have(self, lease: LeaseName, word: str) -> Shown:
        file = self._file(lease)
        with suppress(FileNotFoundError):
            return _read(file)
        # The directory of all is never made: where it is missing, the storage is.
        with suppress(FileExistsError):
            file.parent.mkdir(mode=0o755)
            file.parent.chmod(0o755)  # whatever the process's mask: hosts read it, maybe as nobody
            sync_directory(self._path)
        _tidy(file.parent, (lease.era, lease.epoch))
        _make(file, word)
        return _read(file)


def _make(file: Path, word: str) -> None:
    """Have the file, whole and durable, unless there is one of this name: then that stays."""
    partial = file.with_name(f".{word}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, _block(Shown(word, revoked=False)))
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(partial, file)
    finally:
        os.close(descriptor)
        partial.unlink()
    sync_directory(file.parent)


def _tidy(directory: Path, newest: tuple[int, int]) -> None:
    """Remove files of leases that this host has left behind. A guard that misses one closes its gate."""
    for entry in list(os.scandir(directory)):
        era, _, epoch = entry.name.partition(".")
        if not (era.isdecimal() and epoch.isdecimal()) or (int(era), int(epoch)) < newest:
            with suppress(FileNotFoundError):
                (directory / entry.name).unlink()


def _read(file: Path) -> Shown:
    descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, BLOCK) as block:  # aligned as O_DIRECT wants it
            length = os.preadv(descriptor, [block], 0)
            content = block[:length]
    finally:
        os.close(descriptor)
    try:
        return msgspec.json.decode(content, type=Shown)
    except DAMAGED as error:
        raise NotNow(f"{file} is damaged, or is being written") from error


def _revoke(file: Path, word: str) -> None:
    if _read(file).word != word:
        raise NotNow(f"{file} has not the word that the host has read: this is not its witness")
    # Also where it says so already: whoever wrote that may not have seen it durable.
    descriptor = os.open(file, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, BLOCK) as block:
            block[:] = _block(Shown(word, revoked=True))
            os.pwritev(descriptor, [block], 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if _read(file) != Shown(word, revoked=True):
        raise NotNow(f"{file} does not say what was written to it")


def _block(shown: Shown) -> bytes:
    return msgspec.json.encode(shown).ljust(BLOCK - 1) + b"\n"
