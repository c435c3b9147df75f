"""The bytes of images: a file each, written once, under its final name only when it is whole and on the disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec

from renova.durable import publish, sync_file
from renova.model.errors import NotNow, Refused
from renova.partners.image.formats import HEAD_BYTES, virtual_size

P = ParamSpec("P")
T = TypeVar("T")

PIECE = 1024 * 1024  # bytes read, or hashed and written, at a time
MAX_IMAGE = 50 * 1024**3  # bytes

_PART = ".part"


class TooLarge(Refused):
    """The image has more bytes than are taken (HTTP 413)."""


class Stored(msgspec.Struct, frozen=True):
    """What was learnt about an image's bytes as they came in."""

    size: int
    virtual_size: int
    md5: str
    sha256: str
    sha512: str


class ImageFiles:
    """A directory of images. Disks are slow: all that touches them runs in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def write(self, image: str, disk_format: str, pieces: AsyncIterator[bytes]) -> Stored:
        """Store an image's bytes; whatever goes wrong leaves nothing behind.

        `Invalid` when they are not of the format, `TooLarge`, `NotNow` when they cannot be written.
        """
        part = self._directory / f"{image}{_PART}"
        await _disk(self._make_directory)
        try:
            writing = await _disk(_Writing, part)
            try:
                await _copy(pieces, writing)
                stored = await _disk(writing.finish, disk_format)
            finally:
                await _disk(writing.close)
            await _disk(self._publish, part, image)
        except BaseException:
            await _disk(part.unlink, missing_ok=True)
            raise
        return stored

    def _make_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _publish(self, part: Path, image: str) -> None:
        publish(part, self._directory / image)

    async def read(self, image: str, offset: int) -> AsyncIterator[bytes]:
        """Give an image's bytes from `offset` on, in pieces of at most 1 MiB. `NotNow` when they cannot be read."""
        reading = _Reading()
        try:
            await _disk(reading.begin, self._directory / image, offset)
            while piece := await _disk(reading.read):
                yield piece
        finally:
            reading.close()

    async def remove(self, image: str) -> None:
        """Remove an image's bytes; who is reading them can go on to the end."""
        await _disk((self._directory / image).unlink, missing_ok=True)

    async def names(self) -> list[str]:
        """List the images there are, whole or not."""
        return await _disk(self._names)

    def _names(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return [file.name.removesuffix(_PART) for file in self._directory.iterdir()]

    async def drop(self, image: str) -> None:
        """Remove what a crash left of an image, whole or not. Nobody may be writing it."""
        for name in (image, f"{image}{_PART}"):
            await self.remove(name)


class _Reading:
    """An image's file while it goes out."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._over = False

    def begin(self, path: Path, offset: int) -> None:
        self._file = path.open("rb")
        if self._over:  # whoever wanted it was cancelled meanwhile, and has found nothing to close
            self._file.close()
        else:
            self._file.seek(offset)

    def read(self) -> bytes:
        assert self._file is not None, "begun first"
        return self._file.read(PIECE)

    def close(self) -> None:
        self._over = True
        if self._file is not None:
            self._file.close()


class _Writing:
    """An image's file while it comes in."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512()
        self._head = b""
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_IMAGE:
            raise TooLarge(f"The image is larger than {MAX_IMAGE} bytes.")
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        for digest in (self._md5, self._sha256, self._sha512):
            digest.update(piece)
        self._file.write(piece)

    def finish(self, disk_format: str) -> Stored:
        """Have all on the disk, and say what it is."""
        seen = virtual_size(disk_format, self._head, self._size)
        sync_file(self._file)
        return Stored(
            size=self._size,
            virtual_size=seen,
            md5=self._md5.hexdigest(),
            sha256=self._sha256.hexdigest(),
            sha512=self._sha512.hexdigest(),
        )

    def close(self) -> None:
        self._file.close()


async def _disk(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Do in a thread what touches the disk; `NotNow` when the disk does not play along."""
    try:
        return await asyncio.to_thread(work, *given, **named)
    except OSError as error:
        raise NotNow(f"The image store does not work: {error.strerror}.") from error


async def _copy(pieces: AsyncIterator[bytes], writing: _Writing) -> None:
    # The network's pieces are small, and a hop to a thread costs more than hashing one.
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= PIECE:
            await _disk(writing.add, bytes(waiting))
            waiting.clear()
    if waiting:
        await _disk(writing.add, bytes(waiting))
