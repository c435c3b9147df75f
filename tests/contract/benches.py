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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from renova.drivers.hypervisor import Hypervisor
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.libvirt import LibvirtHypervisor
from renova.drivers.hypervisor.simulated import SimulatedHypervisor, SimulatedStorage
from renova.lab import guest_image, processes
from renova.lab.home import Home
from renova.lab.hosts import Host
from renova.lab.rack import Rack
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.guest import Guest, GuestChanged, LocalDisks, Personal, RootDisk
from renova.model.ids import ImageId, ProjectId, ServerId, UserId

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


def a_guest(root: RootDisk) -> Guest:
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

    async def cut_power(self) -> None:
        """Cut the first host's power, boot it again and connect `first` anew."""
        ...


class SimulatedBench:
    """Simulated hosts; all guests are up at once."""

    def __init__(self) -> None:
        storage = SimulatedStorage(str(uuid.uuid4()))
        self._first = SimulatedHypervisor(SystemClock(), storage)
        self.first: Hypervisor = self._first
        self.second: Hypervisor = SimulatedHypervisor(SystemClock(), storage)
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

    async def cut_power(self) -> None:
        self._first.cut_power()
        self._first.power_on()
        await self.first.connect(self.changes.append)


class LibvirtBench:
    """Lab hosts, each with its own libvirtd; `linux` gives an image whose guest hears the power button."""

    def __init__(self, first: Host, second: Host, linux: Callable[[], Path]) -> None:
        self._hosts = {"first": first, "second": second}
        self._linux = linux
        self.first: Hypervisor = self._hypervisor(first)
        self.second: Hypervisor = self._hypervisor(second)
        self.changes: list[GuestChanged] = []
        self.images = Images()

    def deaf_guest(self) -> Guest:
        return a_guest(self.images.add(DEAF_IMAGE))

    def obedient_guest(self) -> Guest:
        return a_guest(self.images.add(self._linux().read_bytes(), "qcow2"))

    def crash(self, server: ServerId) -> None:
        os.kill(qemu(server), signal.SIGKILL)

    async def cut_power(self) -> None:
        host = self._hosts["first"]
        await asyncio.to_thread(host.kill)
        await self.first.close()
        await asyncio.to_thread(host.up)
        self.first = self._hypervisor(host)
        await self.first.connect(self.changes.append)

    @staticmethod
    def _hypervisor(host: Host) -> LibvirtHypervisor:
        disks = Disks(host.home.instances, SystemClock(), SystemChance())
        return LibvirtHypervisor(disks, SystemClock(), "tcg", uri=uri(host))


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


def qemu(server: ServerId) -> int:
    """Return the pid of the QEMU that runs a server on any lab host."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-system-x86_64") and server.encode() in words:
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
