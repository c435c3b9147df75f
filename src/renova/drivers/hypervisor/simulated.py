"""A hypervisor in memory, for the simulated cloud, the simulation and benchmarks: no threads, no files, no chance.

It obeys the Protocol like libvirt and passes the same contract tests; time comes from the clock it is given. What
libvirtd would do, it does in no process of the agent's: that may be killed meanwhile. `SimulatedStorage` is the
instances directory; hosts that are given the same one share it. What lies past the Protocol is for tests and the
simulation: power cuts, crashes, guests that ignore ACPI, what guests wrote.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import msgspec

from renova.drivers.blocking import to_its_end
from renova.drivers.hypervisor import DiskLocked, ImageSource
from renova.drivers.hypervisor.image import verified
from renova.drivers.hypervisor.simulated_image import Write, packed, unpacked
from renova.model.clock import Clock, stamp
from renova.model.errors import NotNow, Refused, StorageAway
from renova.model.guest import (
    Aside,
    CachedImage,
    Capabilities,
    FoundDevices,
    FoundGuest,
    Guest,
    GuestChanged,
    HostFacts,
    LocalDisks,
    Nic,
    PowerState,
    RootDisk,
    VolumeDisk,
)
from renova.model.ids import ImageId, PortId, ServerId, VolumeId
from renova.model.volume import Connection

Call = TypeVar("Call", bound=Callable[..., Coroutine[Any, Any, Any]])

GIB = 1 << 30
ACTIVE = (PowerState.RUNNING, PowerState.PAUSED)
SMALL_HOST = HostFacts(
    hypervisor_type="QEMU",
    hypervisor_version=7002000,
    accelerator="simulated",
    architecture="x86_64",
    vcpus=16,
    memory_mb=65536,
    local_gb=1000,
    cpu_info={"arch": "x86_64", "model": "simulated", "vendor": "Renova"},
)


@dataclass
class SimulatedDisk:
    """A server's local disks as one: image, what was written since, and whose running guest has them open."""

    image: ImageId | None
    writes: list[Write] = field(default_factory=list)
    open_by: "SimulatedHypervisor | None" = None

    @property
    def boots(self) -> int:
        return sum(write.text == "boot" for write in self.writes)


@dataclass
class _Download:
    """An image on its way: which host brings it, and who waits for it."""

    host: object
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class Witness:
    """Told of what happens on pretended hosts, as it happens; the simulation checks its invariants so."""

    def power(self, server: ServerId) -> None:
        """Hear that the server's guest on this host runs, stands still or has ended."""

    def begins(self, call: str, server: ServerId, guest: Guest | None) -> None:
        """Hear that this host begins to change the guest; `guest` where the call brings it along."""

    def ends(self, call: str, server: ServerId) -> None:
        """Hear that such a call has returned, however."""

    def connects(self) -> None:
        """Hear that an agent begins: what a former one had begun is over."""

    def deletes(self, server: ServerId, generation: int) -> None:
        """Hear that a server's local disks are about to be deleted for good."""


class SimulatedStorage:
    """An instances directory; what is in it survives every power cut."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.disks: dict[tuple[ServerId, int], SimulatedDisk] = {}  # by server and generation
        self.owners: dict[ServerId, int] = {}
        self.consoles: dict[tuple[ServerId, int], bytearray] = {}  # by server and generation
        self.asides: list[tuple[Aside, dict[int, SimulatedDisk]]] = []  # with the disks by generation
        self.copies: dict[tuple[ServerId, ImageId], bytes] = {}  # of root disks, on their way to the image service
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


@dataclass
class _Domain:
    guest: Guest
    power: PowerState = PowerState.SHUTDOWN
    saved: bool = False  # its memory, while it is off
    disk: SimulatedDisk | None = None  # what it has open while it runs, even if somebody deletes it
    ready_at: float = 0.0  # when the booting guest reaches userspace
    booted: bool = False

    def has(self, **devices: tuple[VolumeDisk, ...] | tuple[Nic, ...]) -> None:
        """Note what the guest has from now on."""
        self.guest = msgspec.structs.replace(self.guest, **devices)

    def found(self) -> FoundGuest:
        return FoundGuest(self.guest.server, self.guest.incarnation, self.power)


def _change(call: Call) -> Call:
    """Tell the witness of a call by which the agent changes a guest."""
    name = call.__name__

    @wraps(call)
    async def told(self: "SimulatedHypervisor", what: Any, *arguments: Any, **options: Any) -> Any:
        guest = what if isinstance(what, Guest) else None
        server = guest.server if guest else what
        witness = self.witness
        witness.begins(name, server, guest)
        try:
            if self.on_call is None:
                return await call(self, what, *arguments, **options)
            await self.on_call(f"before {name}")
            result = await call(self, what, *arguments, **options)
            await self.on_call(f"after {name}")
            return result
        finally:
            witness.ends(name, server)

    return cast(Call, told)


def _served(call: Call) -> Call:
    """Have the hypervisor do it in a process of its own, one call of a guest after the other, though the caller die."""

    @wraps(call)
    async def asked(self: "SimulatedHypervisor", what: Any, *arguments: Any, **options: Any) -> Any:
        server = what.server if isinstance(what, Guest) else what
        serving = asyncio.get_running_loop().create_task(
            self._serve(server, call(self, what, *arguments, **options)), context=Context()
        )
        serving.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever asked may be gone
        return await to_its_end(serving)

    return cast(Call, asked)


class SimulatedHypervisor:
    """Pretends to run the guests of one host.

    `start_s` is how long `start` takes, `boot_s` how much later the guest is in userspace, `shut_down_s` how long
    it takes to power off when asked. `storage_answers` says whether who serves a volume there answers this host.
    """

    def __init__(
        self,
        clock: Clock,
        storage: SimulatedStorage,
        facts: HostFacts = SMALL_HOST,
        *,
        start_s: float = 0.0,
        boot_s: float = 0.0,
        shut_down_s: float = 0.0,
        storage_answers: Callable[[Connection], bool] = lambda _way: True,
    ) -> None:
        self._clock = clock
        self._storage_answers = storage_answers
        self._storage = storage
        self._facts = msgspec.structs.replace(facts, storage_id=storage.identity)
        self._start_s, self._boot_s, self._shut_down_s = start_s, boot_s, shut_down_s
        self._domains: dict[ServerId, _Domain] = {}
        self._jobs = WeakValueDictionary[ServerId, asyncio.Lock]()  # each held by the call that is being served
        self._changed: Callable[[GuestChanged], None] | None = None
        self._powered = True
        self._power_cuts = 0
        self._away = False
        self.witness = Witness()
        self.setting_aside: ServerId | None = None  # whose disks are kept elsewhere while they go from here
        self.on_call: Callable[[str], Awaitable[None]] | None = None  # what slows, fails or kills whoever calls
        self._still = False
        self.ignoring_acpi: set[ServerId] = set()
        self.dead_exports: set[Connection] = set()  # what nobody serves any more, for tests without storage
        self.holding_on: set[str] = set()  # volumes and ports that guests do not let go of

    # The Protocol.

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        self._reach()
        self.witness.connects()
        self._changed = changed

    async def close(self) -> None:
        self._changed = None

    def capabilities(self) -> Capabilities:
        return self._facts.capabilities

    async def facts(self) -> HostFacts:
        self._reach()
        return self._facts

    async def guests(self) -> list[FoundGuest]:
        self._reach()
        return [domain.found() for domain in self._domains.values()]

    async def guest(self, server: ServerId) -> FoundGuest | None:
        self._reach()
        domain = self._domains.get(server)
        return domain.found() if domain else None

    async def devices(self, server: ServerId) -> FoundDevices:
        self._reach()
        volumes = tuple(disk.volume for disk in self.volumes(server))
        return FoundDevices(volumes, tuple(nic.mac for nic in self.nics(server)))

    @_change
    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        self._reach()
        root, generation = guest.disks.root, guest.disks.generation
        if root and 0 < root.size_gb * GIB < root.image_bytes:
            raise Refused(f"image {root.image} needs {root.image_bytes} bytes, the root disk has {root.size_gb} GiB")
        self._storage.own(guest.server, guest.incarnation)
        power_cuts = self._power_cuts
        if root:
            await self._storage.cache(root, images, self._clock.monotonic(), self)
        self._reach(power_cuts)
        self._storage.own(guest.server, guest.incarnation)  # again: the download may have taken long
        self._storage.consoles.setdefault((guest.server, generation), bytearray())
        if (guest.server, generation) in self._storage.disks:
            return False
        self._storage.disks[guest.server, generation] = SimulatedDisk(
            root.image if root else None, self._storage.content(root) if root else []
        )
        return True

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        self._reach()
        needs_none = disks.root is None and not disks.ephemerals_gb and not disks.swap_mb
        return needs_none or (server, disks.generation) in self._storage.disks

    async def volumes_answer(self, volumes: Iterable[VolumeDisk]) -> None:
        self._reach()
        for disk in volumes:
            if not self._storage_answers(disk.connection):
                raise StorageAway(f"the storage host of volume {disk.volume} does not answer")

    @_change
    @_served
    async def start(self, guest: Guest) -> FoundGuest:
        return await self._start(guest)

    async def _start(self, guest: Guest) -> FoundGuest:
        self._reach()
        running = self._active(guest.server)
        if running:
            if running.guest.incarnation > guest.incarnation:
                raise Refused(f"incarnation {running.guest.incarnation} of {guest.server} runs")
            if running.guest.incarnation == guest.incarnation:
                self._go_on(running)
                return running.found()
        self._storage.own(guest.server, guest.incarnation)
        disk = self._storage.root(guest)
        await self.volumes_answer(guest.volumes)
        if running:
            self._stop(running, PowerState.SHUTDOWN)
        domain = self._domains[guest.server] = _Domain(guest)
        await self._run(domain, disk)
        domain.ready_at = self._clock.monotonic() + self._boot_s
        self._tell(domain)
        return domain.found()

    @_change
    async def started_as(self, server: ServerId) -> str:
        self._reach()
        domain = self._active(server)
        return domain.guest.started_as if domain else ""

    async def define(self, guest: Guest) -> None:
        self._reach()
        if self._active(guest.server):
            raise Refused(f"{guest.server} runs, so it is not defined anew")
        self._domains[guest.server] = _Domain(guest)

    @_change
    @_served
    async def pause(self, server: ServerId) -> None:
        self._reach()
        domain = self._active(server)
        if domain and domain.power is PowerState.RUNNING:
            self._boot(domain)
            domain.power = PowerState.PAUSED
            self.witness.power(server)
            self._tell(domain)

    @_change
    @_served
    async def unpause(self, server: ServerId) -> None:
        self._reach()
        if domain := self._active(server):
            self._go_on(domain)

    @_change
    async def suspend(self, server: ServerId) -> bool:
        self._reach()
        domain = self._active(server)
        if domain is None:
            off = self._domains.get(server)
            return off is not None and off.saved
        await self._take(self._start_s)
        self._stop(domain, PowerState.SHUTDOWN)
        domain.saved = True
        return True

    @_change
    @_served
    async def resume(self, guest: Guest) -> FoundGuest:
        self._reach()
        domain = self._domains.get(guest.server)
        if domain is None or not domain.saved or domain.guest.incarnation != guest.incarnation:
            return await self._start(guest)
        self._storage.own(guest.server, guest.incarnation)
        await self.volumes_answer(guest.volumes)
        await self._run(domain, self._storage.root(guest))
        domain.saved = False
        self._tell(domain)
        return domain.found()

    @_change
    async def snapshot(self, server: ServerId, disks: LocalDisks, image: ImageId) -> int:
        self._reach()
        domain, copies = self._domains.get(server), self._storage.copies
        disk = self._storage.disks.get((server, disks.generation))
        if disk is None or disks.root is None:
            raise Refused(f"{server} has no root disk {disks.generation} here")
        if (server, image) not in copies:
            if domain:
                self._boot(domain)
            content = packed(disk.writes, max(disks.root.size_gb * GIB, disks.root.image_bytes))
            await self._take(self._start_s)
            copies[server, image] = content
        return len(copies[server, image])

    async def read_snapshot(self, server: ServerId, image: ImageId) -> AsyncGenerator[bytes]:
        self._reach()
        content = self._storage.copies.get((server, image))
        if content is None:
            raise Refused(f"there is no copy {image} of {server} here")
        for start in range(0, len(content), 1 << 16):
            self._reach()
            yield content[start : start + (1 << 16)]

    @_change
    async def drop_snapshot(self, server: ServerId, image: ImageId) -> None:
        self._reach()
        self._storage.copies.pop((server, image), None)

    @_change
    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        self._reach()
        domain = self._active(server)
        if domain is None:
            return True
        # A guest hears the power button only once it is up; it is pressed again until then.
        needs = max(domain.ready_at - self._clock.monotonic(), 0.0) + self._shut_down_s
        deaf = server in self.ignoring_acpi or domain.power is PowerState.PAUSED
        if deaf or needs > wait_s or wait_s <= 0:
            await self._take(wait_s)
            return self._active(server) is None
        await self._take(needs)
        if self._active(server) is domain:
            self._stop(domain, PowerState.SHUTDOWN)
        return True

    @_change
    @_served
    async def kill(self, server: ServerId) -> None:
        self._reach()
        domain = self._active(server)
        if domain:
            self._stop(domain, PowerState.SHUTDOWN)

    @_change
    @_served
    async def undefine(self, server: ServerId) -> None:
        self._reach()
        if self._active(server):
            raise Refused(f"{server} runs, so its definition stays")
        self._domains.pop(server, None)

    @_change
    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        self._reach()
        if keep is None and self._active(server):
            raise Refused(f"{server} runs, so its disks stay")
        owner = self._storage.owners.get(server)
        if up_to is not None and owner is not None and owner > up_to:
            return False
        for at in [at for at in self._storage.disks if at[0] == server]:
            if keep is None or at[1] != keep:
                self.witness.deletes(*at)
                del self._storage.disks[at]
        for at in [at for at in self._storage.consoles if at[0] == server]:
            if keep is None or at[1] != keep:
                del self._storage.consoles[at]
        if keep is None:
            for copy in [copy for copy in self._storage.copies if copy[0] == server]:
                del self._storage.copies[copy]
            self._storage.owners.pop(server, None)
        return True

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        self._reach()
        if self._active(server):
            raise Refused(f"{server} runs, so its disks stay")
        owner = self._storage.owners.get(server, 0)
        if owner > up_to:
            return False
        found = {at[1]: disk for at, disk in self._storage.disks.items() if at[0] == server}
        if found:
            at = stamp(self._clock.wall())
            aside = Aside(server=server, incarnation=owner, at=at, name=f"{server}-{owner}-{at}")
            self._storage.asides.append((aside, found))
        self.setting_aside = server
        try:
            return await self.drop_disks(server, None)
        finally:
            self.setting_aside = None

    async def asides(self) -> list[Aside]:
        self._reach()
        return [aside for aside, _ in self._storage.asides]

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        self._reach()
        return self._storage.drop_images(in_use, self._clock.monotonic() - grace_s)

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        self._reach()
        before = stamp(self._clock.wall() - timedelta(seconds=older_than_s))
        old = [aside for aside, _ in self._storage.asides if aside.at < before]
        self._storage.asides = [entry for entry in self._storage.asides if entry[0] not in old]
        return old

    @_change
    @_served
    async def attach_volume(self, server: ServerId, disk: VolumeDisk) -> None:
        self._reach()
        domain = self._active(server)
        if domain is None:
            return
        if disk.connection in self.dead_exports:
            raise Refused(f"volume {disk.volume} cannot be reached")
        await self.volumes_answer([disk])
        has = [volume for volume in domain.guest.volumes if volume.volume == disk.volume]
        if has and has[0].connection != disk.connection:
            raise Refused(f"{server} has volume {disk.volume} by another attachment")
        if any(volume.device == disk.device for volume in domain.guest.volumes if volume.volume != disk.volume):
            raise Refused(f"{server} has another volume as {disk.device}")
        if not has:
            domain.has(volumes=(*domain.guest.volumes, disk))

    @_change
    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        self._reach()
        if volume in self.holding_on and self._active(server):
            await self._take(wait_s)
            return not any(disk.volume == volume for disk in self.volumes(server))
        if domain := self._active(server):
            domain.has(volumes=tuple(disk for disk in domain.guest.volumes if disk.volume != volume))
        return True

    @_change
    @_served
    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        self._reach()
        domain = self._active(server)
        if domain is not None and nic.port not in {each.port for each in domain.guest.nics}:
            domain.has(nics=(*domain.guest.nics, nic))

    @_change
    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:
        self._reach()
        if port in self.holding_on and self._active(server):
            await self._take(wait_s)
            return not any(nic.port == port for nic in self.nics(server))
        if domain := self._active(server):
            domain.has(nics=tuple(nic for nic in domain.guest.nics if nic.port != port))
        return True

    async def owner(self, server: ServerId) -> int | None:
        self._reach()
        return self._storage.owners.get(server)

    async def console(self, server: ServerId, limit: int = 102400) -> bytes:
        self._reach()
        domain = self._running(server)
        if domain:
            self._boot(domain)
        logs = sorted((at for at in self._storage.consoles if at[0] == server), reverse=True)
        newest = next((log for at in logs if (log := self._storage.consoles[at])), b"")
        return bytes(newest[-limit:]) if limit > 0 else b""

    # For tests and the simulation.

    def cut_power(self) -> None:
        """Stop the host at once: guests die unannounced, every call fails until `power_on`."""
        for domain in self._domains.values():
            if domain.power in ACTIVE:
                self._release(domain, PowerState.SHUTDOWN)
        self._powered, self._changed = False, None
        self._power_cuts += 1

    def power_on(self) -> None:
        """Boot the host again: definitions are there, nothing runs, somebody must `connect` anew."""
        self._powered = True

    def disconnect(self) -> None:
        """Tell nobody anything until the next `connect`: whoever listened was killed, with all that it was doing."""
        self._changed = None
        self._storage.let_go(self)

    def stand_still(self) -> None:
        """Have the whole host stand still: no guest executes until `go_on`."""
        self._still = True
        self._show_all()

    def go_on(self) -> None:
        """Wake the host: its guests go on where they stood."""
        self._still = False
        self._show_all()

    def _show_all(self) -> None:
        for server, domain in self._domains.items():
            if domain.power is PowerState.RUNNING:
                self.witness.power(server)

    def go_away(self) -> None:
        """Fail every call from now on, as when libvirtd is dead; guests run on."""
        self._away = True

    def come_back(self) -> None:
        """Answer again, and report the state of every guest."""
        self._away = False
        for domain in self._domains.values():
            self._tell(domain)

    def crash(self, server: ServerId) -> None:
        """Have a running guest's QEMU die."""
        self._stop(self._must_run(server), PowerState.CRASHED)

    def power_off_inside(self, server: ServerId) -> None:
        """Have a running guest power itself off, as its user may."""
        self._stop(self._must_run(server), PowerState.SHUTDOWN)

    def write(self, server: ServerId, text: str) -> None:
        """Have a running guest write to its root disk."""
        domain = self._must_run(server)
        self._boot(domain)
        assert domain.disk
        domain.disk.writes.append(Write(domain.guest.incarnation, text))

    def executing(self) -> dict[ServerId, int]:
        """Return the guests that execute, each with its incarnation; also while power or libvirtd is away."""
        return {
            server: domain.guest.incarnation
            for server, domain in self._domains.items()
            if domain.power is PowerState.RUNNING and not self._still
        }

    def domains(self) -> list[ServerId]:
        """Return the servers of which something is defined here."""
        return list(self._domains)

    def defined(self, server: ServerId) -> int | None:
        """Return the incarnation of the server's guest if it is defined here, whether it executes or not."""
        domain = self._domains.get(server)
        return domain.guest.incarnation if domain else None

    def executes(self, server: ServerId) -> int | None:
        """Return the incarnation of the server's guest if it executes here."""
        domain = self._running(server)
        return domain.guest.incarnation if domain and not self._still else None

    def volumes(self, server: ServerId) -> tuple[VolumeDisk, ...]:
        """Return the volumes that the running guest has; none when it does not run."""
        domain = self._active(server)
        return domain.guest.volumes if domain else ()

    def nics(self, server: ServerId) -> tuple[Nic, ...]:
        """Return the nics that the running guest has."""
        domain = self._active(server)
        return domain.guest.nics if domain else ()

    # Within.

    async def _serve(self, server: ServerId, call: Coroutine[Any, Any, Any]) -> Any:
        power_cuts, job = self._power_cuts, self._jobs.setdefault(server, asyncio.Lock())
        try:
            async with job:
                self._reach(power_cuts)
                return await call
        finally:
            call.close()  # if it was not begun

    def _reach(self, power_cuts: int | None = None) -> None:
        """Raise `NotNow` unless the hypervisor answers, and was not cut off since `power_cuts` were counted."""
        if not self._powered or (power_cuts is not None and power_cuts != self._power_cuts):
            raise NotNow("the host lost its power")
        if self._away:
            raise NotNow("the hypervisor does not answer")

    async def _take(self, seconds: float) -> None:
        if seconds > 0:
            power_cuts = self._power_cuts
            await self._clock.sleep(seconds)
            self._reach(power_cuts)

    async def _run(self, domain: _Domain, disk: SimulatedDisk) -> None:
        domain.power = PowerState.PAUSED
        try:
            await self._take(self._start_s)
            disks = domain.guest.disks
            files = disks.root or disks.ephemerals_gb or disks.swap_mb
            if files and disk.open_by is not None:  # a server that has only volumes opens nothing here
                raise DiskLocked(f"the disk of {domain.guest.server} is open elsewhere: the old guest may live")
        except BaseException:
            domain.power = PowerState.SHUTDOWN
            raise
        disk.open_by = self
        domain.power, domain.disk = PowerState.RUNNING, disk
        self.witness.power(domain.guest.server)

    def _go_on(self, domain: _Domain) -> None:
        if domain.power is PowerState.PAUSED:
            domain.power = PowerState.RUNNING
            self.witness.power(domain.guest.server)
            self._tell(domain)

    def _active(self, server: ServerId) -> _Domain | None:
        """Return the guest if it runs or stands still: it has its disk open."""
        domain = self._domains.get(server)
        return domain if domain and domain.power in ACTIVE else None

    def _running(self, server: ServerId) -> _Domain | None:
        domain = self._domains.get(server)
        return domain if domain and domain.power is PowerState.RUNNING else None

    def _must_run(self, server: ServerId) -> _Domain:
        domain = self._running(server)
        if domain is None:
            raise Refused(f"{server} does not run")
        return domain

    def _boot(self, domain: _Domain) -> None:
        """Catch up with what the guest has done by now: reach userspace, once, and say so on its console."""
        # Done when somebody looks, not by a timer: a thousand hosts need no thousand tasks.
        if domain.booted or domain.disk is None or self._clock.monotonic() < domain.ready_at:
            return
        domain.booted = True
        domain.disk.writes.append(Write(domain.guest.incarnation, "boot"))
        line = f"GUEST-READY {domain.guest.personal.hostname} boots={domain.disk.boots}\n"
        at = (domain.guest.server, domain.guest.disks.generation)
        self._storage.consoles.setdefault(at, bytearray()).extend(line.encode())

    def _release(self, domain: _Domain, power: PowerState) -> None:
        self._boot(domain)
        if domain.disk:
            domain.disk.open_by = None
        domain.disk, domain.power = None, power
        self.witness.power(domain.guest.server)

    def _stop(self, domain: _Domain, power: PowerState) -> None:
        self._release(domain, power)
        self._tell(domain)

    def _tell(self, domain: _Domain) -> None:
        # Nothing is heard of a hypervisor that is away; a real one reports all states when it is back.
        if self._changed and not self._away:
            self._changed(GuestChanged(domain.guest.server, domain.guest.incarnation, domain.power))
