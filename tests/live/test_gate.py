"""A real guest behind the gate of a lab host stands still, goes on unharmed or is killed, and no other host's is."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from renova.drivers.guard.enclosure import guest_group
from renova.drivers.guard.host_gate import HostGate
from renova.drivers.guard.process import stands_still
from renova.drivers.hypervisor.behind_gate import BehindGate, GateClosed
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.libvirt import LibvirtHypervisor
from renova.lab import cgroups
from renova.lab.hosts import Host
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.guest import Guest, Personal, PowerState
from tests.contract.benches import (
    DEAF_IMAGE,
    Images,
    a_guest,
    gate_of,
    linux,
    qemu,
    two_hosts,
    until,
    until_booted,
    uri,
)

pytestmark = pytest.mark.live

CLOCK = SystemClock()
WATCHED_S = 1.0
TICKS = """#!/bin/sh
i=0
while :; do i=$((i + 1)); echo "tick=$i" >/dev/console; usleep 50000; done &
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    if cgroups.root() is None:
        pytest.skip("this machine shows no cgroups of version 2, by which the test would look at those of lab hosts")
    with two_hosts(tmp_path_factory.mktemp("lab")) as made:
        yield made


class OnHost:
    """A lab host's gate, and its hypervisor that starts guests behind it."""

    def __init__(self, host: Host) -> None:
        enclosure = gate_of(host)
        assert enclosure is not None
        self.enclosure = enclosure
        self.gate = HostGate(self.enclosure, CLOCK)
        disks = Disks(host.home.instances, CLOCK, SystemChance(), self.enclosure.argv_inside)
        behind = BehindGate(self.enclosure, lambda _domain, server: qemu(server))
        self.hypervisor = LibvirtHypervisor(disks, CLOCK, "tcg", uri=uri(host), gate=behind)

    async def run(self, guest: Guest, images: Images) -> int:
        """Have the guest running; return its QEMU's pid."""
        await self.hypervisor.prepare(guest, images)
        await self.hypervisor.start(guest)
        return qemu(guest.server)

    async def ticks(self, guest: Guest) -> list[int]:
        """Return what the guest counted, as far as its console shows it whole."""
        return [int(tick) for tick in re.findall(rb"tick=(\d+)\r?\n", await self.hypervisor.console(guest.server))]

    async def until_it_ticks_beyond(self, guest: Guest, tick: int) -> None:
        async def beyond() -> bool:
            return max(await self.ticks(guest), default=0) > tick

        await until(beyond, 180.0)

    async def end(self) -> None:
        await self.gate.kill_all()
        await self.gate.open()
        for found in await self.hypervisor.guests():
            await self.hypervisor.kill(found.server)
            await self.hypervisor.undefine(found.server)
        await self.hypervisor.close()


@pytest.fixture
async def both(hosts: tuple[Host, Host]) -> AsyncIterator[tuple[OnHost, OnHost]]:
    made = OnHost(hosts[0]), OnHost(hosts[1])
    for each in made:
        await each.hypervisor.connect(lambda _: None)
    yield made
    for each in made:
        await each.end()


def cpu_ticks(pid: int) -> int:
    """Return the processor time that a process has had, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


async def test_a_guest_stands_still_while_the_gate_is_closed_and_goes_on_unharmed(
    both: tuple[OnHost, OnHost], pytestconfig: pytest.Config
) -> None:
    (here, there), images = both, Images()
    root = images.add(linux(pytestconfig).read_bytes(), "qcow2")
    personal = Personal("ticks", "Ticks", user_data=base64.b64encode(TICKS.encode()).decode())
    guest, other = replace(a_guest(root), personal=personal), a_guest(images.add(DEAF_IMAGE))
    pid, other_pid = await here.run(guest, images), await there.run(other, images)
    await here.until_it_ticks_beyond(guest, 10)

    began = time.monotonic()
    assert await here.gate.close()
    took = time.monotonic() - began
    assert took < 1.0
    executed, shown, until_s = cpu_ticks(pid), await here.ticks(guest), time.monotonic() + WATCHED_S
    while time.monotonic() < until_s:
        assert stands_still(pid, confirmed=here.enclosure.kernel_confirms())
        assert not stands_still(other_pid, confirmed=there.enclosure.kernel_confirms())
        await asyncio.sleep(0.05)
    assert cpu_ticks(pid) == executed
    assert await here.ticks(guest) == shown
    # The agent sees its guests all the while, though no QEMU answers.
    found = await asyncio.wait_for(here.hypervisor.guest(guest.server), 5)
    assert found is not None
    assert found.power is PowerState.RUNNING

    assert await here.gate.open()
    await here.until_it_ticks_beyond(guest, shown[-1] + 10)
    ticks = await here.ticks(guest)
    assert ticks == list(range(ticks[0], ticks[-1] + 1)), "the guest missed something"
    await until_booted(here.hypervisor, guest, 1)  # once, and not anew
    assert qemu(guest.server) == pid


async def test_a_guest_behind_a_closed_gate_is_killed_when_told_and_its_host_starts_none(
    both: tuple[OnHost, OnHost],
) -> None:
    (here, there), images = both, Images()
    guest, other, late = (a_guest(images.add(DEAF_IMAGE)) for _ in range(3))
    pid, other_pid = await here.run(guest, images), await there.run(other, images)
    assert here.enclosure.groups()[guest_group(guest.server, 1)] == [pid]
    assert await here.gate.close()
    diskless = replace(late, disks=replace(late.disks, root=None))  # no program could make it one now
    await here.hypervisor.prepare(diskless, images)
    with pytest.raises(GateClosed):
        await here.hypervisor.start(diskless)
    await here.gate.kill_all()
    await until(here.gate.is_empty)
    assert await here.gate.is_closed()

    async def known_to_be_off() -> bool:
        found = await here.hypervisor.guest(guest.server)
        return found is not None and found.power is PowerState.CRASHED

    await until(known_to_be_off)
    assert not stands_still(other_pid, confirmed=there.enclosure.kernel_confirms())


async def test_a_start_that_passed_its_check_just_before_the_gate_closed_executes_nothing(
    both: tuple[OnHost, OnHost],
) -> None:
    (here, _), images = both, Images()
    guest = a_guest(images.add(DEAF_IMAGE))
    await here.hypervisor.prepare(guest, images)

    class ClosesLate(BehindGate):
        """A gate that closes once the agent has looked at it for the last time."""

        def must_be_open(self) -> None:
            if here.enclosure.groups().get(guest_group(guest.server, 1)):
                here.enclosure.freeze()

    here.hypervisor._gate = ClosesLate(here.enclosure, lambda _domain, server: qemu(server))
    starting = asyncio.create_task(here.hypervisor.start(guest))

    async def frozen() -> bool:
        return here.enclosure.is_frozen()

    await until(frozen)
    assert await here.gate.close()
    assert await here.hypervisor.guests()  # libvirt waits for a QEMU that stands still; the agent sees all the same
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(starting), 20)
    await until(here.gate.is_empty)  # whom the kernel kills is there for a moment longer
    assert b"boots=" not in await here.hypervisor.console(guest.server)
