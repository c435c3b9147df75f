"""The instances directory of a host: each server's disks, its config drive and console log, and cached images.

    <instances>/.storage-id            identity of the directory (`drivers.storage_mark`)
    <instances>/_base/<sum>            cached images (`image_cache`)
    <instances>/_aside/                what servers that have gone to other hosts left here (`aside`)
    <instances>/<server>/disk.<n>      root disk of generation n, an overlay on a cached image
                         disk.eph0.<n> first ephemeral disk, blank when it was made
                         disk.swap.<n> swap
                         disk.config   config drive
                         console.log.<n> what the guest of generation n wrote to its serial console; where libvirt's
                                         virtlogd turns it over, console.log.<n>.0 is what was there before, and so on
                         copy.<image>  the root disk, copied for the image service
                         owner         the highest incarnation that used the disks

The directory may be shared by hosts, so everything here bears two of them at once; who may run a server is decided
elsewhere. A file under its final name is whole and synced.
"""

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from renova.drivers.blocking import in_thread
from renova.drivers.file_lock import opened_locked
from renova.drivers.hypervisor import DiskLocked, ImageSource, aside, qemu_img
from renova.drivers.hypervisor.config_drive import config_drive
from renova.drivers.hypervisor.domain_xml import GuestPaths
from renova.drivers.hypervisor.image_cache import ImageCache
from renova.drivers.hypervisor.qemu_img import Inside, run_program
from renova.drivers.storage_mark import StorageMark
from renova.durable import publish, sync_directory, sync_file
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow, Refused, unusable
from renova.model.guest import Aside, CachedImage, Guest, LocalDisks, RootDisk
from renova.model.ids import ImageId, ServerId

P = ParamSpec("P")
T = TypeVar("T")

GIB = 1 << 30
MIB = 1 << 20
# What the storage says now and would say again to the same request.
RAW = ("disk.eph", "disk.swap", "disk.config")  # what files begin with that have no header of ours
_CONSOLE = re.compile(r"console\.log\.(?P<generation>\d+)(?:\.(?P<turned>\d+))?")
FINAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


class Disks:
    """The servers' files below `instances`; programs that write there run `inside` the host's gate.

    `known` is the file in which the host keeps on which storage that directory was. Errors: `NotNow` while it is on
    another or on none; nothing is done there then.
    """

    def __init__(
        self, instances: Path, clock: Clock, chance: Chance, inside: Inside = list, *, known: Path | None = None
    ) -> None:
        self._instances = instances
        self._mark = StorageMark(instances, chance, known)
        self._clock = clock
        self._chance = chance
        self._inside = inside
        self._images = ImageCache(instances / "_base", clock)

    async def check(self) -> None:
        """Raise `NotNow` unless guests can run from this directory, `BadSetup` if they never can."""
        await in_thread(None, self._check)

    async def storage_id(self) -> str:
        """Return the directory's identity, made on first use; hosts that share the directory get the same."""
        return await self._do(self._mark.identity)

    async def total_gb(self) -> int:
        """Return the size of the file system in GiB."""
        return (await self._do(shutil.disk_usage, self._instances)).total // GIB

    def paths(self, server: ServerId, disks: LocalDisks) -> GuestPaths:
        at, generation = self._at(server), disks.generation
        return GuestPaths(
            root=at / f"disk.{generation}" if disks.root else None,
            ephemerals=tuple(at / f"disk.eph{number}.{generation}" for number in range(len(disks.ephemerals_gb))),
            swap=at / f"disk.swap.{generation}" if disks.swap_mb else None,
            config_drive=at / "disk.config",
            console=at / f"console.log.{generation}",
        )

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        """Have all disks, config drive and console log ready; whether any disk was made now."""
        await self.own(guest.server, guest.incarnation)
        paths = self.paths(guest.server, guest.disks)
        made = False
        if (root := guest.disks.root) is not None and paths.root is not None:
            built_on = await self._do(qemu_img.backing_name, paths.root) if await self._do(paths.root.exists) else None
            if built_on in (None, self._images.path(root).name):  # else it was carried here, with what it needs
                with _storage_errors():
                    base = await self._images.have(root, images)
                # Again: the download may have taken long enough for the server to move on.
                await self.own(guest.server, guest.incarnation)
                if not await self._do(paths.root.exists):
                    made = await self._make_root(root, base, paths.root)
        for number, path in enumerate(paths.ephemerals):
            label = ("mkfs.ext4", "-q", "-F", "-L", f"ephemeral{number}")
            made |= await self._make_blank(path, guest.disks.ephemerals_gb[number] * GIB, *label)
        if paths.swap is not None:
            made |= await self._make_blank(paths.swap, guest.disks.swap_mb * MIB, "mkswap", "-L", "swap0")
        await self._do(_replace, paths.config_drive, config_drive(guest), 0o600)
        await self._do(paths.console.touch, 0o600)
        return made

    async def has(self, server: ServerId, disks: LocalDisks) -> bool:
        """Say whether all of these disks are here and can be opened for reading and writing."""
        return await self._do(self._has, server, disks)

    async def newer(self, server: ServerId, disks: LocalDisks) -> int:
        """Return the oldest generation above that of these disks of which all are here; 0: none, or any of these is."""
        return await self._do(self._newer, server, disks)

    async def own(self, server: ServerId, incarnation: int) -> None:
        """Note that this incarnation uses the disks; refused when a newer one did."""
        await self._do(self._own, server, incarnation)

    async def flatten(self, root: Path, copy: Path) -> None:
        """Make a copy of a root disk that no guest has open."""
        await qemu_img.flatten(root, copy, self._inside)

    async def copy_size(self, server: ServerId, image: ImageId) -> int | None:
        """Return the size in bytes of the root disk's copy under the image's name; None when there is none."""
        return await self._do(_size, self._copy(server, image))

    @contextlib.asynccontextmanager
    async def new_copy(self, server: ServerId, image: ImageId) -> AsyncGenerator[Path]:
        """Give the path where a copy is to be made, which is not there yet; its name comes once it is whole."""
        path = self._copy(server, image)
        partial = path.with_name(f"{path.name}.part")
        await self._do(partial.unlink, missing_ok=True)
        try:
            yield partial
            await self._do(_publish_copy, partial, path)
        finally:
            await self._do(partial.unlink, missing_ok=True)

    async def read_copy(self, server: ServerId, image: ImageId) -> AsyncGenerator[bytes]:
        """Give the copy's bytes, in pieces of at most 1 MiB. `Refused` when there is none."""
        if await self.copy_size(server, image) is None:
            raise Refused(f"there is no copy {image} of {server} here")
        file = await self._do(self._copy(server, image).open, "rb")
        with file:
            while piece := await self._do(file.read, MIB):
                yield piece

    async def drop_copy(self, server: ServerId, image: ImageId) -> None:
        """Have no copy, whole or half, under the image's name."""
        path = self._copy(server, image)
        for each in (path, path.with_name(f"{path.name}.part")):
            await self._do(each.unlink, missing_ok=True)

    def _copy(self, server: ServerId, image: ImageId) -> Path:
        try:
            return self._at(server) / f"copy.{uuid.UUID(image)}"
        except ValueError as error:
            raise Broken(f"{image!r} is no image's id") from error

    async def owner(self, server: ServerId) -> int | None:
        return await self._do(self._owner, server)

    async def drop(self, server: ServerId, keep: int | None, up_to: int | None) -> bool:
        """Delete the server's files except `keep` and what its guest needs; False when a newer one owns them."""
        return await self._do(self._drop, server, keep, up_to)

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        """Move all of the server's files out of the way; False when a newer incarnation owns them."""
        return await self._do(self._set_aside, server, up_to)

    async def asides(self) -> list[Aside]:
        return await self._do(aside.found, self._instances)

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        """Delete cached images that nobody uses; none that any disk here needs, whatever `in_use` says."""
        with _storage_errors():
            return await self._images.drop(await self._do(self._needed), in_use, grace_s)

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        return await self._do(aside.drop, self._instances, self._clock.wall(), older_than_s)

    async def console(self, server: ServerId, limit: int) -> bytes:
        """Return the end of the newest console log in which something is written."""
        return await self._do(_newest_console, self._at(server), limit)

    def _at(self, server: ServerId) -> Path:
        # A server's id comes from outside and becomes a path that is deleted: nothing but a uuid will do.
        try:
            return self._instances / str(uuid.UUID(server))
        except ValueError as error:
            raise Broken(f"{server!r} is no server's id") from error

    async def _do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def on_known_storage() -> T:
            self._mark.must_be_known()  # what is mounted may go while an agent runs
            return call(*args, **kwargs)

        with _storage_errors():
            return await in_thread(None, on_known_storage)

    async def _make_root(self, root: RootDisk, base: Path, path: Path) -> bool:
        image = await self._do(qemu_img.virtual_bytes, base, root.image_format)
        if 0 < root.size_gb * GIB < image:
            raise Refused(f"image {root.image} needs {image} bytes, the root disk has {root.size_gb} GiB")
        partial = path.with_name(f"{path.name}.part-{self._chance.uuid()}")
        # Relative, so that the directory may be mounted elsewhere on another host.
        backing = f"../{base.parent.name}/{base.name}"
        try:
            size = max(image, root.size_gb * GIB)
            await qemu_img.create_overlay(partial, backing, root.image_format, size, self._inside)
            return await self._do(_publish_disk, partial, path)
        finally:
            await self._do(partial.unlink, missing_ok=True)

    async def _make_blank(self, path: Path, size_bytes: int, *format_command: str) -> bool:
        """Have a disk that is as large as told and, when it is made now, formatted by the command."""
        if await self._do(path.exists):
            return False
        partial = path.with_name(f"{path.name}.part-{self._chance.uuid()}")
        try:
            await self._do(_make_sparse, partial, size_bytes)
            await run_program(*format_command, str(partial), inside=self._inside)
            return await self._do(_publish_disk, partial, path)
        finally:
            await self._do(partial.unlink, missing_ok=True)

    def _check(self) -> None:
        probe = self._instances / f".probe-{self._chance.uuid()}"
        try:
            self._mark.must_be_known()  # first: nothing is made, nor tried, in a mount point
            self._instances.mkdir(parents=True, exist_ok=True)
            try:
                os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
            finally:
                probe.unlink(missing_ok=True)  # it may be there although it cannot be opened so
            self._mark.identity()  # last: a directory that will not do is not kept as this host's
        except OSError as error:
            # Guests open their disks without host caching: see `domain_xml`.
            says = f"{self._instances}: {error.strerror}; guests need a directory that is writable and allows O_DIRECT"
            raise unusable(error, says) from error

    def _own(self, server: ServerId, incarnation: int) -> None:
        self._at(server).mkdir(mode=0o711, parents=True, exist_ok=True)
        with opened_locked(self._at(server) / "owner") as file:
            owner = int(file.read() or 0)
            if owner > incarnation:
                raise Refused(f"the disks of {server} belong to incarnation {owner}, not {incarnation}")
            if owner < incarnation:
                file.seek(0)
                file.write(b"%20d\n" % incarnation)  # one small write of one length: never half a number
                sync_file(file)

    def _owner(self, server: ServerId) -> int | None:
        try:
            return int((self._at(server) / "owner").read_bytes() or 0)
        except FileNotFoundError:
            return None

    def _has(self, server: ServerId, disks: LocalDisks) -> bool:
        return all(_can_be_written(path) for path in self.paths(server, disks).disks)

    def _newer(self, server: ServerId, disks: LocalDisks) -> int:
        here = {int(path.name.rpartition(".")[2]) for path in self._at(server).glob("disk.*") if _is_disk(path)}
        if disks.generation in here:
            return 0  # damaged, and not given up: what is left may hold the newest of what its user wrote
        newer = sorted(generation for generation in here if generation > disks.generation)
        return next((each for each in newer if self._has(server, msgspec.structs.replace(disks, generation=each))), 0)

    def _drop(self, server: ServerId, keep: int | None, up_to: int | None) -> bool:
        at = self._at(server)
        if not at.exists():
            return True
        kept = {"owner"}
        if keep is not None:
            kept |= {"disk.config"}
        with opened_locked(at / "owner") as file:
            if up_to is not None and int(file.read() or 0) > up_to:
                return False
            found = [path for path in at.iterdir() if path.name not in kept]
            spared = [path for path in found if keep is not None and _is_of(path.name, keep)]
            if keep is not None and any(map(_is_disk, found)) and not any(map(_is_disk, spared)):
                raise Refused(f"disks of generation {keep} of {server} are not here, so the others stay")
            dropped = [path for path in found if path not in spared]
            if any(qemu_img.is_written(path) for path in dropped if _is_disk(path)):
                raise DiskLocked(f"a disk of {server} is open elsewhere: the old guest may live")
            for path in dropped:
                path.unlink()
            if keep is None:
                # Last: as long as anything is here, its owner is known.
                (at / "owner").unlink()
                with contextlib.suppress(OSError):  # not empty: another host has just begun to use it
                    at.rmdir()
        return True

    def _needed(self) -> set[str]:
        """Return the names of the images on which the disks here are built. What cannot be read is an error."""
        found: set[str] = set()
        for directory, below, files in os.walk(self._instances, onerror=_unless_gone):
            if "_base" in below:
                below.remove("_base")
            for file in files:
                if file.startswith(RAW):
                    continue  # where a header would stand is what its guest has written
                with contextlib.suppress(FileNotFoundError):
                    if (name := qemu_img.backing_name(Path(directory) / file)) is not None:
                        found.add(name)
        return found

    def _set_aside(self, server: ServerId, up_to: int) -> bool:
        at = self._at(server)
        if not at.exists():
            return True
        with opened_locked(at / "owner") as file:
            owner = int(file.read() or 0)
            if owner > up_to:
                return False
            aside.put(self._instances, at, server, owner, self._clock.wall())
        return True


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """Say what the storage's own errors mean to whoever asked."""
    try:
        yield
    except OSError as error:
        meaning = Refused if error.errno in FINAL else NotNow
        raise meaning(f"the instances directory: {error.strerror or error}") from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _publish_copy(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        sync_file(file)
    publish(partial, path)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _can_be_written(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return False
    # Any other error is raised: a disk that is there but cannot be opened must not be taken for an absent one.
    return True


def _is_of(name: str, generation: int) -> bool:
    if console := _CONSOLE.fullmatch(name):
        return int(console["generation"]) == generation
    return name.startswith("disk.") and name.rpartition(".")[2] == str(generation)


def _make_sparse(path: Path, size_bytes: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.truncate(size_bytes)


def _publish_disk(partial: Path, path: Path) -> bool:
    with partial.open("rb") as file:
        os.fchmod(file.fileno(), 0o600)
        sync_file(file)
    try:
        path.hardlink_to(partial)  # unlike a rename, it never takes the place of a disk that another host made
    except FileExistsError:
        return False
    sync_directory(path.parent)
    return True


def _is_disk(path: Path) -> bool:
    """Say whether the file is a disk, of whatever generation, and whole."""
    return path.name.startswith("disk.") and path.name.rpartition(".")[2].isdecimal()


def _replace(path: Path, content: bytes, mode: int) -> None:
    # A guest that runs keeps the file it has open; it is never written in place.
    partial = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        sync_file(file)
    publish(partial, path)


def _newest_console(at: Path, limit: int) -> bytes:
    found = [(log, path) for path in at.glob("console.log.*") if (log := _CONSOLE.fullmatch(path.name))]
    # Of the newest generation first, each backwards: what is written now, then what was turned over last.
    newest = sorted(found, key=lambda each: (-int(each[0]["generation"]), int(each[0]["turned"] or -1)))
    for _, of_generation in groupby(newest, key=lambda each: each[0]["generation"]):
        text = b""
        for _, path in of_generation:
            text = _tail(path, limit - len(text)) + text
        if text:
            return text
    return b""


def _tail(path: Path, limit: int) -> bytes:
    if limit <= 0:
        return b""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - limit, 0))
            return file.read(limit)
    except FileNotFoundError:
        return b""
