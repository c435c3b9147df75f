"""The files of a storage host's volumes and snapshots: raw, sparse, whole under their final names.

    <volumes>/volumes/<id>/data.<generation>   a volume's content; each re-image is another generation, another file
    <volumes>/snapshots/<id>                   a snapshot: never written again
    <volumes>/run/                             the storage daemon's pid file and log
    <volumes>/.storage-id                      identity of the directory (`drivers.storage_mark`)

Files ending in .part are of work that was broken off; they go when the agent starts. Raw, because a raw file has
nothing of its own that a crash could damage, and nothing that could name another file.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from renova.drivers.blocking import in_thread
from renova.drivers.hypervisor import ImageSource, qemu_img
from renova.drivers.hypervisor.image import verified
from renova.drivers.storage_mark import StorageMark
from renova.durable import publish, sync_directory, sync_file
from renova.model.errors import Broken, NotNow, Refused, unusable
from renova.model.ids import SnapshotId, VolumeId
from renova.model.storage import OfImage

P = ParamSpec("P")
T = TypeVar("T")

GIB = 1 << 30
# What the storage says now and would say again to the same request.
_FINAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class VolumeFiles:
    """The directory of one storage host.

    `mark` tells whether it is on the storage that the host had; None: nobody asks. Errors: `NotNow` while it is not;
    nothing is made there then, nor taken for gone.
    """

    def __init__(self, directory: Path, mark: StorageMark | None = None) -> None:
        self._directory = directory
        self._mark = mark
        self._volumes = directory / "volumes"
        self._snapshots = directory / "snapshots"

    @property
    def run(self) -> Path:
        return self._directory / "run"

    async def open(self) -> None:
        """Have the directories, and remove what was broken off. `NotNow` while the place cannot be used, `BadSetup`
        if it never can."""
        try:
            await in_thread(None, self._open)
        except OSError as error:
            raise unusable(
                error, f"The volumes directory {self._directory} cannot be used ({error.strerror})."
            ) from error

    async def space(self) -> tuple[int, int]:
        """Return how many bytes the file system has, and how many of these are free."""
        usage = await self._disk(shutil.disk_usage, self._directory)
        return usage.total, usage.free

    def volume(self, volume: VolumeId, generation: int) -> Path:
        return self._volumes / _checked(volume) / f"data.{generation}"

    def snapshot(self, snapshot: SnapshotId) -> Path:
        return self._snapshots / _checked(snapshot)

    async def newest(self, volume: VolumeId) -> int | None:
        """Return the generation of the volume's content; None when it has none."""
        return await self._disk(self._newest, volume)

    async def size(self, path: Path) -> int:
        return (await self._disk(path.stat)).st_size

    async def grow(self, path: Path, size_bytes: int) -> None:
        """Have the file at least this large; what is new reads as zeroes."""
        await self._disk(_grow, path, size_bytes)

    async def make_blank(self, path: Path, size_bytes: int) -> None:
        """Make a partial file of zeroes."""
        await self._disk(_make_blank, path, size_bytes)

    async def make_of_image(self, path: Path, source: OfImage, images: ImageSource) -> None:
        """Make a partial file of an image's content. `Refused` when it is not what it claims or not safe."""
        fetched = path.with_name(f"{path.name}.image.part")
        try:
            file = await self._disk(fetched.open, "wb")
            with file:
                async for piece in verified(source, images):
                    await self._disk(file.write, piece)
                await self._disk(sync_file, file)
            await qemu_img.check_image(fetched, source.image_format)
            await qemu_img.run_program(
                "qemu-img", "convert", "-q", "-f", source.image_format, "-O", "raw", str(fetched), str(path)
            )
        finally:
            await self._disk(fetched.unlink, missing_ok=True)

    async def make_of_file(self, path: Path, source: Path) -> None:
        """Make a partial file of one that nobody writes."""
        await qemu_img.run_program("cp", "--reflink=auto", "--sparse=always", "--", str(source), str(path))

    async def publish(self, partial: Path, path: Path) -> None:
        """Give a whole file its final name, which survives a power cut from then on."""
        await self._disk(_publish, partial, path)

    async def drop_older(self, volume: VolumeId, generation: int) -> None:
        """Remove contents of the volume that are older than this one."""
        await self._disk(self._drop_older, volume, generation)

    async def remove_volume(self, volume: VolumeId) -> None:
        await self._disk(_remove_tree, self._volumes / _checked(volume))

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        await self._disk(self.snapshot(snapshot).unlink, missing_ok=True)

    async def remove(self, partial: Path) -> None:
        await self._disk(partial.unlink, missing_ok=True)

    async def _disk(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def on_known_storage() -> T:
            self._must_be_known()  # what is mounted may go while an agent runs
            return call(*args, **kwargs)

        with _storage_errors():
            return await in_thread(None, on_known_storage)

    def _must_be_known(self) -> None:
        if self._mark is not None:
            self._mark.must_be_known()

    def _open(self) -> None:
        self._must_be_known()  # first: nothing is made in a mount point
        for directory in (self._volumes, self._snapshots, self.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for partial in [*self._volumes.glob("*/*.part"), *self._snapshots.glob("*.part")]:
            partial.unlink()
        if self._mark is not None:
            self._mark.identity()  # it is this host's from now on

    def _newest(self, volume: VolumeId) -> int | None:
        at = self._volumes / _checked(volume)
        return max((_generation(path) for path in _contents(at)), default=None)

    def _drop_older(self, volume: VolumeId, generation: int) -> None:
        for path in _contents(self._volumes / _checked(volume)):
            if _generation(path) < generation:
                path.unlink()


def _contents(of_volume: Path) -> list[Path]:
    """Return the files of a volume's contents, without what is being made."""
    return [path for path in of_volume.glob("data.*") if path.suffix != ".part"]


def _generation(content: Path) -> int:
    return int(content.name.removeprefix("data."))


def _checked(thing: str) -> str:
    # An id comes from outside and becomes a path that is deleted: nothing but a uuid will do.
    try:
        return str(uuid.UUID(thing))
    except ValueError as error:
        raise Broken(f"{thing!r} is no volume's or snapshot's id") from error


def _grow(path: Path, size_bytes: int) -> None:
    if path.stat().st_size < size_bytes:
        with path.open("r+b") as file:
            file.truncate(size_bytes)
            sync_file(file)


def _make_blank(path: Path, size_bytes: int) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)


def _publish(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fchmod(file.fileno(), 0o600)
        sync_file(file)
    publish(partial, path)


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
        sync_directory(path.parent)


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        meaning = Refused if error.errno in _FINAL else NotNow
        raise meaning(f"the volumes directory: {error.strerror or error}") from error
