"""Guests run by libvirt and QEMU on this host. Runs in the agent, or wherever a libvirtd can be reached by a URI.

What a guest is stands in its domain's XML (`domain_xml`), what it has on disk below the instances directory
(`disks`). libvirtd keeps definitions and QEMU processes over a restart of the agent and of itself; so nothing is
kept here but who waits for whom.
"""

import asyncio
import contextlib
import os
import xml.etree.ElementTree as ET
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path
from typing import Any

import libvirt
import structlog

from renova.drivers.hypervisor import DiskLocked, ImageSource, libvirt_backup, qemu_img
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.domain_xml import (
    RENOVA,
    Accelerator,
    Description,
    description,
    domain_xml,
    found_interface,
    found_volume,
    interface_xml,
    source_name,
    volume_xml,
)
from renova.drivers.hypervisor.libvirt_connection import Connection
from renova.drivers.hypervisor.volume_reach import Reach, storage_answers
from renova.model.clock import Clock
from renova.model.errors import BadSetup, NotNow, Refused
from renova.model.guest import (
    Aside,
    CachedImage,
    Capabilities,
    FoundGuest,
    Guest,
    GuestChanged,
    HostFacts,
    LocalDisks,
    Nic,
    PowerState,
    VolumeDisk,
)
from renova.model.ids import ImageId, PortId, ServerId, VolumeId

log = structlog.get_logger()

ASK_AGAIN_S = 5.0  # a guest that is still booting does not hear that a device is to go, either
PRESS_AGAIN_S = 10.0  # a guest that is still booting does not hear the power button
BACKUP_LOOK_S = 0.2
TRY_AGAIN_S = 2.0  # after a guest's disk was away
LOOK_AGAIN_S = 2.0  # should an event get lost on a connection that breaks

POWER = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,  # shutting down: QEMU is alive and has the disk
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
GONE = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}


class LibvirtHypervisor:
    """The guests of the libvirtd at `uri`.

    `boots_at_once` bounds how many guests are started at the same time; without it, one for each CPU when they
    are emulated, else four.
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
    ) -> None:
        self._disks = disks
        self._clock = clock
        self._accelerator = accelerator
        self._reach = reach
        self._connection = Connection(uri, clock)
        self._slow = Connection(uri, clock)  # for what takes as long as a guest has memory: one call at a time, each
        cpus = os.cpu_count() or 1
        self._boots = asyncio.Semaphore(boots_at_once or (cpus if accelerator == "tcg" else 4 * cpus))
        self._changed: Callable[[GuestChanged], None] = lambda _: None
        self._happened: dict[ServerId, asyncio.Event] = {}
        self._to_report: asyncio.Queue[ServerId | None] = asyncio.Queue()  # None: all guests
        self._reporter: asyncio.Task[None] | None = None
        self._stalled: dict[ServerId, asyncio.Task[None]] = {}  # guests whose disk was away, until they are tried again

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        await self._disks.check()
        await self._connection.open(self._on_event, lambda: self._to_report.put_nowait(None))
        await self._slow.open(lambda _server: None, lambda: None)
        architecture = (await self._connection.call(_host_cpu)).get("arch")
        if architecture != "x86_64":
            raise BadSetup(f"this host is {architecture}; guests are defined for x86_64 only")
        self._changed = changed
        self._reporter = asyncio.create_task(self._report())
        self._to_report.put_nowait(None)  # guests may wait for a disk since before this agent was here

    async def close(self) -> None:
        ending = [*self._stalled.values(), *([self._reporter] if self._reporter else [])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await self._connection.close()
        await self._slow.close()

    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def facts(self) -> HostFacts:
        kind, version, cpus, memory_mb = await self._connection.call(_host)
        cpu = await self._connection.call(_host_cpu)
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
        return await self._connection.call(_all_found)

    async def guest(self, server: ServerId) -> FoundGuest | None:
        return await self._connection.call(_one_found, server)

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        return await self._disks.prepare(guest, images)

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        return await self._disks.has(server, disks)

    async def start(self, guest: Guest) -> FoundGuest:
        await self._own_disks(guest)
        await self._reach(guest.volumes)
        async with self._boots:
            return await self._connection.call(_start, guest, self._xml(guest))

    async def resume(self, guest: Guest) -> FoundGuest:
        await self._own_disks(guest)
        await self._reach(guest.volumes)
        async with self._boots:
            return await self._slow.call(_resume, guest, self._xml(guest))

    async def started_as(self, server: ServerId) -> str:
        return await self._connection.call(_started_as, server)

    async def _own_disks(self, guest: Guest) -> None:
        await self._disks.own(guest.server, guest.incarnation)
        if not await self._disks.has(guest.server, guest.disks):
            raise Refused(f"disks of generation {guest.disks.generation} of {guest.server} are not here")

    async def define(self, guest: Guest) -> None:
        await self._connection.call(_define, guest, self._xml(guest))

    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        happened = self._happened.setdefault(server, asyncio.Event())
        until = self._clock.monotonic() + wait_s
        press_at = self._clock.monotonic()
        try:
            while True:
                happened.clear()  # before looking: what happens from here on wakes us
                if not await self._connection.call(_active, server):
                    return True
                now = self._clock.monotonic()
                if now >= until:
                    return False
                if now >= press_at:
                    await self._connection.call(_press_power_button, server)
                    press_at = now + PRESS_AGAIN_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), min(until - now, press_at - now, LOOK_AGAIN_S))
        finally:
            del self._happened[server]

    async def kill(self, server: ServerId) -> None:
        await self._connection.call(_kill, server)

    async def pause(self, server: ServerId) -> None:
        await self._connection.call(_pause, server)
        if (waiting := self._stalled.get(server)) is not None:
            waiting.cancel()  # it is to stand still now, whether its disk is back or not

    async def unpause(self, server: ServerId) -> None:
        await self._connection.call(_unpause, server)

    async def suspend(self, server: ServerId) -> bool:
        saving = asyncio.ensure_future(self._slow.call(_save, server))
        try:
            return await asyncio.shield(saving)
        except asyncio.CancelledError:
            # The call itself cannot be cancelled, but the job it waits for can: then the guest runs on.
            with contextlib.suppress(NotNow, Refused):
                await self._connection.call(_abort_job, server)
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
            if await self._connection.call(_active, server):
                await self._back_up(server, partial)
            else:
                await qemu_img.flatten(root, partial)
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
            await self._connection.call(_begin_backup, server, partial)
            while (found := await self._connection.call(_backup_progress, server))[0] == "runs":
                await self._clock.sleep(BACKUP_LOOK_S)
        except BaseException:
            await asyncio.shield(self._end_backup(server))
            raise
        if found[0] == "failed":
            raise NotNow(f"the root disk of {server} was not copied: {found[1]}")

    async def _end_backup(self, server: ServerId) -> None:
        """Have no job of the guest go on: it would write to a file that nobody waits for."""
        while not await self._connection.call(_abort_backup, server):
            await self._clock.sleep(BACKUP_LOOK_S)

    async def undefine(self, server: ServerId) -> None:
        await self._connection.call(_undefine, server)

    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        if keep is None and await self._connection.call(_active, server):
            raise Refused(f"{server} runs, so its disks stay")
        return await self._disks.drop(server, keep, up_to)

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        if await self._connection.call(_active, server):
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
        await self._connection.call(_attach_volume, server, disk)

    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        return await self._let_go(server, wait_s, lambda xml: _volume_of(xml, volume))

    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        await self._connection.call(_attach_nic, server, nic)

    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:  # noqa: ARG002
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
                if not await self._connection.call(_has_device, server, device, ask):
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
                    self._changed(GuestChanged(guest.server, guest.incarnation, guest.power))
                    if guest.power is PowerState.PAUSED and guest.server not in self._stalled:
                        self._stalled[guest.server] = asyncio.create_task(self._let_go_on(guest.server))

    async def _let_go_on(self, server: ServerId) -> None:
        """Let a guest that QEMU stopped, for a disk of it was away, try again until it goes on."""
        waits = True
        try:
            while waits:
                try:
                    if waits := await self._connection.call(_is_stalled, server):
                        log.warning("guest waits for a disk that is away", server=server)
                        await self._clock.sleep(TRY_AGAIN_S)
                        await self._connection.call(_resume_stalled, server)
                except (NotNow, Refused) as error:
                    # Nobody else will: for QEMU, which waits already, there is no further event.
                    log.warning("guest not told to go on yet", server=server, reason=str(error))
                    await self._clock.sleep(TRY_AGAIN_S)
        finally:
            del self._stalled[server]


# What runs in threads: each takes libvirt's connection and speaks to libvirtd until it is done.


def _host(connection: Any) -> tuple[str, int, int, int]:
    _model, memory_mb, cpus, *_ = connection.getInfo()
    return connection.getType(), connection.getVersion(), cpus, memory_mb


def _host_cpu(connection: Any) -> dict[str, str]:
    cpu = ET.fromstring(connection.getCapabilities()).find("host/cpu")  # noqa: S314  (libvirtd is trusted)
    if cpu is None:
        return {}
    return {name: text for name in ("arch", "model", "vendor") if (text := cpu.findtext(name))}


def _domain(connection: Any, server: ServerId) -> Any:
    """Return the domain, or None."""
    try:
        return connection.lookupByUUIDString(server)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _described(domain: Any) -> Description | None:
    """Return what our metadata says; None for a domain that is not ours or has just gone."""
    try:
        return description(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, RENOVA, 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA}:
            return None
        raise


def _found(domain: Any) -> FoundGuest | None:
    described = _described(domain)
    if described is None:
        return None
    try:
        state, reason = domain.state()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    power = POWER.get(state, PowerState.NOSTATE)
    if state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        power = PowerState.CRASHED  # a QEMU that died is "shut off" to libvirt
    return FoundGuest(described.server, described.incarnation, power)


def _one_found(connection: Any, server: ServerId) -> FoundGuest | None:
    domain = _domain(connection, server)
    return _found(domain) if domain else None


def _all_found(connection: Any) -> list[FoundGuest]:
    return [found for domain in connection.listAllDomains() if (found := _found(domain))]


def _is_stalled(connection: Any, server: ServerId) -> bool:
    """Say whether QEMU stopped the guest because a disk gave an error (`domain_xml`: error policy)."""
    domain = _domain(connection, server)
    if domain is None:
        return False
    state: list[int] = domain.state()
    return state == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]


def _resume_stalled(connection: Any, server: ServerId) -> None:
    """Resume it unless somebody else paused it meanwhile."""
    if _is_stalled(connection, server):
        _unless_gone(lambda: _domain(connection, server).resume())


def _started_as(connection: Any, server: ServerId) -> str:
    domain = _domain(connection, server)
    described = _described(domain) if domain and domain.isActive() else None
    return described.started_as if described else ""


def _active(connection: Any, server: ServerId) -> bool:
    domain = _domain(connection, server)
    return bool(domain and domain.isActive())


def _start(connection: Any, guest: Guest, xml: str) -> FoundGuest:
    domain = _domain(connection, guest.server)
    if domain and domain.isActive():
        described = _described(domain)
        if described is None or described.incarnation > guest.incarnation:
            raise Refused(f"another guest runs as {guest.server}: {described or 'it is not ours'}")
        if described.incarnation == guest.incarnation:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            return FoundGuest(guest.server, guest.incarnation, PowerState.RUNNING)
        _destroy(domain)
    domain = connection.defineXML(xml)
    # By force: memory saved of the former guest belongs to the disk as it was then.
    return _create(domain, guest, libvirt.VIR_DOMAIN_START_FORCE_BOOT)


def _create(domain: Any, guest: Guest, flags: int) -> FoundGuest:
    try:
        domain.createWithFlags(flags)
    except libvirt.libvirtError as error:
        message = error.get_error_message()
        # QEMU's image lock, or that of a lock manager.
        if 'Failed to get "write" lock' in message or error.get_error_code() == libvirt.VIR_ERR_RESOURCE_BUSY:
            raise DiskLocked(f"the disk of {guest.server} is open elsewhere: the old guest may live") from error
        raise
    return FoundGuest(guest.server, guest.incarnation, PowerState.RUNNING)


def _resume(connection: Any, guest: Guest, xml: str) -> FoundGuest:
    domain = _domain(connection, guest.server)
    if domain is None or domain.isActive() or _saved(domain) != guest.incarnation:
        return _start(connection, guest, xml)
    return _create(domain, guest, 0)


def _define(connection: Any, guest: Guest, xml: str) -> None:
    domain = _domain(connection, guest.server)
    if domain and domain.isActive():
        raise Refused(f"{guest.server} runs, so it is not defined anew")
    domain = connection.defineXML(xml)
    if domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def _pause(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain:
        _unless_gone(domain.suspend)


def _unpause(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        _unless_gone(domain.resume)


def _save(connection: Any, server: ServerId) -> bool:
    domain = _domain(connection, server)
    if domain is None:
        return False
    if domain.isActive():
        domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
    return _saved(domain) is not None


def _saved(domain: Any) -> int | None:
    """Return which incarnation's memory is saved, whole, for the domain; None without any."""
    if not domain.hasManagedSaveImage():
        return None
    try:
        xml = domain.managedSaveGetXMLDesc()
    except libvirt.libvirtError as error:
        # A power cut in the middle of saving: libvirt has marked the file as incomplete, and nobody may use it.
        log.warning("saved memory is not usable", domain=domain.name(), reason=error.get_error_message())
        return None
    found = ET.fromstring(xml).find(f"metadata/{{{RENOVA}}}guest")  # noqa: S314  (written by us, kept by libvirt)
    return None if found is None else description(ET.tostring(found, encoding="unicode")).incarnation


def _begin_backup(connection: Any, server: ServerId, partial: Path) -> None:
    domain = _domain(connection, server)
    if domain is None:
        raise NotNow(f"{server} is not defined any more")
    libvirt_backup.begin(domain, partial)


def _backup_progress(connection: Any, server: ServerId) -> tuple[libvirt_backup.Progress, str]:
    domain = _domain(connection, server)
    return libvirt_backup.progress(domain) if domain else ("failed", "the guest is gone")


def _abort_backup(connection: Any, server: ServerId) -> bool:
    domain = _domain(connection, server)
    return domain is None or libvirt_backup.abort(domain)


def _abort_job(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain:
        _unless_gone(domain.abortJob)


LIVE_TOO = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG


def _volume_of(xml: str, volume: VolumeId) -> str | None:
    found = found_volume(xml, volume)
    return found[0] if found else None


def _attach_volume(connection: Any, server: ServerId, disk: VolumeDisk) -> None:
    domain = _domain(connection, server)
    if domain is None or not domain.isActive():
        return  # it is defined anew when it starts
    found = found_volume(domain.XMLDesc(0), disk.volume)
    if found is None:
        domain.attachDeviceFlags(volume_xml(disk), LIVE_TOO)
    elif found[1] != source_name(disk):
        raise Refused(f"{server} has volume {disk.volume} by another attachment")


def _attach_nic(connection: Any, server: ServerId, nic: Nic) -> None:
    domain = _domain(connection, server)
    if domain is not None and domain.isActive() and found_interface(domain.XMLDesc(0), nic.mac) is None:
        domain.attachDeviceFlags(interface_xml(nic), LIVE_TOO)


def _has_device(connection: Any, server: ServerId, device: Callable[[str], str | None], ask: bool) -> bool:
    """Say whether the running guest has the device; `ask` it to let go first."""
    domain = _domain(connection, server)
    if domain is None or not domain.isActive():
        return False
    # Guest and definition apart: in one call, libvirt would not ask the guest again once the definition is without it.
    xml = device(domain.XMLDesc(0))
    if xml is not None and ask:
        _ask_to_let_go(domain, xml)
        xml = device(domain.XMLDesc(0))
    if xml is not None:
        return True
    if (defined := device(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))) is not None:
        _unless_gone(lambda: domain.detachDeviceFlags(defined, libvirt.VIR_DOMAIN_AFFECT_CONFIG))
    return False


def _ask_to_let_go(domain: Any, xml: str) -> None:
    try:
        domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        # The guest was asked before and still thinks about it; or it has just let go, or ended.
        thinks = "in the process of unplug" in error.get_error_message()
        over = {*GONE, libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_OPERATION_FAILED}
        if not thinks and error.get_error_code() not in over:
            raise


def _press_power_button(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain:
        _unless_gone(lambda: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))


def _kill(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain:
        _destroy(domain)


def _destroy(domain: Any) -> None:
    """Have QEMU dead; libvirt returns only when it is, or fails."""
    _unless_gone(domain.destroy)


def _undefine(connection: Any, server: ServerId) -> None:
    domain = _domain(connection, server)
    if domain is None:
        return
    if domain.isActive():
        raise Refused(f"{server} runs, so its definition stays")
    with_all = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    _unless_gone(lambda: domain.undefineFlags(with_all | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA))


def _unless_gone(act: Callable[[], Any]) -> None:
    try:
        act()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in GONE:
            raise
