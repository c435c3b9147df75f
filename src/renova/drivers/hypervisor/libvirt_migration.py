"""How libvirtd is asked about guests that leave with their memory, and about those that arrive, in a thread.

A guest has left where libvirt says that it is off *because* it was migrated: so it says only once the other libvirtd
has told it that all has arrived, and QEMU here is dead. Whatever else is found, the guest has not left.
"""

import contextlib
import xml.etree.ElementTree as ET
from enum import Enum, auto
from typing import Any

import libvirt

from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.domain_xml import RENOVA, as_arriving, describing
from renova.drivers.hypervisor.libvirt_domains import (
    GONE,
    description_of,
    domain_of,
    go_on,
    is_to_stand_still,
    put_behind,
    start,
)
from renova.model.errors import NotNow, Refused
from renova.model.guest import FoundGuest, Guest, PowerState
from renova.model.ids import ServerId

# Disks are shared, without host caching (`domain_xml`), which libvirt cannot know of a directory that looks local.
LEAVE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_TUNNELLED
    | libvirt.VIR_MIGRATE_PAUSED
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    | libvirt.VIR_MIGRATE_UNSAFE
)
# Not for leaving: by its disk, which QEMU tries again, and by its watchdog, of which the host has told the cloud.
OTHERS_STOPPED = (libvirt.VIR_DOMAIN_PAUSED_IOERROR, libvirt.VIR_DOMAIN_PAUSED_WATCHDOG)
NO_COPYING = (libvirt.VIR_DOMAIN_JOB_NONE, libvirt.VIR_DOMAIN_JOB_COMPLETED)


class Whereabouts(Enum):
    """Where a guest is that is to leave, or to stay."""

    HERE = auto()
    LEFT = auto()
    OFF = auto()


def whereabouts(connection: Any, server: ServerId) -> Whereabouts:
    domain = domain_of(connection, server)
    if domain is None:
        return Whereabouts.OFF
    if domain.isActive():
        return Whereabouts.HERE
    off_as_migrated = [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED]
    return Whereabouts.LEFT if domain.state() == off_as_migrated else Whereabouts.OFF


def leave(connection: Any, server: ServerId, there: str) -> None:
    """Have the guest at the libvirtd `there`, standing still; returns when it has left, raises when it has not."""
    domain = domain_of(connection, server)
    if domain is None:
        raise NotNow(f"{server} is not defined any more")
    xml = as_arriving(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE))
    domain.migrateToURI3(there, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml}, LEAVE)


def progress(connection: Any, server: ServerId) -> tuple[int, int, int]:
    """Return how many bytes of memory there are to copy, are copied, and remain; zeros while that is unknown."""
    domain = domain_of(connection, server)
    found: dict[str, Any] = {}
    if domain is not None:
        with contextlib.suppress(libvirt.libvirtError):  # it has just left, or ended
            found = domain.jobStats()
    names = (
        libvirt.VIR_DOMAIN_JOB_MEMORY_TOTAL,
        libvirt.VIR_DOMAIN_JOB_MEMORY_PROCESSED,
        libvirt.VIR_DOMAIN_JOB_MEMORY_REMAINING,
    )
    total, processed, remaining = (int(found.get(name, 0)) for name in names)
    return total, processed, remaining


def stand_still(connection: Any, server: ServerId) -> None:
    domain = domain_of(connection, server)
    if domain is not None:
        with contextlib.suppress(libvirt.libvirtError):  # it has just left, or ended: the next look tells
            domain.suspend()


def stop_copying(connection: Any, server: ServerId) -> bool:
    """Have nothing of the guest's memory copied any more; False while that is still ending."""
    domain = domain_of(connection, server)
    try:
        if domain is None or not domain.isActive() or domain.jobInfo()[0] in NO_COPYING:
            return True
        with contextlib.suppress(libvirt.libvirtError):  # it is ending already
            domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() in GONE:
            return True
        raise
    return False


def stay(connection: Any, server: ServerId) -> Whereabouts:
    """Have a guest go on that was made to stand still for leaving, or by a last exchange that was never heard of."""
    domain = domain_of(connection, server)
    if domain is not None and domain.isActive():
        state, reason = domain.state()
        if state == libvirt.VIR_DOMAIN_PAUSED and reason not in OTHERS_STOPPED and not is_to_stand_still(domain):
            domain.resume()
    return whereabouts(connection, server)


def turn_away(connection: Any, server: ServerId) -> None:
    """Have nothing here of what arrived, or arrives."""
    domain = domain_of(connection, server)
    found = description_of(domain) if domain is not None and domain.isActive() else None
    if domain is not None and found is not None and found.arriving:
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()
        if domain_of(connection, server) is not None and domain.isActive():
            raise NotNow(f"what arrives of {server} does not end yet")


def expect(connection: Any, server: ServerId) -> None:
    """Have nothing here of the server that would be in the way of what arrives."""
    turn_away(connection, server)
    domain = domain_of(connection, server)
    if domain is None:
        return
    if domain.isActive():
        raise Refused(f"a guest of {server} runs here already")
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    )


def take_in(connection: Any, guest: Guest, xml: str, gate: BehindGate | None = None, *, arrived: int) -> FoundGuest:
    """Have the guest go on that has arrived; without it, have it started."""
    domain = domain_of(connection, guest.server)
    found = description_of(domain) if domain is not None and domain.isActive() else None
    if domain is None or found is None or not found.arriving or found.incarnation != arrived:
        return start(connection, guest, xml, gate)
    put_behind(gate, domain, guest)
    # Defined first: from the moment that it is this host's own, it is also kept as such.
    connection.defineXML(xml)
    element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    mine = ET.tostring(ET.Element("guest", describing(guest)), encoding="unicode")  # libvirt adds the namespace
    domain.setMetadata(element, mine, "renova", RENOVA, live)
    go_on(domain, guest)
    return FoundGuest(guest.server, guest.incarnation, PowerState.RUNNING, guest.disks.generation)
