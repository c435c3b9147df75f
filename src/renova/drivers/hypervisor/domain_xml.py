"""A guest as libvirt's domain XML, and back. Pure; only `libvirt` and `libvirt_domains` use it.

Every definition carries two descriptions of what it is: Nova's, for tools that know it, and our own, so that a host
can tell what a leftover guest is without asking anybody. No definition ever has an autostart: a host that comes
back starts nothing by itself.
"""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from renova.drivers.network import bridge_name, tap_name
from renova.model.errors import Broken
from renova.model.guest import CONFIG_DRIVE, FoundDevices, Guest, Nic, VolumeDisk, local_devices
from renova.model.ids import ServerId, VolumeId
from renova.model.volume import NbdExport

Accelerator = Literal["kvm", "tcg"]

RENOVA = "https://renova.dev/xmlns/guest/1"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
ARRIVING = "arriving"
AGENT = "org.qemu.guest_agent.0"  # by this name agents inside find their way out

# What users may type into a name and XML 1.0 cannot hold, not even escaped.
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace("nova", NOVA)
ET.register_namespace("renova", RENOVA)


@dataclass(frozen=True)
class GuestPaths:
    """Where a guest's files are on its host."""

    root: Path | None  # None: the guest boots from a volume
    config_drive: Path
    console: Path
    ephemerals: tuple[Path, ...] = ()
    swap: Path | None = None

    @property
    def disks(self) -> tuple[Path, ...]:
        """All that hold the guest's own data."""
        return tuple(path for path in (self.root, *self.ephemerals, self.swap) if path is not None)


@dataclass(frozen=True)
class Description:
    """What our own metadata says about a domain."""

    server: ServerId
    incarnation: int
    generation: int  # of the local disks
    started_as: str = ""
    arriving: bool = False  # with its memory, from another host: it stands still until this one takes it in


def domain_xml(guest: Guest, paths: GuestPaths, accelerator: Accelerator) -> str:
    """Describe the guest to libvirt in full; the same guest gives the same text."""
    domain = ET.Element("domain", type="kvm" if accelerator == "kvm" else "qemu")
    _text(domain, "name", guest.domain)
    _text(domain, "uuid", guest.server)
    domain.append(_metadata(guest))
    _text(domain, "memory", str(guest.memory_mb * 1024), unit="KiB")
    _text(domain, "vcpu", str(guest.vcpus))
    domain.append(_sysinfo(guest))
    domain.append(_os())
    domain.append(_features(accelerator))
    domain.append(_cpu(guest, accelerator))
    domain.append(_clock(accelerator))
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    domain.append(_devices(guest, paths))
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def description(metadata: str) -> Description:
    """Read back our own metadata element, as libvirt gives it out of a domain."""
    element = ET.fromstring(metadata)  # noqa: S314  (written by us, kept by libvirt)
    return Description(
        ServerId(element.attrib["server"]),
        int(element.attrib["incarnation"]),
        int(element.attrib["generation"]),
        element.get("started_as", ""),
        element.get(ARRIVING) is not None,
    )


def describing(guest: Guest) -> dict[str, str]:
    """Return what our own metadata element says of the guest, which is to be this host's."""
    return {
        "server": guest.server,
        "incarnation": str(guest.incarnation),
        "generation": str(guest.disks.generation),
        "started_as": guest.started_as,
    }


def as_arriving(domain: str) -> str:
    """Return the domain's XML as that of a guest that arrives on another host."""
    root = ET.fromstring(domain)  # noqa: S314  (libvirtd is trusted)
    mine = root.find(f"metadata/{{{RENOVA}}}guest")
    if mine is None:
        raise Broken("a guest without our metadata is to leave")
    mine.set(ARRIVING, "yes")
    return ET.tostring(root, encoding="unicode")


def _metadata(guest: Guest) -> ET.Element:
    metadata = ET.Element("metadata")
    ET.SubElement(metadata, f"{{{RENOVA}}}guest", describing(guest))
    nova = ET.SubElement(metadata, f"{{{NOVA}}}instance")
    _nova(nova, "package", version="renova")
    _nova(nova, "name", NOT_IN_XML.sub("\ufffd", guest.personal.name))
    flavor = _nova(nova, "flavor", name=NOT_IN_XML.sub("\ufffd", guest.flavor_name))
    root, disks = guest.disks.root, guest.disks
    amounts = {
        "memory": guest.memory_mb,
        "disk": root.size_gb if root else 0,
        "swap": disks.swap_mb,
        "ephemeral": sum(disks.ephemerals_gb),
        "vcpus": guest.vcpus,
    }
    for name, amount in amounts.items():
        _nova(flavor, name, str(amount))
    owner = _nova(nova, "owner")
    _nova(owner, "user", guest.user, uuid=guest.user)
    _nova(owner, "project", guest.project, uuid=guest.project)
    if root is not None:
        _nova(nova, "root", type="image", uuid=root.image)
    elif (boot := guest.boot_volume) is not None:
        _nova(nova, "root", type="volume", uuid=boot.volume)
    ports = _nova(nova, "ports")
    for nic in guest.nics:
        port = _nova(ports, "port", uuid=nic.port)
        for address in nic.addresses:
            version = "6" if ":" in address.ip else "4"
            _nova(port, "ip", type="fixed", address=address.ip, ipVersion=version)
    return metadata


def _sysinfo(guest: Guest) -> ET.Element:
    sysinfo = ET.Element("sysinfo", type="smbios")
    system = ET.SubElement(sysinfo, "system")
    entries = {
        "manufacturer": "Renova",
        "product": "OpenStack Compute",  # by which cloud-init knows where it is
        "serial": guest.server,
        "uuid": guest.server,
        "family": "Virtual Machine",
    }
    for name, value in entries.items():
        _text(system, "entry", value, name=name)
    return sysinfo


def _os() -> ET.Element:
    os = ET.Element("os")
    _text(os, "type", "hvm", arch="x86_64", machine="pc")
    ET.SubElement(os, "boot", dev="hd")
    ET.SubElement(os, "smbios", mode="sysinfo")
    return os


def _features(accelerator: Accelerator) -> ET.Element:
    features = ET.Element("features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if accelerator == "tcg":
        # QEMU's own choice grows with the machine's memory; many small guests would not fit beside their caches.
        _text(ET.SubElement(features, "tcg"), "tb-cache", "32", unit="MiB")
    return features


def _cpu(guest: Guest, accelerator: Accelerator) -> ET.Element:
    if accelerator == "kvm":
        cpu = ET.Element("cpu", mode="host-model")
    else:
        cpu = ET.Element("cpu", mode="custom", match="exact")
        _text(cpu, "model", "qemu64", fallback="forbid")
    ET.SubElement(cpu, "topology", sockets=str(guest.vcpus), cores="1", threads="1")
    return cpu


def _clock(accelerator: Accelerator) -> ET.Element:
    clock = ET.Element("clock", offset="utc")
    if accelerator == "kvm":
        ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
        ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        ET.SubElement(clock, "timer", name="hpet", present="no")
    return clock


def _devices(guest: Guest, paths: GuestPaths) -> ET.Element:
    devices = ET.Element("devices")
    ET.SubElement(devices, "controller", type="usb", model="none")
    # No host caching: what a guest flushed must be on the storage when another host takes the disk over.
    if paths.root is not None:
        _disk(devices, paths.root, guest.root_device, "root", {"type": "qcow2", "cache": "none", "discard": "unmap"})
    blank = {"type": "raw", "cache": "none", "discard": "unmap"}
    for (device, name), path in zip(
        local_devices(guest.disks), [path for path in (*paths.ephemerals, paths.swap) if path], strict=True
    ):
        _disk(devices, path, device, name, blank)
    for volume in guest.volumes:
        devices.append(_volume(volume))
    # A virtio disk and not a CD: cloud kernels may have no driver for the latter.
    config = _disk(devices, paths.config_drive, CONFIG_DRIVE, "config-2", {"type": "raw"})
    ET.SubElement(config, "readonly")
    for nic in guest.nics:
        devices.append(_interface(nic))
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(paths.console), append="on")
    ET.SubElement(serial, "target", port="0")
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "target", type="serial", port="0")
    if guest.guest_agent:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name=AGENT)
    if guest.watchdog:
        ET.SubElement(devices, "watchdog", model="i6300esb", action=guest.watchdog)
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period="10")
    return devices


def _disk(devices: ET.Element, path: Path, target: str, serial: str, driver: dict[str, str]) -> ET.Element:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", {"name": "qemu", **driver})
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    _text(disk, "serial", serial)
    return disk


def _volume(disk: VolumeDisk) -> ET.Element:
    """Describe a volume; no host caching either, and what the guest no longer needs is given back."""
    way = disk.connection
    element = ET.Element("disk", type="network" if isinstance(way, NbdExport) else "file", device="disk")
    kind = "raw" if isinstance(way, NbdExport) else way.format
    driver = ET.SubElement(element, "driver", name="qemu", type=kind, cache="none", discard="unmap")
    if isinstance(way, NbdExport):
        # A guest whose volume is away for a while is to wait for it, not to see errors that harm its file systems.
        driver.set("error_policy", "stop")
        driver.set("rerror_policy", "stop")
        source = ET.SubElement(element, "source", protocol="nbd", name=way.name)
        if way.tls:
            source.set("tls", "yes")
            if way.tls_name:
                source.set("tlsHostname", way.tls_name)
        ET.SubElement(source, "host", name=way.address, port=str(way.port))
    else:
        ET.SubElement(element, "source", file=way.path)
    ET.SubElement(element, "target", dev=disk.device, bus="virtio")
    _text(element, "serial", disk.volume)
    return element


def volume_xml(disk: VolumeDisk) -> str:
    """Describe the volume to libvirt as a device of its own, to be plugged into a running guest."""
    return ET.tostring(_volume(disk), encoding="unicode")


def interface_xml(nic: Nic) -> str:
    """Describe the nic to libvirt as a device of its own."""
    return ET.tostring(_interface(nic), encoding="unicode")


def found_volume(domain: str, volume: VolumeId) -> tuple[str, str | None] | None:
    """Return, out of a domain's XML, the device that is this volume, and its export's name; None without it."""
    for disk in ET.fromstring(domain).findall("devices/disk"):  # noqa: S314  (libvirtd is trusted)
        if disk.findtext("serial") == volume:
            source = disk.find("source")
            name = None if source is None else source.get("name") or source.get("file")
            return ET.tostring(disk, encoding="unicode"), name
    return None


def found_interface(domain: str, mac: str) -> str | None:
    """Return, out of a domain's XML, the device with this MAC address."""
    for interface in ET.fromstring(domain).findall("devices/interface"):  # noqa: S314  (likewise)
        address = interface.find("mac")
        if address is not None and address.get("address") == mac:
            return ET.tostring(interface, encoding="unicode")
    return None


def found_devices(domain: str) -> FoundDevices:
    """Return, out of a domain's XML, which disks and nics it has."""
    devices = ET.fromstring(domain).find("devices")  # noqa: S314  (likewise)
    if devices is None:
        return FoundDevices()
    serials = tuple(disk.findtext("serial", "") for disk in devices.findall("disk"))
    return FoundDevices(serials, tuple(mac.get("address", "") for mac in devices.findall("interface/mac")))


def has_agent_inside(domain: str) -> bool:
    """Say, out of a running domain's XML, whether somebody inside has opened the agent's way."""
    targets = ET.fromstring(domain).findall("devices/channel/target")  # noqa: S314  (likewise)
    return any(target.get("name") == AGENT and target.get("state") == "connected" for target in targets)


def source_name(disk: VolumeDisk) -> str:
    """Return by what `found_volume` names the way to this volume."""
    return disk.connection.name if isinstance(disk.connection, NbdExport) else disk.connection.path


def _interface(nic: Nic) -> ET.Element:
    interface = ET.Element("interface", type="bridge")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "source", bridge=bridge_name(nic.vni))
    ET.SubElement(interface, "target", dev=tap_name(nic.port))
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "mtu", size=str(nic.mtu))
    ET.SubElement(interface, "rom", enabled="no")  # nothing boots from the network, and a ROM costs boot time
    return interface


def _text(parent: ET.Element, tag: str, text: str, /, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _nova(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{NOVA}}}{tag}", attributes)
    child.text = text
    return child
