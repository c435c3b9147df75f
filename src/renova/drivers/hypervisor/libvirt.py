"""Guests run by libvirt and QEMU on this host. Runs in the agent, or wherever a libvirtd can be reached by a URI.

What a guest is stands in its domain's XML (`domain_xml`), what it has on disk below the instances directory
(`disks`). libvirtd keeps definitions and QEMU processes over a restart of the agent and of itself; so nothing is
kept here but who waits for whom.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor import libvirt_domains as domains
from renova.drivers.hypervisor import libvirt_migration as migration
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.domain_xml import (
    Accelerator,
    domain_xml,
    found_interface,
)
from renova.drivers.hypervisor.libvirt_connection import Connection
from renova.drivers.hypervisor.libvirt_pulses import Pulses
from renova.drivers.hypervisor.libvirt_travel import Travel
from renova.drivers.hypervisor.passage import Passage
from renova.drivers.hypervisor.volume_reach import Reach, storage_answers
from renova.model.clock import Clock
from renova.model.errors import BadSetup, NotNow, Refused, whole
from renova.model.guest import (
    Aside,
    CachedImage,
    Capabilities,
    Departure,
    FoundDevices,
    FoundGuest,
    Guest,
    GuestChanged,
    HostFacts,
    LocalDisks,
    Nic,
    PowerState,
    Pulse,
    VolumeDisk,
    Way,
)
from renova.model.ids import HostId, ImageId, PortId, ServerId, VolumeId

log = structlog.get_logger()

ASK_AGAIN_S = 5.0  # a guest that is still booting does not hear that a device is to go, either
PRESS_AGAIN_S = 10.0  # a guest that is still booting does not hear the power button
BACKUP_LOOK_S = 0.2
TRY_AGAIN_S = 2.0  # after a guest's disk was away
LOOK_AGAIN_S = 2.0  # should an event get lost on a connection that breaks


Begin = Callable[[Any, Guest, str, BehindGate | None], FoundGuest]


class LibvirtHypervisor:
    """The guests of the libvirtd at `uri`.

    `boots_at_once` bounds how many guests are started at the same time; without it, one for each CPU when they
    are emulated, else four. Guests are started behind `gate`; None is for hosts that have no guard. With their memory
    they come and go by `passage`; None: they do not.
    """

    def __init__(
        self,
        disks: Disks,
        clock: Clock,
        accelerator: Accelerator,
        *,
        uri: str = "qemu:///system",
        boots_at_once: int | None = None,
        reach: Reach = storage_answers,
        gate: BehindGate | None = None,
        passage: Passage | None = None,
    ) -> None:
        self._disks = disks
        self._clock = clock
        self._accelerator = accelerator
        self._reach = reach
        self._gate = gate
        self._connection = Connection(uri, clock)
        # For looks that ask no QEMU: one that stands still behind the gate answers nothing until it opens.
        self._eyes = Connection(uri, clock)
        # For what takes as long as a guest has memory, or as its storage is silent: one call at a time, each.
        self._slow = Connection(uri, clock)
        self._pulses = Pulses(uri, clock, gate)
        self._travel = Travel(uri, clock, passage, self._connection, self._eyes)
        cpus = os.cpu_count() or 1
        self._boots = asyncio.Semaphore(boots_at_once or (cpus if accelerator == "tcg" else 4 * cpus))
        self._changed: Callable[[GuestChanged], None] = lambda _: None
        self._happened: dict[ServerId, asyncio.Event] = {}
        self._to_report: asyncio.Queue[ServerId | None] = asyncio.Queue()  # None: all guests
        self._reporter: asyncio.Task[None] | None = None
        self._stalled: dict[ServerId, asyncio.Task[None]] = {}  # guests whose disk was away, until they are tried again

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        await self._disks.check()
        await self._travel.open()
        # Events come over one and looks are had over another: until both are back, nothing could be told.
        await self._connection.open(self._on_event, self._reopened, self._pulses.shows)
        await self._eyes.open(lambda _server: None, self._report_all)
        await self._slow.open(lambda _server: None, lambda: None)
        await self._put_all_behind_gate()
        architecture = (await self._eyes.call(domains.host_cpu)).get("arch")
        if architecture != "x86_64":
            raise BadSetup(f"this host is {architecture}; guests are defined for x86_64 only")
        self._changed = changed
        self._reporter = asyncio.create_task(self._report())
        self._report_all()  # guests may wait for a disk since before this agent was here

    async def close(self) -> None:
        ending = [*self._stalled.values(), *([self._reporter] if self._reporter else [])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await self._travel.close()
        await self._pulses.close()
        for connection in (self._connection, self._slow, self._eyes):
            await connection.close()

    def capabilities(self) -> Capabilities:
        return Capabilities(live_migration=self._travel.is_possible)

    async def facts(self) -> HostFacts:
        kind, version, cpus, memory_mb = await self._eyes.call(domains.host)
        cpu = await self._eyes.call(domains.host_cpu)
        return HostFacts(
            hypervisor_type=kind,
            hypervisor_version=version,
            accelerator=self._accelerator,
            architecture=cpu["arch"],
            vcpus=cpus,
            memory_mb=memory_mb,
            local_gb=await self._disks.total_gb(),
            cpu_info=cpu,
            storage_id=await self._disks.storage_id(),
            capabilities=self.capabilities(),
        )

    async def guests(self) -> list[FoundGuest]:
        return [self._pulses.seen(guest) for guest in await self._eyes.call(domains.all_found)]

    async def guest(self, server: ServerId) -> FoundGuest | None:
        found = await self._eyes.call(domains.one_found, server)
        return None if found is None else self._pulses.seen(found)

    async def pulse(self, server: ServerId) -> Pulse:
        return await self._pulses.take(server)

    async def devices(self, server: ServerId) -> FoundDevices:
        return await self._connection.call(domains.devices, server)

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        return await self._disks.prepare(guest, images)

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        return await self._disks.has(server, disks)

    async def newer_disks(self, server: ServerId, disks: LocalDisks) -> int:
        return await self._disks.newer(server, disks)

    async def volumes_answer(self, volumes: Iterable[VolumeDisk]) -> None:
        await self._reach(volumes)

    async def start(self, guest: Guest) -> FoundGuest:
        await self._own_disks(guest)
        await self._reach(guest.volumes)
        async with self._boots:
            return await self._begin(guest, self._connection, domains.start)

    async def resume(self, guest: Guest) -> FoundGuest:
        await self._own_disks(guest)
        await self._reach(guest.volumes)
        async with self._boots:
            return await self._begin(guest, self._slow, domains.resume)

    async def _begin(self, guest: Guest, connection: Connection, way: Begin) -> FoundGuest:
        await self._travel.expect_no_more(guest.server)
        beginning = asyncio.ensure_future(connection.call(way, guest, self._xml(guest), self._gate))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # The gate may have closed just before the guest was let go on: then QEMU stands still, and libvirt waits
            # for it. Nobody wants the guest any more.
            with contextlib.suppress(NotNow):
                self._kill_if_it_stands_still(guest.server)
            beginning.cancel()
            await asyncio.wait([beginning])
            raise

    def _kill_if_it_stands_still(self, server: ServerId) -> None:
        if self._gate is not None and self._gate.is_closed():
            self._gate.kill(server)

    async def _put_all_behind_gate(self) -> None:
        """Have those behind the gate that run since before there was one, and no program of a former agent."""
        if self._gate is None:
            return
        self._gate.make()
        await self._gate.end_work(self._clock)
        for domain, found in await self._eyes.call(domains.running):
            try:
                self._gate.admit(domain, found.server, found.incarnation)
            except NotNow:
                if await self._eyes.call(domains.active, found.server):
                    raise

    async def started_as(self, server: ServerId) -> str:
        return await self._eyes.call(domains.started_as, server)

    async def _own_disks(self, guest: Guest) -> None:
        await self._disks.own(guest.server, guest.incarnation)
        if not await self._disks.has(guest.server, guest.disks):
            raise Refused(f"disks of generation {guest.disks.generation} of {guest.server} are not here")

    async def define(self, guest: Guest) -> None:
        await self._connection.call(domains.define, guest, self._xml(guest))

    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        happened = self._happened.setdefault(server, asyncio.Event())
        until = self._clock.monotonic() + wait_s
        press_at = self._clock.monotonic()
        try:
            while True:
                happened.clear()  # before looking: what happens from here on wakes us
                if not await self._connection.call(domains.active, server):
                    return True
                now = self._clock.monotonic()
                if now >= until:
                    return False
                if now >= press_at:
                    await self._connection.call(domains.press_power_button, server)
                    press_at = now + PRESS_AGAIN_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), min(until - now, press_at - now, LOOK_AGAIN_S))
        finally:
            del self._happened[server]

    async def expect(self, guest: Guest, source: HostId) -> Way:
        if not await self._disks.has(guest.server, guest.disks):
            raise Refused(f"disks of generation {guest.disks.generation} of {guest.server} are not here")
        return await self._travel.expect(guest.server, source)

    async def turn_away(self, server: ServerId) -> None:
        await self._travel.turn_away(server)

    async def depart(self, server: ServerId, to: Way, *, hurry: bool, wait_s: float) -> Departure:
        return await self._travel.depart(server, to, hurry=hurry, wait_s=wait_s)

    async def stay(self, server: ServerId) -> bool:
        return await self._travel.stay(server)

    async def take_in(self, guest: Guest, arrived: int) -> FoundGuest:
        await self._own_disks(guest)
        return await self._begin(guest, self._connection, partial(migration.take_in, arrived=arrived))

    async def kill(self, server: ServerId) -> None:
        self._kill_if_it_stands_still(server)
        await self._connection.call(domains.kill, server)

    async def pause(self, server: ServerId) -> None:
        # QEMU first waits for all that its disks have under way, and a volume's host may be silent.
        await self._slow.call(domains.pause, server)

    async def unpause(self, server: ServerId) -> None:
        await self._connection.call(domains.unpause, server)

    async def suspend(self, server: ServerId) -> bool:
        saving = asyncio.ensure_future(self._slow.call(domains.save, server))
        try:
            return await asyncio.shield(saving)
        except asyncio.CancelledError:
            # The call itself cannot be cancelled, but the job it waits for can: then the guest runs on.
            with contextlib.suppress(NotNow, Refused):
                await self._connection.call(domains.abort_job, server)
            saving.cancel()
            await asyncio.wait([saving])
            raise

    async def snapshot(self, server: ServerId, disks: LocalDisks, image: ImageId) -> int:
        root = self._disks.paths(server, disks).root
        if root is None or not await self._disks.has(server, disks):
            raise Refused(f"{server} has no root disk {disks.generation} here")
        size = await self._disks.copy_size(server, image)
        if size is not None:
            return size
        await self._end_backup(server)
        async with self._disks.new_copy(server, image) as partial:
            if await self._connection.call(domains.active, server):
                await self._back_up(server, partial)
            else:
                await self._disks.flatten(root, partial)
        size = await self._disks.copy_size(server, image)
        assert size is not None
        return size

    def read_snapshot(self, server: ServerId, image: ImageId) -> AsyncGenerator[bytes]:
        return self._disks.read_copy(server, image)

    async def drop_snapshot(self, server: ServerId, image: ImageId) -> None:
        await self._end_backup(server)
        await self._disks.drop_copy(server, image)

    async def _back_up(self, server: ServerId, partial: Path) -> None:
        try:
            await self._connection.call(domains.begin_backup, server, partial)
            while (found := await self._connection.call(domains.backup_progress, server))[0] == "runs":
                await self._clock.sleep(BACKUP_LOOK_S)
        except BaseException:
            await asyncio.shield(self._end_backup(server))
            raise
        if found[0] == "failed":
            raise NotNow(f"the root disk of {server} was not copied", details=str(found[1]))

    async def _end_backup(self, server: ServerId) -> None:
        """Have no job of the guest go on: it would write to a file that nobody waits for."""
        while not await self._connection.call(domains.abort_backup, server):
            await self._clock.sleep(BACKUP_LOOK_S)

    async def undefine(self, server: ServerId) -> None:
        await self._connection.call(domains.undefine, server)

    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        running_on = await self._connection.call(domains.running_on, server)
        if running_on is not None and running_on != keep:
            raise Refused(f"{server} runs on its disks of generation {running_on}, so they stay")
        return await self._disks.drop(server, keep, up_to)

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        if await self._connection.call(domains.active, server):
            raise Refused(f"{server} runs, so its disks stay")
        return await self._disks.set_aside(server, up_to)

    async def asides(self) -> list[Aside]:
        return await self._disks.asides()

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        return await self._disks.drop_images(in_use, grace_s)

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        return await self._disks.drop_asides(older_than_s)

    async def attach_volume(self, server: ServerId, disk: VolumeDisk) -> None:
        await self._reach([disk])
        await self._connection.call(domains.attach_volume, server, disk)

    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        return await self._let_go(server, wait_s, lambda xml: domains.volume_of(xml, volume))

    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        await self._connection.call(domains.attach_nic, server, nic)

    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:
        return await self._let_go(server, wait_s, lambda xml: found_interface(xml, mac))

    async def _let_go(self, server: ServerId, wait_s: float, device: Callable[[str], str | None]) -> bool:
        """Ask the guest to let go of the device that `device` describes, until it has none or the time is up."""
        happened = self._happened.setdefault(server, asyncio.Event())
        until = self._clock.monotonic() + wait_s
        ask_at = self._clock.monotonic()
        try:
            while True:
                happened.clear()  # before looking: what happens from here on wakes us
                now = self._clock.monotonic()
                ask = now >= ask_at
                if not await self._connection.call(domains.has_device, server, device, ask):
                    return True
                if now >= until:
                    return False
                if ask:
                    ask_at = now + ASK_AGAIN_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), min(until - now, ask_at - now, LOOK_AGAIN_S))
        finally:
            del self._happened[server]

    async def owner(self, server: ServerId) -> int | None:
        return await self._disks.owner(server)

    async def console(self, server: ServerId, limit: int = 102400) -> bytes:
        return await self._disks.console(server, limit)

    def _xml(self, guest: Guest) -> str:
        return domain_xml(guest, self._disks.paths(guest.server, guest.disks), self._accelerator)

    def _on_event(self, server: ServerId) -> None:
        if server in self._happened:
            self._happened[server].set()
        self._to_report.put_nowait(server)

    def _reopened(self) -> None:
        self._pulses.begin_anew()
        self._report_all()

    def _report_all(self) -> None:
        self._to_report.put_nowait(None)

    async def _report(self) -> None:
        """Tell how guests that something happened to are now; an event itself may be stale."""
        while True:
            server = await self._to_report.get()
            try:
                found = [await self.guest(server)] if server else await self.guests()
            except NotNow:
                continue  # once libvirtd is back, all are reported
            except Refused:
                log.exception("a guest's state cannot be read", server=server)
                continue
            for guest in found:
                if guest is not None:
                    self._changed(GuestChanged(guest.server, guest.incarnation, guest.power, guest.hung))
                    if guest.power is PowerState.PAUSED and guest.server not in self._stalled:
                        self._stalled[guest.server] = asyncio.create_task(self._let_go_on(guest.server))

    async def _let_go_on(self, server: ServerId) -> None:
        """Let a guest that QEMU stopped, for a disk of it was away, try again until it goes on."""
        waits = True
        try:
            while waits:
                try:
                    if waits := await self._connection.call(domains.is_stalled, server):
                        log.warning("guest waits for a disk that is away", server=server)
                        await self._clock.sleep(TRY_AGAIN_S)
                        await self._connection.call(domains.resume_stalled, server)
                except (NotNow, Refused) as error:
                    # Nobody else will: for QEMU, which waits already, there is no further event.
                    log.warning("guest not told to go on yet", server=server, reason=whole(error))
                    await self._clock.sleep(TRY_AGAIN_S)
        finally:
            del self._stalled[server]
