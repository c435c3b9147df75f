"""The simulated hypervisor: what an agent asks of it, over a simulated machine and its storage."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from datetime import timedelta

import msgspec

from renova.drivers.hypervisor import DiskLocked, ImageSource
from renova.drivers.hypervisor.simulated.calls import change, served
from renova.drivers.hypervisor.simulated.image import packed
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST, Domain
from renova.drivers.hypervisor.simulated.storage import SimulatedDisk, SimulatedStorage
from renova.drivers.hypervisor.simulated.travelling import TravellingMachine
from renova.model.clock import Clock, stamp
from renova.model.errors import Refused, StorageAway
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
    Pulse,
    Reply,
    VolumeDisk,
)
from renova.model.ids import ImageId, PortId, ServerId, VolumeId
from renova.model.volume import Connection

GIB = 1 << 30


class SimulatedHypervisor(TravellingMachine):
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
        super().__init__(clock, storage, start_s=start_s, boot_s=boot_s, shut_down_s=shut_down_s)
        self._storage_answers = storage_answers
        self._facts = msgspec.structs.replace(facts, storage_id=storage.identity)
        self.setting_aside: ServerId | None = None  # whose disks are kept elsewhere while they go from here
        self.ignoring_acpi: set[ServerId] = set()
        self.agentless: set[ServerId] = set()  # guests without an agent inside
        self.dead_exports: set[Connection] = set()  # what nobody serves any more, for tests without storage
        self.holding_on: set[str] = set()  # volumes and ports that guests do not let go of

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        self.reach()
        self.witness.connects()
        self._changed = changed

    async def close(self) -> None:
        self._changed = None

    def capabilities(self) -> Capabilities:
        return self._facts.capabilities

    async def facts(self) -> HostFacts:
        self.reach()
        return self._facts

    async def guests(self) -> list[FoundGuest]:
        self.reach()
        return [domain.found() for domain in self._domains.values()]

    async def guest(self, server: ServerId) -> FoundGuest | None:
        self.reach()
        domain = self._domains.get(server)
        return domain.found() if domain else None

    async def pulse(self, server: ServerId) -> Pulse:
        self.reach()
        domain = self._running(server)
        if domain is None or self.executes(server) is None:
            return Pulse(Reply.NOBODY, self._lives)
        reply = self._reply(domain)
        domain.answered = domain.answered or reply is Reply.ANSWERED
        return Pulse(reply, domain.life)

    def _reply(self, domain: Domain) -> Reply:
        self._boot(domain)
        has_agent = domain.guest.guest_agent and domain.booted and not domain.without_agent
        has_agent = has_agent and domain.guest.server not in self.agentless
        return Reply.NOBODY if not has_agent else Reply.SILENT if domain.hangs else Reply.ANSWERED

    def answering(self) -> list[ServerId]:
        """Return the guests that execute and whose agents answer whoever asks."""
        return [server for server in self.executing() if self._reply(self._domains[server]) is Reply.ANSWERED]

    def watched(self) -> list[ServerId]:
        """Return the guests that execute, do not hang and have a watchdog."""
        found = {server: self._domains[server] for server in self.executing()}
        return [server for server, domain in found.items() if domain.guest.watchdog and not domain.hangs]

    async def devices(self, server: ServerId) -> FoundDevices:
        self.reach()
        volumes = tuple(disk.volume for disk in self.volumes(server))
        return FoundDevices(volumes, tuple(nic.mac for nic in self.nics(server)))

    @change
    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        self.reach()
        root, generation = guest.disks.root, guest.disks.generation
        if root and 0 < root.size_gb * GIB < root.image_bytes:
            raise Refused(f"image {root.image} needs {root.image_bytes} bytes, the root disk has {root.size_gb} GiB")
        self._storage.own(guest.server, guest.incarnation)
        power_cuts = self.power_cuts
        known = self._storage.disks.get((guest.server, generation))
        if root and (known is None or known.image == root.image):  # else it was carried here, with what it needs
            await self._storage.cache(root, images, self._clock.monotonic(), self)
        self.reach(power_cuts)
        self._storage.own(guest.server, guest.incarnation)  # again: the download may have taken long
        self._storage.consoles.setdefault((guest.server, generation), bytearray())
        if (guest.server, generation) in self._storage.disks:
            return False
        self._storage.disks[guest.server, generation] = SimulatedDisk(
            root.image if root else None, self._storage.content(root) if root else []
        )
        return True

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        self.reach()
        needs_none = disks.root is None and not disks.ephemerals_gb and not disks.swap_mb
        return needs_none or (server, disks.generation) in self._storage.disks

    async def newer_disks(self, server: ServerId, disks: LocalDisks) -> int:
        self.reach()
        here = [generation for of, generation in self._storage.disks if of == server]
        if disks.generation in here:
            return 0
        return min((generation for generation in here if generation > disks.generation), default=0)

    async def volumes_answer(self, volumes: Iterable[VolumeDisk]) -> None:
        self.reach()
        for disk in volumes:
            if not self._storage_answers(disk.connection):
                raise StorageAway(f"the storage host of volume {disk.volume} does not answer")

    @change
    @served
    async def start(self, guest: Guest) -> FoundGuest:
        return await self._start(guest)

    async def _start(self, guest: Guest) -> FoundGuest:
        self.reach()
        self._turn_away(guest.server)
        running = self._active(guest.server)
        if running:
            if running.guest.incarnation > guest.incarnation:
                raise Refused(f"incarnation {running.guest.incarnation} of {guest.server} runs")
            same_disks = running.guest.disks.generation == guest.disks.generation
            if running.guest.incarnation == guest.incarnation and same_disks:
                self._go_on(running)
                return running.found()
        self._storage.own(guest.server, guest.incarnation)
        disk = self._storage.root(guest)
        await self.volumes_answer(guest.volumes)
        if running:
            self._stop(running, PowerState.SHUTDOWN)
        domain = self._domains[guest.server] = Domain(guest)
        await self._run(domain, disk)
        domain.ready_at = self._clock.monotonic() + self._boot_s
        self._tell(domain)
        return domain.found()

    @change
    @served
    async def take_in(self, guest: Guest, arrived: int) -> FoundGuest:
        self.reach()
        domain = self._active(guest.server)
        if domain is None or not domain.arriving or domain.guest.incarnation != arrived:
            return await self._start(guest)
        self._storage.own(guest.server, guest.incarnation)
        disk = self._storage.root(guest)
        await self.volumes_answer(guest.volumes)
        self._open(domain, disk)
        domain.guest, domain.arriving = guest, False
        self._go_on(domain)
        return domain.found()

    @change
    async def started_as(self, server: ServerId) -> str:
        self.reach()
        domain = self._active(server)
        return domain.guest.started_as if domain else ""

    async def define(self, guest: Guest) -> None:
        self.reach()
        if self._active(guest.server):
            raise Refused(f"{guest.server} runs, so it is not defined anew")
        self._domains[guest.server] = Domain(guest)

    @change
    @served
    async def pause(self, server: ServerId) -> None:
        self.reach()
        domain = self._active(server)
        if domain and domain.power is PowerState.RUNNING:
            self._boot(domain)
            domain.power = PowerState.PAUSED
            self._begin_anew(domain)
            self.witness.power(server)
            self._tell(domain)

    @change
    @served
    async def unpause(self, server: ServerId) -> None:
        self.reach()
        if domain := self._active(server):
            self._go_on(domain)

    @change
    async def suspend(self, server: ServerId) -> bool:
        self.reach()
        domain = self._active(server)
        if domain is None:
            off = self._domains.get(server)
            return off is not None and off.saved
        self._must_not_be_frozen()
        await self._take(self._start_s)
        self._must_not_be_frozen()
        self._stop(domain, PowerState.SHUTDOWN)
        domain.saved = True
        return True

    @change
    @served
    async def resume(self, guest: Guest) -> FoundGuest:
        self.reach()
        domain = self._domains.get(guest.server)
        if domain is None or not domain.saved or domain.guest.incarnation != guest.incarnation:
            return await self._start(guest)
        self._storage.own(guest.server, guest.incarnation)
        await self.volumes_answer(guest.volumes)
        await self._run(domain, self._storage.root(guest))
        domain.saved = False
        self._tell(domain)
        return domain.found()

    @change
    async def snapshot(self, server: ServerId, disks: LocalDisks, image: ImageId) -> int:
        self.reach()
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
        self.reach()
        content = self._storage.copies.get((server, image))
        if content is None:
            raise Refused(f"there is no copy {image} of {server} here")
        for start in range(0, len(content), 1 << 16):
            self.reach()
            yield content[start : start + (1 << 16)]

    @change
    async def drop_snapshot(self, server: ServerId, image: ImageId) -> None:
        self.reach()
        self._storage.copies.pop((server, image), None)

    @change
    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        self.reach()
        domain = self._active(server)
        if domain is None:
            return True
        # A guest hears the power button only once it is up; it is pressed again until then.
        needs = max(domain.ready_at - self._clock.monotonic(), 0.0) + self._shut_down_s
        deaf = server in self.ignoring_acpi or domain.hangs or domain.power is PowerState.PAUSED or self.frozen
        if deaf or needs > wait_s or wait_s <= 0:
            await self._take(wait_s)
            return self._active(server) is None
        await self._take(needs)
        if self._active(server) is domain:
            if self.frozen:
                return False
            self._stop(domain, PowerState.SHUTDOWN)
        return True

    @change
    @served
    async def kill(self, server: ServerId) -> None:
        self.reach()
        domain = self._active(server)
        if domain:
            self._stop(domain, PowerState.SHUTDOWN)

    @change
    @served
    async def undefine(self, server: ServerId) -> None:
        self.reach()
        if self._active(server):
            raise Refused(f"{server} runs, so its definition stays")
        self._domains.pop(server, None)

    @change
    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        self.reach()
        running = self._active(server)
        if running and running.guest.disks.generation != keep:
            raise Refused(f"{server} runs on its disks of generation {running.guest.disks.generation}, so they stay")
        owner = self._storage.owners.get(server)
        if up_to is not None and owner is not None and owner > up_to:
            return False
        here = {generation for disk_of, generation in self._storage.disks if disk_of == server}
        if keep is not None and here and keep not in here:
            raise Refused(f"disks of generation {keep} of {server} are not here, so the others stay")
        if any(self._storage.disks[server, each].open_by for each in here if each != keep):
            raise DiskLocked(f"a disk of {server} is open elsewhere: the old guest may live")
        self._storage.drop(server, keep, self.witness.deletes)
        return True

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        self.reach()
        if self._active(server):
            raise Refused(f"{server} runs, so its disks stay")
        if self._storage.owners.get(server, 0) > up_to:
            return False
        self._storage.set_aside(server, stamp(self._clock.wall()))
        self.setting_aside = server
        try:
            return await self.drop_disks(server, None)
        finally:
            self.setting_aside = None

    async def asides(self) -> list[Aside]:
        self.reach()
        return [aside for aside, _ in self._storage.asides]

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        self.reach()
        return self._storage.drop_images(in_use, self._clock.monotonic() - grace_s)

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        self.reach()
        return self._storage.drop_asides(stamp(self._clock.wall() - timedelta(seconds=older_than_s)))

    @change
    @served
    async def attach_volume(self, server: ServerId, disk: VolumeDisk) -> None:
        self.reach()
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

    @change
    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        self.reach()
        if volume in self.holding_on and self._active(server):
            await self._take(wait_s)
            return not any(disk.volume == volume for disk in self.volumes(server))
        if domain := self._active(server):
            domain.has(volumes=tuple(disk for disk in domain.guest.volumes if disk.volume != volume))
        return True

    @change
    @served
    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        self.reach()
        domain = self._active(server)
        if domain is not None and nic.port not in {each.port for each in domain.guest.nics}:
            domain.has(nics=(*domain.guest.nics, nic))

    @change
    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:
        self.reach()
        if port in self.holding_on and self._active(server):
            await self._take(wait_s)
            return not any(nic.port == port for nic in self.nics(server))
        if domain := self._active(server):
            domain.has(nics=tuple(nic for nic in domain.guest.nics if nic.port != port))
        return True

    async def owner(self, server: ServerId) -> int | None:
        self.reach()
        return self._storage.owners.get(server)

    async def console(self, server: ServerId, limit: int = 102400) -> bytes:
        self.reach()
        domain = self._running(server)
        if domain:
            self._boot(domain)
        log = self._storage.log(server)
        return log[-limit:] if limit > 0 else b""
