"""The instances directory of simulated hosts: disks, cached images, copies, what was set aside.

Hosts that are given the same one share it; what is in it survives every power cut.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.image import verified
from renova.drivers.hypervisor.simulated.image import Write, unpacked
from renova.model.errors import Refused
from renova.model.guest import Aside, CachedImage, Guest, RootDisk
from renova.model.ids import HostId, ImageId, ServerId


@dataclass
class SimulatedDisk:
    """A server's local disks as one: image, what was written since, and whose running guest has them open."""

    image: ImageId | None
    writes: list[Write] = field(default_factory=list)
    open_by: object | None = None

    @property
    def boots(self) -> int:
        return sum(write.text == "boot" for write in self.writes)


@dataclass
class _Download:
    """An image on its way: which host brings it, and who waits for it."""

    host: object
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class SimulatedStorage:
    """An instances directory; what is in it survives every power cut."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.disks: dict[tuple[ServerId, int], SimulatedDisk] = {}  # by server and generation
        self.owners: dict[ServerId, int] = {}
        self.consoles: dict[tuple[ServerId, int], bytearray] = {}  # by server and generation
        self.asides: list[tuple[Aside, dict[int, SimulatedDisk]]] = []  # with the disks by generation
        self.copies: dict[tuple[ServerId, ImageId], bytes] = {}  # of root disks, on their way to the image service
        self.heartbeats: dict[HostId, int] = {}
        self._images: dict[tuple[ImageId, str], list[Write]] = {}  # cached, each with what its disk had held
        self._wanted: dict[tuple[ImageId, str], float] = {}  # when each was wanted last
        self._downloads: dict[tuple[ImageId, str], _Download] = {}

    def cached(self) -> list[ImageId]:
        """List the images that are cached here."""
        return [image for image, _ in self._images]

    def drop_images(self, in_use: Collection[CachedImage], wanted_before: float) -> list[str]:
        """Forget the images that nobody uses, that no disk is made of, and that were wanted last before then."""
        aside = [disk for _, disks in self.asides for disk in disks.values()]
        needed = {disk.image for disk in (*self.disks.values(), *aside)}
        used = {(each.image, each.image_sha256) for each in in_use}
        old = [
            key
            for key in self._images
            if key not in used and key[0] not in needed and self._wanted.get(key, 0.0) <= wanted_before
        ]
        for key in old:
            del self._images[key]
        return [image for image, _ in old]

    async def cache(self, root: RootDisk, images: ImageSource, now: float, host: object) -> None:
        """Have the image here, downloaded once, however many ask at the same time; `host` is who asks."""
        key = (root.image, root.image_sha256)
        self._wanted[key] = now
        while key not in self._images:
            if (other := self._downloads.get(key)) is not None:
                waiting = asyncio.get_running_loop().create_future()
                other.waiting.append(waiting)
                await waiting
                continue
            mine = self._downloads[key] = _Download(host)
            try:
                self._images[key] = unpacked(b"".join([piece async for piece in verified(root, images)]))
            finally:
                self._end(key, mine)

    def let_go(self, host: object) -> None:
        """Give up the downloads of a host whose agent died, as a lock on a file is given up with its process."""
        for key, download in list(self._downloads.items()):
            if download.host is host:
                self._end(key, download)

    def _end(self, key: tuple[ImageId, str], download: "_Download") -> None:
        if self._downloads.get(key) is download:
            del self._downloads[key]
        for waiting in download.waiting:
            if not waiting.done():
                waiting.set_result(None)

    def root(self, guest: Guest) -> SimulatedDisk:
        disk = self.disks.get((guest.server, guest.disks.generation))
        if disk is None:
            raise Refused(f"disks of generation {guest.disks.generation} of {guest.server} are not here")
        return disk

    def content(self, root: RootDisk) -> list[Write]:
        """Return what a disk begins with that is made of this cached image."""
        return list(self._images[root.image, root.image_sha256])

    def own(self, server: ServerId, incarnation: int) -> None:
        if self.owners.get(server, incarnation) > incarnation:
            raise Refused(f"the disks of {server} belong to incarnation {self.owners[server]}, not {incarnation}")
        self.owners[server] = incarnation

    def drop(self, server: ServerId, keep: int | None, deletes: Callable[[ServerId, int], None]) -> None:
        """Delete the server's disks but the generation to `keep`, telling of each before; None: all that it has."""
        for at in [at for at in self.disks if at[0] == server]:
            if keep is None or at[1] != keep:
                deletes(*at)
                del self.disks[at]
        for at in [at for at in self.consoles if at[0] == server]:
            if keep is None or at[1] != keep:
                del self.consoles[at]
        if keep is None:
            for copy in [copy for copy in self.copies if copy[0] == server]:
                del self.copies[copy]
            self.owners.pop(server, None)

    def set_aside(self, server: ServerId, at: str) -> None:
        """Keep the server's disks, if it has any, beside those that are its own."""
        found = {key[1]: disk for key, disk in self.disks.items() if key[0] == server}
        if found:
            owner = self.owners.get(server, 0)
            aside = Aside(server=server, incarnation=owner, at=at, name=f"{server}-{owner}-{at}")
            self.asides.append((aside, found))

    def drop_asides(self, before: str) -> list[Aside]:
        """Delete what was set aside before then; return it."""
        old = [aside for aside, _ in self.asides if aside.at < before]
        self.asides = [entry for entry in self.asides if entry[0] not in old]
        return old

    def log(self, server: ServerId) -> bytes:
        """Return what the server's guest has written to its console: its newest that holds anything."""
        logs = sorted((at for at in self.consoles if at[0] == server), reverse=True)
        return bytes(next((log for at in logs if (log := self.consoles[at])), b""))
