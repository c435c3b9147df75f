"""What the contract tests stand on: two hosts that share an instances directory, simulated or real."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import shutil
import signal
import uuid
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from msgspec.structs import replace

from renova.drivers.guard.enclosure import Enclosure
from renova.drivers.guard.place import NAME, enclosure_at
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.libvirt import LibvirtHypervisor
from renova.drivers.hypervisor.passage import Credentials, Passage
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network import bridge_name
from renova.lab import cgroups, guest_image, processes
from renova.lab.home import Home
from renova.lab.hosts import Host
from renova.lab.rack import Rack
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.guest import Guest, GuestChanged, LocalDisks, Nic, Personal, RootDisk, VolumeDisk
from renova.model.ids import HostId, ImageId, ProjectId, ServerId, UserId
from renova.model.volume import Connection, NbdExport

# A boot sector. It counts its boots in the disk's second sector, says "GUEST-READY boots=<n>" on the serial port and
# halts for ever: it hears no power button.
DEAF = (
    bytes.fromhex(
        "31c08ed88ec08ed0bc007cfc"  # segments and stack; strings go upwards
        "b80102e82000"  # read the second sector to 7e00
        "fe06007e"  # one boot more
        "b80103e81600"  # write it back
        "be5c7ce81d00"  # print the text at 7c5c
        "a0007e0430e81f00b00ae81a00"  # print the number as a digit, and a line's end
        "f4ebfd"  # halt
        "52bb007eb90200b600cd135ac3"  # disk: what ax says, one sector, second of the first track
        "ac84c07417e80200ebf6"  # print: until a zero
        "5288c4bafd03eca82074fb88e0baf803ee5ac3"  # put: once the port is ready
    )
    + b"GUEST-READY boots=\0"
)
# A BIOS boots no disk that is smaller than a cylinder or two.
DEAF_IMAGE = (DEAF.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")

_numbers = itertools.count(1)
_ports = itertools.count(20809)


@dataclass
class Images:
    """Gives images out of memory and counts how often; a wrong content can be put under any name."""

    contents: dict[ImageId, bytes] = field(default_factory=dict)
    reads: list[ImageId] = field(default_factory=list)

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        self.reads.append(image)
        content = self.contents[image]
        for start in range(0, len(content), 1 << 18):
            await asyncio.sleep(0)  # so that others come in between, as with a real download
            yield content[start : start + (1 << 18)]

    def add(self, content: bytes, image_format: str = "raw", size_gb: int = 1) -> RootDisk:
        """Have an image, of a new id, and return a root disk of it."""
        image = ImageId(str(uuid.uuid4()))
        self.contents[image] = content
        return RootDisk(image, image_format, len(content), hashlib.sha256(content).hexdigest(), size_gb)


def a_guest(root: RootDisk | None) -> Guest:
    """Return the first incarnation of a new server."""
    number = next(_numbers)
    return Guest(
        server=ServerId(str(uuid.uuid4())),
        incarnation=1,
        domain=f"instance-{number:08x}",
        project=ProjectId("a-project"),
        user=UserId("a-user"),
        flavor_name="m1.tiny",
        vcpus=1,
        memory_mb=96,
        disks=LocalDisks(1, root),
        nics=(),
        personal=Personal(hostname=f"guest-{number}", name=f"Guest {number}"),
    )


class Bench(Protocol):
    """Two hosts with one instances directory, what was told of the first one's guests, and power over it."""

    first: Hypervisor
    second: Hypervisor
    changes: list[GuestChanged]
    images: Images

    def deaf_guest(self) -> Guest:
        """Return a new guest that boots at once and hears no power button."""
        ...

    def obedient_guest(self) -> Guest:
        """Return a new guest that powers off when asked, once it is up."""
        ...

    def crash(self, server: ServerId) -> None:
        """Have the QEMU of a guest of the first host die."""
        ...

    def is_watched(self, guest: Guest) -> Guest:
        """Return a new guest, with a watchdog and a way to an agent that it does not have inside."""
        ...

    async def export(self) -> NbdExport:
        """Serve a blank volume of 64 MiB to the first host, under a new name."""
        ...

    async def cut(self, connection: Connection) -> None:
        """Serve it no more."""
        ...

    async def volumes(self, server: ServerId) -> dict[str, str]:
        """Return the volumes that a running guest of the first host has, and as which device."""
        ...

    async def macs(self, server: ServerId) -> set[str]:
        """Return the nics that a running guest of the first host has."""
        ...

    async def have_bridge(self, nic: Nic) -> None:
        """Have the bridge ready that the nic is to be on."""
        ...

    def hold_on(self, device: str) -> None:
        """Have guests that do not hear keep this device: simulated ones hear everything else."""
        ...

    async def cut_power(self) -> None:
        """Cut the first host's power, boot it again and connect `first` anew."""
        ...


FIRST, SECOND = (HostId(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2))


class SimulatedBench:
    """Simulated hosts; all guests are up at once."""

    def __init__(self) -> None:
        storage = SimulatedStorage(str(uuid.uuid4()))
        self._first = SimulatedHypervisor(SystemClock(), storage)
        self.first: Hypervisor = self._first
        second = SimulatedHypervisor(SystemClock(), storage)
        self.second: Hypervisor = second
        self._first.neighbour = second.neighbour = {"first": self._first, "second": second}.get
        self._first.address, second.address = "first", "second"
        self.changes: list[GuestChanged] = []
        self.images = Images()

    def deaf_guest(self) -> Guest:
        guest = a_guest(self.images.add(DEAF_IMAGE))
        self._first.ignoring_acpi.add(guest.server)
        return guest

    def obedient_guest(self) -> Guest:
        return a_guest(self.images.add(b"obedient"))

    def crash(self, server: ServerId) -> None:
        self._first.crash(server)

    def is_watched(self, guest: Guest) -> Guest:
        self._first.agentless.add(guest.server)
        return _watched(guest)

    async def export(self) -> NbdExport:
        return NbdExport("10.0.0.1", 10809, f"export-{uuid.uuid4()}", tls=False)

    async def cut(self, connection: Connection) -> None:
        self._first.dead_exports.add(connection)

    async def volumes(self, server: ServerId) -> dict[str, str]:
        return {disk.volume: disk.device for disk in self._first.volumes(server)}

    async def macs(self, server: ServerId) -> set[str]:
        return {nic.mac for nic in self._first.nics(server)}

    async def have_bridge(self, nic: Nic) -> None:
        """There are none."""

    def hold_on(self, device: str) -> None:
        self._first.holding_on.add(device)

    async def cut_power(self) -> None:
        self._first.cut_power()
        self._first.power_on()
        await self.first.connect(self.changes.append)


def _watched(guest: Guest) -> Guest:
    return replace(guest, watchdog="none", guest_agent=True)


async def _from_the_host(_volumes: Iterable[VolumeDisk]) -> None:
    """The volumes are on the host's own network, where only its QEMU is."""


class LibvirtBench:
    """Lab hosts, each with its own libvirtd; `linux` gives an image whose guest hears the power button."""

    def __init__(
        self, first: Host, second: Host, linux: Callable[[], Path], certificates: Callable[[HostId], Credentials]
    ) -> None:
        self._certificates = certificates
        self._hosts = {"first": first, "second": second}
        self._linux = linux
        self._daemons: dict[str, asyncio.subprocess.Process] = {}
        self._bridges: list[str] = []
        self.first: Hypervisor = self._hypervisor(first)
        self.second: Hypervisor = self._hypervisor(second)
        self.changes: list[GuestChanged] = []
        self.images = Images()

    def deaf_guest(self) -> Guest:
        return a_guest(self.images.add(DEAF_IMAGE))

    def obedient_guest(self) -> Guest:
        return a_guest(self.images.add(self._linux().read_bytes(), "qcow2"))

    def is_watched(self, guest: Guest) -> Guest:
        return _watched(guest)

    def crash(self, server: ServerId) -> None:
        os.kill(qemu(server), signal.SIGKILL)

    async def export(self) -> NbdExport:
        name = f"export-{uuid.uuid4()}"
        file = self._hosts["first"].home.instances / name
        with file.open("wb") as blank:
            blank.truncate(64 << 20)
        port = next(_ports)
        daemon = await asyncio.create_subprocess_exec(
            *("nsenter", "-t", str(host_pid(self._hosts["first"])), "-n", "--", "qemu-storage-daemon"),
            *("--blockdev", f"driver=file,node-name=data,filename={file}"),
            *("--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port},max-connections=0"),
            *("--export", f"type=nbd,id=data,node-name=data,name={name},writable=on"),
        )
        self._daemons[name] = daemon
        inside = ("nsenter", "-t", str(host_pid(self._hosts["first"])), "-n", "--", "qemu-img", "info")
        for _ in range(100):
            look = await asyncio.create_subprocess_exec(*inside, f"nbd://127.0.0.1:{port}/{name}", stdout=-3, stderr=-3)
            if await look.wait() == 0:
                break
        return NbdExport("127.0.0.1", port, name, tls=False)

    async def cut(self, connection: Connection) -> None:
        assert isinstance(connection, NbdExport)
        await self._end(self._daemons.pop(connection.name))

    async def volumes(self, server: ServerId) -> dict[str, str]:
        disks = (await self._running(server)).findall("devices/disk")
        found = {disk.findtext("serial", ""): disk.find("target") for disk in disks}
        local = ("root", "config-2")
        return {name: at.get("dev", "") for name, at in found.items() if name not in local and at is not None}

    async def macs(self, server: ServerId) -> set[str]:
        return {mac.get("address", "") for mac in (await self._running(server)).findall("devices/interface/mac")}

    async def _running(self, server: ServerId) -> ET.Element:
        virsh = ("virsh", "-c", uri(self._hosts["first"]), "dumpxml", server)
        asked = await asyncio.create_subprocess_exec(*virsh, stdout=asyncio.subprocess.PIPE)
        out, _ = await asked.communicate()
        return ET.fromstring(out)

    async def have_bridge(self, nic: Nic) -> None:
        bridge = bridge_name(nic.vni)
        if bridge not in self._bridges:
            self._bridges.append(bridge)
            await self._link("add", bridge, "type", "bridge")
        await self._link("set", bridge, "up")

    async def _link(self, *words: str) -> None:
        inside = ("nsenter", "-t", str(host_pid(self._hosts["first"])), "-n", "--", "ip", "link")
        assert await (await asyncio.create_subprocess_exec(*inside, *words)).wait() == 0

    def hold_on(self, device: str) -> None:
        """A guest without an operating system hears nothing anyway."""

    async def close(self) -> None:
        """End what serves volumes, and leave no bridges to the tests that have the same hosts."""
        for daemon in self._daemons.values():
            await self._end(daemon)
        for bridge in self._bridges:
            await self._link("delete", bridge)

    @staticmethod
    async def _end(daemon: asyncio.subprocess.Process) -> None:
        daemon.kill()
        await daemon.wait()

    async def cut_power(self) -> None:
        host = self._hosts["first"]
        await asyncio.to_thread(host.kill)
        await self.first.close()
        await asyncio.to_thread(host.up)
        self.first = self._hypervisor(host)
        await self.first.connect(self.changes.append)

    def _hypervisor(self, host: Host) -> LibvirtHypervisor:
        clock, gate = SystemClock(), gate_of(host)
        socket, credentials = (
            host.directories.run / "libvirt-sock",
            self._certificates((FIRST, SECOND)[host.number - 1]),
        )
        passage = Passage("127.0.0.1", 0, credentials, libvirtd=socket, sockets=host.home.path)
        if gate is None:
            disks = Disks(host.home.instances, clock, SystemChance())
            return LibvirtHypervisor(disks, clock, "tcg", uri=uri(host), reach=_from_the_host, passage=passage)
        disks = Disks(host.home.instances, clock, SystemChance(), gate.argv_inside)
        # The one that arrives beside the one that leaves: each host puts its own behind its gate.
        behind = BehindGate(gate, lambda _domain, server: qemu(server, host))
        return LibvirtHypervisor(disks, clock, "tcg", uri=uri(host), reach=_from_the_host, gate=behind, passage=passage)


@contextmanager
def two_hosts(directory: Path) -> Iterator[tuple[Host, Host]]:
    """Have two lab hosts up, with everything of theirs below `directory`; skips the test where that cannot be."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.skip("lab hosts need root and libvirt")
    home = Home(directory)
    home.make()
    rack, hosts = Rack(home), (Host(home, "a", 1), Host(home, "b", 2))
    rack.up()
    try:
        for host in hosts:
            host.up()
        yield hosts
    finally:
        for host in hosts:
            host.kill()
        rack.down()


def linux(config: pytest.Config) -> Path:
    """Have the lab's guest image; its packages are kept between runs of the tests."""
    return guest_image.build(config.rootpath / ".renova" / "guest-image", "contract")


def host_pid(host: Host) -> int:
    """Return the pid of a lab host's first process, by which its namespaces are entered."""
    process = processes.running(host.home.pid_file(f"host-{host.name}"))
    assert process is not None
    return process.pid


def uri(host: Host) -> str:
    """Say where a lab host's libvirtd is reached from outside the host."""
    return f"qemu:///system?socket={host.directories.run}/libvirt-sock"


def gate_of(host: Host) -> Enclosure | None:
    """Return what is behind a lab host's gate, seen from outside the host; None where the machine shows no cgroups."""
    root = cgroups.root()
    return None if root is None else enclosure_at(root / host.cgroup / NAME)


def qemu(server: ServerId, host: Host | None = None) -> int:
    """Return the pid of the QEMU that runs a server on this lab host, or on any."""
    space = None if host is None else str(Path(f"/proc/{host_pid(host)}/ns/net").readlink())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = space is None or str((process / "ns/net").readlink()) == space
            if here and words[0].endswith(b"qemu-system-x86_64") and server.encode() in words:
                return int(process.name)
    raise LookupError(f"no QEMU runs {server}")


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 60.0) -> None:
    """Wait for a state; fail when it does not come."""
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110  (a hypervisor's state has no event)
            await asyncio.sleep(0.05)


async def until_booted(hypervisor: Hypervisor, guest: Guest, *boots: int) -> None:
    """Wait until the guest's console tells of just these boots, each with the number that its root disk knew."""

    async def shown() -> bool:
        return await told_boots(hypervisor, guest) == list(boots)

    await until(shown)


async def told_boots(hypervisor: Hypervisor, guest: Guest) -> list[int]:
    return [int(number) for number in re.findall(rb"boots=(\d+)\s", await hypervisor.console(guest.server))]
