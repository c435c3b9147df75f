"""What is asked of libvirtd. Each call takes libvirt's connection, runs in a thread, and blocks until it is done."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
import structlog

from renova.drivers.hypervisor import WATCHDOG_FIRED, DiskLocked, libvirt_backup
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.domain_xml import (
    RENOVA,
    Description,
    description,
    found_devices,
    found_interface,
    found_volume,
    interface_xml,
    source_name,
    volume_xml,
)
from renova.model.errors import NotNow, Refused
from renova.model.guest import FoundDevices, FoundGuest, Guest, Nic, PowerState, VolumeDisk
from renova.model.ids import ServerId, VolumeId

log = structlog.get_logger()

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
PAUSE = "https://renova.dev/xmlns/pause/1"  # metadata of a guest that is to stand still
GONE = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}


def host(connection: Any) -> tuple[str, int, int, int]:
    _model, memory_mb, cpus, *_ = connection.getInfo()
    return connection.getType(), connection.getVersion(), cpus, memory_mb


def host_cpu(connection: Any) -> dict[str, str]:
    cpu = ET.fromstring(connection.getCapabilities()).find("host/cpu")  # noqa: S314  (libvirtd is trusted)
    if cpu is None:
        return {}
    return {name: text for name in ("arch", "model", "vendor") if (text := cpu.findtext(name))}


def domain_of(connection: Any, server: ServerId) -> Any:
    """Return the domain, or None."""
    try:
        return connection.lookupByUUIDString(server)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def description_of(domain: Any) -> Description | None:
    """Return what our metadata says; None for a domain that is not ours or has just gone."""
    try:
        return description(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, RENOVA, 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA}:
            return None
        raise


def _found(domain: Any) -> FoundGuest | None:
    described = description_of(domain)
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
    stands = [state, reason] == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_WATCHDOG]
    hung = WATCHDOG_FIRED if stands and not _is_to_stand_still_if_there(domain) else ""
    return FoundGuest(described.server, described.incarnation, power, described.generation, described.arriving, hung)


def one_found(connection: Any, server: ServerId) -> FoundGuest | None:
    domain = domain_of(connection, server)
    return _found(domain) if domain else None


def all_found(connection: Any) -> list[FoundGuest]:
    return [found for domain in connection.listAllDomains() if (found := _found(domain))]


def is_stalled(connection: Any, server: ServerId) -> bool:
    """Say whether QEMU stopped the guest because a disk gave an error (`domain_xml`: error policy), and nobody else."""
    domain = domain_of(connection, server)
    if domain is None:
        return False
    state: list[int] = domain.state()
    return state == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR] and not is_to_stand_still(domain)


def resume_stalled(connection: Any, server: ServerId) -> None:
    """Resume it unless somebody paused it meanwhile."""
    if is_stalled(connection, server):
        _unless_gone(lambda: domain_of(connection, server).resume())


def started_as(connection: Any, server: ServerId) -> str:
    domain = domain_of(connection, server)
    described = description_of(domain) if domain and domain.isActive() else None
    return described.started_as if described else ""


def active(connection: Any, server: ServerId) -> bool:
    domain = domain_of(connection, server)
    return bool(domain and domain.isActive())


def running(connection: Any) -> list[tuple[str, FoundGuest]]:
    """Return the guests that have a QEMU, with the names of their domains."""
    active = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return [(domain.name(), found) for domain in active if (found := _found(domain))]


def running_on(connection: Any, server: ServerId) -> int | None:
    """Return the generation of the disks that the server's guest runs on; None when none runs, 0 for one not ours."""
    domain = domain_of(connection, server)
    if not domain or not domain.isActive():
        return None
    described = description_of(domain)
    return described.generation if described else 0


def start(connection: Any, guest: Guest, xml: str, gate: BehindGate | None = None) -> FoundGuest:
    domain = domain_of(connection, guest.server)
    if domain and domain.isActive():
        described = description_of(domain)
        if described is None or described.incarnation > guest.incarnation:
            raise Refused(f"another guest runs as {guest.server}: {described or 'it is not ours'}")
        same = (described.incarnation, described.generation) == (guest.incarnation, guest.disks.generation)
        if same and not described.arriving:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                put_behind(gate, domain, guest)
                _note_wish(domain, stand_still=False)
                domain.resume()
            return FoundGuest(guest.server, guest.incarnation, PowerState.RUNNING, described.generation)
        _destroy(domain)
    domain = connection.defineXML(xml)
    # By force: memory saved of the former guest belongs to the disk as it was then.
    return _create(domain, guest, libvirt.VIR_DOMAIN_START_FORCE_BOOT, gate)


def _create(domain: Any, guest: Guest, flags: int, gate: BehindGate | None) -> FoundGuest:
    if gate is not None:
        gate.must_be_open()
    with _locks_told(guest.server):
        domain.createWithFlags(flags | libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        put_behind(gate, domain, guest)
    except NotNow:
        if gate is not None:
            gate.kill(guest.server)  # it has executed nothing yet
        _destroy(domain)
        raise
    domain.resume()
    return FoundGuest(guest.server, guest.incarnation, PowerState.RUNNING, guest.disks.generation)


def go_on(domain: Any, guest: Guest) -> None:
    """Let a guest go on that has arrived: only now it has its disks open."""
    with _locks_told(guest.server):
        domain.resume()


@contextmanager
def _locks_told(server: ServerId) -> Iterator[None]:
    """Raise `DiskLocked` where QEMU's image lock, or that of a lock manager, is in the way."""
    try:
        yield
    except libvirt.libvirtError as error:
        message = error.get_error_message()
        if 'Failed to get "write" lock' in message or error.get_error_code() == libvirt.VIR_ERR_RESOURCE_BUSY:
            raise DiskLocked(f"the disk of {server} is open elsewhere: the old guest may live") from error
        raise


def put_behind(gate: BehindGate | None, domain: Any, guest: Guest) -> None:
    """Have the paused guest behind the gate, and the gate open: else it may not go on."""
    if gate is not None:
        gate.admit(domain.name(), guest.server, guest.incarnation)
        gate.must_be_open()


def resume(connection: Any, guest: Guest, xml: str, gate: BehindGate | None = None) -> FoundGuest:
    domain = domain_of(connection, guest.server)
    if domain is None or domain.isActive() or _saved(domain) != guest.incarnation:
        return start(connection, guest, xml, gate)
    return _create(domain, guest, 0, gate)


def define(connection: Any, guest: Guest, xml: str) -> None:
    domain = domain_of(connection, guest.server)
    if domain and domain.isActive():
        raise Refused(f"{guest.server} runs, so it is not defined anew")
    domain = connection.defineXML(xml)
    if domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def pause(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain:
        # First: where QEMU had stopped the guest for a disk, libvirt does nothing more, and gives that reason still.
        _unless_gone(lambda: _note_wish(domain, stand_still=True))
        _unless_gone(domain.suspend)


def unpause(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED and not _is_arriving(domain):
        _unless_gone(lambda: _note_wish(domain, stand_still=False))
        _unless_gone(domain.resume)


def _note_wish(domain: Any, *, stand_still: bool) -> None:
    """Note, for as long as the guest lives, whether it is to stand still though its disks be there."""
    mark, key = ("<standing-still/>", "renova-pause") if stand_still else (None, None)
    element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    domain.setMetadata(element, mark, key, PAUSE, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def is_to_stand_still(domain: Any) -> bool:
    try:
        domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, PAUSE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return False
        raise
    return True


def _is_to_stand_still_if_there(domain: Any) -> bool:
    try:
        return is_to_stand_still(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() in GONE:
            return True  # it has just ended
        raise


def _is_arriving(domain: Any) -> bool:
    described = description_of(domain)
    return described is not None and described.arriving


def save(connection: Any, server: ServerId) -> bool:
    domain = domain_of(connection, server)
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


def begin_backup(connection: Any, server: ServerId, partial: Path) -> None:
    domain = domain_of(connection, server)
    if domain is None:
        raise NotNow(f"{server} is not defined any more")
    libvirt_backup.begin(domain, partial)


def backup_progress(connection: Any, server: ServerId) -> tuple[libvirt_backup.Progress, str]:
    domain = domain_of(connection, server)
    return libvirt_backup.progress(domain) if domain else ("failed", "the guest is gone")


def abort_backup(connection: Any, server: ServerId) -> bool:
    domain = domain_of(connection, server)
    return domain is None or libvirt_backup.abort(domain)


def abort_job(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain:
        _unless_gone(domain.abortJob)


LIVE_TOO = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG


def volume_of(xml: str, volume: VolumeId) -> str | None:
    found = found_volume(xml, volume)
    return found[0] if found else None


def attach_volume(connection: Any, server: ServerId, disk: VolumeDisk) -> None:
    domain = domain_of(connection, server)
    if domain is None or not domain.isActive():
        return  # it is defined anew when it starts
    found = found_volume(domain.XMLDesc(0), disk.volume)
    if found is None:
        domain.attachDeviceFlags(volume_xml(disk), LIVE_TOO)
    elif found[1] != source_name(disk):
        raise Refused(f"{server} has volume {disk.volume} by another attachment")


def attach_nic(connection: Any, server: ServerId, nic: Nic) -> None:
    domain = domain_of(connection, server)
    if domain is not None and domain.isActive() and found_interface(domain.XMLDesc(0), nic.mac) is None:
        domain.attachDeviceFlags(interface_xml(nic), LIVE_TOO)


def devices(connection: Any, server: ServerId) -> FoundDevices:
    domain = domain_of(connection, server)
    return FoundDevices() if domain is None or not domain.isActive() else found_devices(domain.XMLDesc(0))


def has_device(connection: Any, server: ServerId, device: Callable[[str], str | None], ask: bool) -> bool:
    """Say whether the running guest has the device; `ask` it to let go first."""
    domain = domain_of(connection, server)
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


def press_power_button(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain:
        _unless_gone(lambda: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))


def kill(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain:
        _destroy(domain)


def _destroy(domain: Any) -> None:
    """Have QEMU dead; libvirt returns only when it is, or fails."""
    _unless_gone(domain.destroy)


def undefine(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
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
