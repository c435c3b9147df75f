"""A guest as libvirt's domain XML."""

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from renova.drivers.hypervisor.domain_xml import (
    NOVA,
    RENOVA,
    Accelerator,
    Description,
    GuestPaths,
    description,
    domain_xml,
    found_devices,
    has_agent_inside,
)
from renova.model.guest import Guest, VolumeDisk
from renova.model.ids import AttachmentId, VolumeId
from renova.model.volume import NbdExport

from .guests import GUEST

PATHS = GuestPaths(Path("/i/disk.3"), Path("/i/disk.config"), Path("/i/console.log"))


def domain(guest: Guest = GUEST, accelerator: Accelerator = "tcg") -> ET.Element:
    return ET.fromstring(domain_xml(guest, PATHS, accelerator))


def text(element: ET.Element, path: str) -> str:
    found = element.find(path)
    assert found is not None, path
    return found.text or ""


def attributes(element: ET.Element, path: str) -> dict[str, str]:
    found = element.find(path)
    assert found is not None, path
    return found.attrib


def test_the_same_guest_gives_the_same_text() -> None:
    assert domain_xml(GUEST, PATHS, "tcg") == domain_xml(GUEST, PATHS, "tcg")


def test_a_leftover_domain_says_what_it_is() -> None:
    ours = domain().find(f"metadata/{{{RENOVA}}}guest")
    assert ours is not None
    assert description(ET.tostring(ours, encoding="unicode")) == Description(GUEST.server, 7, 3)


def test_nova_tools_find_what_they_know() -> None:
    instance = domain().find(f"metadata/{{{NOVA}}}instance")
    assert instance is not None
    names = {"nova": NOVA}
    assert instance.findtext("nova:name", namespaces=names) == "A <name> & more"
    flavor = instance.find("nova:flavor", names)
    assert flavor is not None
    assert flavor.get("name") == "m1.tiny"
    assert flavor.findtext("nova:memory", namespaces=names) == "128"
    ip = instance.find("nova:ports/nova:port/nova:ip", names)
    assert ip is not None
    assert ip.attrib == {"type": "fixed", "address": "10.0.0.5", "ipVersion": "4"}


def test_a_name_that_xml_cannot_hold_is_still_defined() -> None:
    personal = msgspec.structs.replace(GUEST.personal, name="bell\x07 \ud800 é \U0001f600")
    instance = domain(msgspec.structs.replace(GUEST, personal=personal)).find(f"metadata/{{{NOVA}}}instance")
    assert instance is not None
    assert instance.findtext(f"{{{NOVA}}}name") == "bell\ufffd \ufffd é \U0001f600"


def test_a_guest_that_is_watched_has_what_it_is_watched_by_and_no_other_has() -> None:
    watched = domain(msgspec.structs.replace(GUEST, watchdog="pause", guest_agent=True))
    assert attributes(watched, "devices/watchdog") == {"model": "i6300esb", "action": "pause"}
    assert attributes(watched, "devices/channel/target") == {"type": "virtio", "name": "org.qemu.guest_agent.0"}
    assert domain().find("devices/watchdog") is None
    assert domain().find("devices/channel") is None


@pytest.mark.parametrize(("state", "there"), [("connected", True), ("disconnected", False)])
def test_an_agent_is_inside_only_while_it_holds_its_way_open(state: str, there: bool) -> None:
    channel = f"<channel><target name='org.qemu.guest_agent.0' state='{state}'/></channel>"
    assert has_agent_inside(f"<domain><devices>{channel}</devices></domain>") is there


def test_a_guest_that_ends_stays_off() -> None:
    found = domain()
    policy = {name: text(found, name) for name in ("on_poweroff", "on_reboot", "on_crash")}
    assert policy == {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
    assert "autostart" not in domain_xml(GUEST, PATHS, "tcg")


def test_the_root_disk_bypasses_the_hosts_cache() -> None:
    root, config = domain().findall("devices/disk")
    assert attributes(root, "driver") == {"name": "qemu", "type": "qcow2", "cache": "none", "discard": "unmap"}
    assert attributes(root, "source") == {"file": "/i/disk.3"}
    assert text(root, "serial") == "root"
    assert root.find("readonly") is None
    assert attributes(config, "source") == {"file": "/i/disk.config"}
    assert config.find("readonly") is not None


def test_a_guest_stands_still_rather_than_hear_that_a_storage_host_is_away() -> None:
    export = NbdExport("10.0.0.9", 10809, "secret", tls=True, tls_name="storage")
    volume = VolumeDisk(VolumeId("v"), AttachmentId("a"), "vdb", export)
    disk = domain(msgspec.structs.replace(GUEST, volumes=(volume,))).findall("devices/disk")[1]
    policy = {"error_policy": "stop", "rerror_policy": "stop"}
    assert attributes(disk, "driver") == {"name": "qemu", "type": "raw", "cache": "none", "discard": "unmap", **policy}


def test_a_nic_is_tied_to_its_networks_bridge() -> None:
    interface = domain().find("devices/interface")
    assert interface is not None
    assert attributes(interface, "source") == {"bridge": "br4711"}
    assert attributes(interface, "target") == {"dev": "tap0f9a1b2c-3d"}
    assert attributes(interface, "mac") == {"address": "fa:16:3e:01:02:03"}
    assert attributes(interface, "mtu") == {"size": "1450"}
    assert attributes(interface, "rom") == {"enabled": "no"}


def test_the_devices_of_a_guest_are_told_by_volume_and_address() -> None:
    export = NbdExport("10.0.0.9", 10809, "secret", tls=False)
    disk = VolumeDisk(VolumeId("a-volume"), AttachmentId("a"), "vdb", export)
    guest = msgspec.structs.replace(GUEST, volumes=(disk,))
    found = found_devices(domain_xml(guest, PATHS, "tcg"))
    assert "a-volume" in found.serials
    assert "a-volume" not in found_devices(domain_xml(GUEST, PATHS, "tcg")).serials
    assert found.macs == ("fa:16:3e:01:02:03",)


def test_the_console_is_kept_over_starts() -> None:
    assert attributes(domain(), "devices/serial/log") == {"file": "/i/console.log", "append": "on"}


@pytest.mark.parametrize(("accelerator", "kind", "cpu"), [("tcg", "qemu", "custom"), ("kvm", "kvm", "host-model")])
def test_the_accelerator_decides_type_and_cpu(accelerator: Accelerator, kind: str, cpu: str) -> None:
    found = domain(accelerator=accelerator)
    assert found.get("type") == kind
    assert attributes(found, "cpu")["mode"] == cpu
    cache = found.find("features/tcg/tb-cache")
    assert (cache is not None) == (accelerator == "tcg")
    assert found.findtext("vcpu") == "2"
    assert found.findtext("memory") == str(128 * 1024)
    assert attributes(found, "cpu/topology")["sockets"] == "2"


def test_the_guest_reads_its_uuid_as_its_serial_number() -> None:
    entries = {entry.get("name"): entry.text for entry in domain().findall("sysinfo/system/entry")}
    assert entries["serial"] == entries["uuid"] == GUEST.server
    assert attributes(domain(), "os/smbios") == {"mode": "sysinfo"}
