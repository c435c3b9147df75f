"""Guests of libvirt on lab hosts: what only a real Linux inside, a real network and a real libvirtd can show."""

import asyncio
import base64
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from renova.drivers.hypervisor import WATCHDOG_FIRED
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.domain_xml import domain_xml
from renova.drivers.hypervisor.libvirt import LibvirtHypervisor
from renova.lab.hosts import Host
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import NotNow
from renova.model.guest import Address, Guest, GuestChanged, Nic, Personal, PowerState, Reply
from renova.model.ids import NetworkId, PortId
from tests.contract.benches import DEAF_IMAGE, Images, a_guest, linux, qemu, two_hosts, until, until_booted, uri
from tests.contract.test_network import linux_bridge
from tests.live.neglect import ANSWER_TWICE, NEGLECT_WATCHDOG

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with two_hosts(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def changes() -> list[GuestChanged]:
    return []


def hypervisor_on(host: Host) -> LibvirtHypervisor:
    return LibvirtHypervisor(disks_of(host), SystemClock(), "tcg", uri=uri(host))


def disks_of(host: Host) -> Disks:
    return Disks(host.home.instances, SystemClock(), SystemChance())


@pytest.fixture
async def hypervisor(hosts: tuple[Host, Host], changes: list[GuestChanged]) -> AsyncIterator[LibvirtHypervisor]:
    """The first host's, connected; its guests are killed at the end."""
    made = hypervisor_on(hosts[0])
    await made.connect(changes.append)
    yield made
    await forget_guests(made)


async def forget_guests(hypervisor: LibvirtHypervisor) -> None:
    for found in await hypervisor.guests():
        await hypervisor.kill(found.server)
        await hypervisor.undefine(found.server)
    await hypervisor.close()


ASK = """#!/bin/sh
ping -c 2 -w 60 10.9.0.11 && echo REACHED
grep -q 'ssh-ed25519 AAAA' /root/.ssh/authorized_keys && echo KEY
"""


async def test_guests_on_two_hosts_reach_each_other_and_know_who_they_are(
    hosts: tuple[Host, Host], pytestconfig: pytest.Config
) -> None:
    images = Images()
    root = images.add(linux(pytestconfig).read_bytes(), "qcow2")
    asked = msgspec.structs.replace(a_guest(root), nics=(nic("10.9.0.11"),))
    personal = Personal("asks", "Asks", {"mine": "ssh-ed25519 AAAA"}, user_data=base64.b64encode(ASK.encode()).decode())
    asks = msgspec.structs.replace(a_guest(root), nics=(nic("10.9.0.12"),), personal=personal)
    async with AsyncExitStack() as ends:
        for host, guest in zip(hosts, (asked, asks), strict=True):
            hypervisor, network = hypervisor_on(host), linux_bridge(host)
            ends.push_async_callback(network.close)
            ends.push_async_callback(network.unplug, guest.nics)
            ends.push_async_callback(forget_guests, hypervisor)
            await hypervisor.connect(lambda _: None)
            await network.peers([other.address for other in hosts])
            await network.plug(guest.nics)
            await hypervisor.prepare(guest, images)
            await hypervisor.start(guest)
        await until_booted(hypervisor, asks, 1)
        said = (await hypervisor.console(asks.server)).decode()
    assert f"uuid={asks.server} hostname=asks" in said
    assert {"REACHED", "KEY"} <= set(said.split())
    assert "ip=10.9.0.12 " in said


# Once it stands still, the agent is killed some time later.
AGENT = f"""#!/bin/sh
{ANSWER_TWICE}
agent=$!
(
    while ! grep -q '^State:.T' /proc/$agent/status; do sleep 1; done
    sleep 15
    kill -KILL $agent
) &
"""


async def test_an_agent_that_stands_still_is_silent_and_one_that_ended_is_nobody(
    hypervisor: LibvirtHypervisor, pytestconfig: pytest.Config
) -> None:
    images = Images()
    root = images.add(linux(pytestconfig).read_bytes(), "qcow2")
    personal = Personal("answers", "Answers", user_data=base64.b64encode(AGENT.encode()).decode())
    guest = msgspec.structs.replace(a_guest(root), guest_agent=True, watchdog="none", personal=personal)
    await hypervisor.prepare(guest, images)
    await hypervisor.start(guest)
    assert (await hypervisor.pulse(guest.server)).reply is Reply.NOBODY, "it boots"
    await until_booted(hypervisor, guest, 1)
    lives: list[int] = []
    for wanted in (Reply.ANSWERED, Reply.SILENT, Reply.NOBODY):

        async def comes_to_that(wanted: Reply = wanted) -> bool:
            pulse = await hypervisor.pulse(guest.server)
            lives.append(pulse.life)
            return pulse.reply is wanted

        await until(comes_to_that)
    found = await hypervisor.guest(guest.server)
    assert found is not None
    assert (found.power, found.hung) == (PowerState.RUNNING, "")

    async def its_end_is_known() -> bool:
        return (await hypervisor.pulse(guest.server)).life > lives[0]

    await until(its_end_is_known)


async def test_a_guest_that_its_watchdog_has_paused_is_not_let_go_on_by_a_move_that_is_given_up(
    hypervisor: LibvirtHypervisor, pytestconfig: pytest.Config
) -> None:
    images = Images()
    root = images.add(linux(pytestconfig).read_bytes(), "qcow2")
    neglects = base64.b64encode(f"#!/bin/sh{NEGLECT_WATCHDOG}".encode()).decode()
    guest = msgspec.structs.replace(
        a_guest(root), watchdog="pause", personal=Personal("stands", "Stands", user_data=neglects)
    )
    await hypervisor.prepare(guest, images)
    await hypervisor.start(guest)

    async def found_hung() -> bool:
        found = await hypervisor.guest(guest.server)
        return found is not None and (found.power, found.hung) == (PowerState.PAUSED, WATCHDOG_FIRED)

    await until(found_hung)
    assert not await hypervisor.stay(guest.server), "it has left"
    assert await found_hung()


def nic(ip: str) -> Nic:
    mac = "fa:16:3e:" + uuid.uuid4().bytes[:3].hex(":")
    network = NetworkId("00000000-0000-4000-8000-000000000009")
    return Nic(PortId(str(uuid.uuid4())), mac, network, 7009, 1450, (Address(ip, 24, "10.9.0.1", ("10.9.0.1",)),))


async def test_a_guest_outlives_libvirtd_and_is_told_of_again(
    hosts: tuple[Host, Host], hypervisor: LibvirtHypervisor, changes: list[GuestChanged]
) -> None:
    stays, dies = await running(hypervisor), await running(hypervisor)
    pid = qemu(stays.server)
    signal_libvirtd(hosts[0], "KILL")
    await until_away(hypervisor)
    os.kill(qemu(dies.server), signal.SIGKILL)
    changes.clear()
    await asyncio.to_thread(hosts[0].up)
    expected = {(stays.server, PowerState.RUNNING), (dies.server, PowerState.CRASHED)}

    async def told() -> bool:
        return {(change.server, change.power) for change in changes} >= expected

    await until(told)
    assert qemu(stays.server) == pid


async def test_guests_are_told_of_again_though_the_way_to_look_at_them_comes_back_after_the_events(
    hosts: tuple[Host, Host], hypervisor: LibvirtHypervisor, changes: list[GuestChanged]
) -> None:
    guest = await running(hypervisor)
    held = threading.Event()
    holding = asyncio.ensure_future(hypervisor._eyes.call(lambda _connection: held.wait(60.0)))
    signal_libvirtd(hosts[0], "KILL")

    async def events_come() -> bool:
        with suppress(NotNow):
            return await hypervisor.devices(guest.server) is not None
        return False

    async def looks_fail() -> bool:
        return hypervisor._eyes._open is None

    await until(looks_fail)
    await asyncio.to_thread(hosts[0].up)
    await until(events_come)
    changes.clear()
    held.set()

    async def told() -> bool:
        return (guest.server, PowerState.RUNNING) in [(change.server, change.power) for change in changes]

    await until(told)
    assert await holding


async def test_a_frozen_libvirtd_is_away_and_comes_back(
    hosts: tuple[Host, Host], hypervisor: LibvirtHypervisor
) -> None:
    guest = await running(hypervisor)
    signal_libvirtd(hosts[0], "STOP")
    try:
        began = time.monotonic()
        with pytest.raises(NotNow):
            await hypervisor.kill(guest.server)
        assert time.monotonic() - began < 15
        with pytest.raises(NotNow):
            await hypervisor.guests()
        another = hypervisor_on(hosts[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(another.connect(lambda _: None), 0.5)
        await asyncio.wait_for(another.close(), 5)
    finally:
        signal_libvirtd(hosts[0], "CONT")
    await until_back(hypervisor)
    await hypervisor.kill(guest.server)
    found = await hypervisor.guest(guest.server)
    assert found is not None
    assert found.power is PowerState.SHUTDOWN


async def test_a_frozen_guest_can_be_killed(hypervisor: LibvirtHypervisor) -> None:
    guest = await running(hypervisor)
    pid = qemu(guest.server)
    os.kill(pid, signal.SIGSTOP)
    await hypervisor.kill(guest.server)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_cancelled_start_has_ended_when_it_says_so(hypervisor: LibvirtHypervisor) -> None:
    guest = await prepared(hypervisor)
    start = asyncio.create_task(hypervisor.start(guest))

    async def begun() -> bool:
        with suppress(LookupError):
            return start.done() or qemu(guest.server) > 0
        return False

    await until(begun)
    start.cancel()
    with suppress(asyncio.CancelledError):
        await start
    # Were the call still on its way, the guest could come to life after this.
    await hypervisor.kill(guest.server)
    with pytest.raises(LookupError):
        qemu(guest.server)


def test_libvirt_finds_no_fault_in_our_xml(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    guest = msgspec.structs.replace(a_guest(Images().add(DEAF_IMAGE)), nics=(nic("10.9.0.13"),))
    for accelerator in ("tcg", "kvm"):
        file = tmp_path / "domain.xml"
        file.write_text(domain_xml(guest, disks_of(hosts[0]).paths(guest.server, guest.disks), accelerator))
        checked = subprocess.run(
            hosts[0].exec_argv(["virsh", "define", "--validate", str(file)]),
            capture_output=True,
            text=True,
            check=False,
        )
        # Without KVM on the host, libvirt has nothing to say about its CPU; what it says is not about the XML.
        assert checked.returncode == 0 or (accelerator == "kvm" and "virt type 'kvm'" in checked.stderr), checked.stderr
    subprocess.run(hosts[0].exec_argv(["virsh", "undefine", guest.server]), capture_output=True, check=True)


async def prepared(hypervisor: LibvirtHypervisor) -> Guest:
    images = Images()
    guest = a_guest(images.add(DEAF_IMAGE))
    await hypervisor.prepare(guest, images)
    return guest


async def running(hypervisor: LibvirtHypervisor) -> Guest:
    guest = await prepared(hypervisor)
    await hypervisor.start(guest)
    await until_booted(hypervisor, guest, 1)
    return guest


def signal_libvirtd(host: Host, name: str) -> None:
    pid = (host.directories.run / "libvirtd.pid").read_text().strip()
    subprocess.run(host.exec_argv(["kill", f"-{name}", pid]), check=True)


async def until_away(hypervisor: LibvirtHypervisor) -> None:
    async def away() -> bool:
        try:
            await hypervisor.guests()
        except NotNow:
            return True
        return False

    await until(away)


async def until_back(hypervisor: LibvirtHypervisor) -> None:
    async def back() -> bool:
        with suppress(NotNow):
            await hypervisor.guests()
            return True
        return False

    await until(back)
