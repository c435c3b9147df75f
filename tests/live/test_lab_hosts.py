"""Hosts made of namespaces: they boot, lose their power and their network as machines do, and run real guests."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from renova.drivers.hypervisor.config_drive import config_drive
from renova.drivers.hypervisor.domain_xml import GuestPaths, domain_xml
from renova.drivers.network.linux_bridge import LinuxBridge
from renova.lab import processes
from renova.lab.home import Home
from renova.lab.hosts import Host
from renova.lab.namespaces import enter_net
from renova.lab.processes import wait_until
from renova.lab.rack import RACK_ADDRESS, Rack
from renova.model.errors import NotFound
from renova.model.guest import Guest
from tests.live.servers import guest

pytestmark = pytest.mark.live

BOOT_LIMIT_S = 60
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("a-home-whose-name-is-too-long-for-the-path-of-a-unix-socket-" + "x" * 40))
    home.make()
    return home


@pytest.fixture(scope="module")
def rack(home: Home) -> Iterator[Rack]:
    rack = Rack(home)
    rack.up()
    yield rack
    rack.down()


@pytest.fixture(scope="module")
def hosts(home: Home, rack: Rack) -> Iterator[list[Host]]:
    hosts = [Host(home, "h1", 1), Host(home, "h2", 2)]
    try:
        for host in hosts:
            host.up()
        yield hosts
    finally:
        for host in hosts:
            host.kill()


@pytest.fixture
def h1(hosts: list[Host]) -> Host:
    hosts[0].up()
    return hosts[0]


@pytest.fixture
def h2(hosts: list[Host]) -> Host:
    hosts[1].up()
    return hosts[1]


def run(host: Host, *argv: str) -> str:
    """Run a program on a host; return what it printed."""
    done = subprocess.run(host.exec_argv(argv), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def virsh(host: Host, *argv: str) -> str:
    return run(host, "virsh", "--quiet", "--connect", "qemu:///system", *argv)


def first_process(host: Host) -> processes.Process:
    process = processes.running(host.home.pid_file(f"host-{host.name}"))
    assert process is not None
    return process


def answers(rack: Rack, address: str) -> bool:
    return rack.exec(["ping", "-c1", "-W1", "-q", address]).returncode == 0


def until_reached(rack: Rack, address: str) -> None:
    """Wait until it answers: a link that just came up may lose what is sent at once."""
    wait_until(lambda: answers(rack, address), 20, f"{address} is not reached")


def outer_links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_hosts_reach_each_other_and_the_rack_but_nothing_shows_outside(rack: Rack, h1: Host, h2: Host) -> None:
    run(h1, "ping", "-c1", "-W5", h2.address)
    run(h1, "ping", "-c1", "-W5", RACK_ADDRESS)
    until_reached(rack, h2.address)
    assert not outer_links() & {"rack0", "to-h1", "to-h2"}


def heard(snmp: str) -> int:
    """Return how many pings arrived, from /proc/net/snmp."""
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


def test_a_cable_is_cut_one_way_and_healed(rack: Rack, h1: Host, h2: Host) -> None:
    def host_heard() -> int:
        return heard(run(h1, "cat", "/proc/net/snmp"))

    def rack_heard() -> int:
        return heard(rack.exec(["cat", "/proc/net/snmp"]).stdout)

    before = host_heard()
    h1.mute()
    assert not answers(rack, h1.address)
    assert host_heard() > before
    run(h1, "ping", "-c1", "-W5", h2.address)
    h1.speak()
    h1.speak()
    until_reached(rack, h1.address)

    before = rack_heard()
    rack.deafen(h1.number)
    subprocess.run(h1.exec_argv(["ping", "-c1", "-W1", "-q", RACK_ADDRESS]), capture_output=True, check=False)
    assert rack_heard() > before
    assert not answers(rack, h1.address)
    until_reached(rack, h2.address)
    rack.hears(h1.number)
    rack.hears(h1.number)
    until_reached(rack, h1.address)


def test_bringing_up_what_is_up_changes_nothing(rack: Rack, h1: Host) -> None:
    before = first_process(h1), h1.directories.boot_id.read_text(), run(h1, "cat", "/run/libvirt/libvirtd.pid")
    rack.up()
    h1.up()
    assert (
        first_process(h1),
        h1.directories.boot_id.read_text(),
        run(h1, "cat", "/run/libvirt/libvirtd.pid"),
    ) == before


def test_a_host_has_its_own_name_processes_devices_and_boot_id(h1: Host, h2: Host) -> None:
    assert run(h1, "hostname") == "h1"
    assert run(h1, "cat", "/proc/1/comm") == "sh"
    assert run(h1, "cat", BOOT_ID) == h1.directories.boot_id.read_text().strip()
    assert run(h1, "cat", BOOT_ID) not in (run(h2, "cat", BOOT_ID), Path(BOOT_ID).read_text().strip())
    assert "kvm" not in run(h1, "ls", "/dev").split()
    assert run(h1, "ls", "/sys/class/net").split() == ["eth0", "lo"]


def test_the_controller_listens_inside_though_it_is_outside(rack: Rack, h1: Host) -> None:
    with rack.listen(8775) as listener:
        assert os.get_inheritable(listener.fileno())
        script = f"import socket; socket.create_connection(('{RACK_ADDRESS}', 8775)).sendall(b'agent')"
        with subprocess.Popen(h1.exec_argv(["python3", "-c", script])):
            listener.settimeout(20)
            connection, (peer, _) = listener.accept()
            with connection:
                assert (peer, connection.recv(5, socket.MSG_WAITALL)) == (h1.address, b"agent")


def test_a_cut_cable_stays_cut_until_it_is_healed(rack: Rack, h1: Host) -> None:
    rack.cut("h1")
    assert not answers(rack, h1.address)
    h1.kill()
    h1.up()
    assert not answers(rack, h1.address)
    rack.heal("h1")
    until_reached(rack, h1.address)


def test_the_cable_of_a_host_that_is_off_can_be_cut(rack: Rack, h1: Host) -> None:
    h1.kill()
    rack.cut("h1")
    h1.up()
    assert not answers(rack, h1.address)
    rack.heal("h1")
    until_reached(rack, h1.address)
    with pytest.raises(NotFound, match="nobody"):
        rack.cut("nobody")


def test_a_power_cut_ends_everything_inside_and_the_next_boot_is_a_new_one(rack: Rack, h1: Host) -> None:
    boot = h1.directories.boot_id.read_text()
    (h1.directories.agent / "kept").write_text("on disk")
    run(h1, "touch", "/run/lost")
    sleeper = subprocess.Popen(h1.exec_argv(["sleep", "600"]))
    h1.kill()
    assert sleeper.wait(5) != 0
    assert not h1.powered()
    assert not answers(rack, h1.address)
    h1.up()
    until_reached(rack, h1.address)
    assert h1.directories.boot_id.read_text() != boot
    assert run(h1, "ls", "/run").split() == ["libvirt", "lock"]
    assert (h1.directories.agent / "kept").read_text() == "on disk"


def test_a_second_cloud_with_the_same_addresses_is_not_disturbed(rack: Rack, h1: Host, tmp_path: Path) -> None:
    other_rack, other = Rack(Home(tmp_path)), Host(Home(tmp_path), "h1", 1)
    other_rack.up()
    try:
        other.up()
        with rack.listen(8775), other_rack.listen(8775):
            other.kill()
            assert not answers(other_rack, h1.address)
            until_reached(rack, h1.address)
            assert h1.powered()
    finally:
        other.kill()
        other_rack.down()


@asynccontextmanager
async def network(host: Host, *peers: str) -> AsyncIterator[LinuxBridge]:
    """The host's network driver, as its agent would have it."""
    driver = LinuxBridge(host.address, partial(enter_net, first_process(host).pid))
    await driver.peers(peers)
    yield driver
    await driver.close()


def prepare(home: Home, described: Guest, image: Path) -> Path:
    """Make the guest's files in the shared instances directory; return that of its domain XML."""
    directory = home.instances / described.server
    directory.mkdir()
    paths = GuestPaths(directory / "disk", directory / "disk.config", directory / "console.log")
    overlay = ["-f", "qcow2", "-F", "qcow2", "-b", str(image), str(paths.root)]
    subprocess.run(["qemu-img", "create", "-q", *overlay], check=True)
    paths.config_drive.write_bytes(config_drive(described))
    xml = directory / "domain.xml"
    xml.write_text(domain_xml(described, paths, "tcg"))
    return xml


def wait_ready(xml: Path, boots: int) -> None:
    console, said = xml.with_name("console.log"), f" boots={boots} "
    wait_until(
        lambda: console.exists() and any(said in line for line in console.read_text(errors="replace").splitlines()),
        BOOT_LIMIT_S,
        f"{xml.parent.name} did not boot for the {boots}th time",
    )


async def test_guests_live_and_die_with_their_hosts(
    home: Home, rack: Rack, h1: Host, h2: Host, guest_image_path: Path
) -> None:
    first, second = guest(1), guest(2)
    first_ip, second_ip = "10.42.0.1", "10.42.0.2"
    rack.tenant(100, "10.42.0.254/24", [h1.address, h2.address])
    async with network(h1, h2.address, RACK_ADDRESS) as net1, network(h2, h1.address, RACK_ADDRESS) as net2:
        await net1.plug(first.nics)
        await net2.plug([*first.nics, *second.nics])
    xml1, xml2 = prepare(home, first, guest_image_path), prepare(home, second, guest_image_path)
    for host, xml in ((h1, xml1), (h2, xml2)):
        virsh(host, "define", str(xml))
        virsh(host, "start", "--domain", (first if host is h1 else second).domain)
    wait_ready(xml1, 1)
    wait_ready(xml2, 1)
    until_reached(rack, first_ip)
    until_reached(rack, second_ip)

    # libvirtd may die without harm.
    run(h1, "sh", "-c", "kill -9 $(cat /run/libvirt/libvirtd.pid)")
    h1.up()
    assert virsh(h1, "domstate", first.domain) == "running"

    # A partition: the guest runs on unseen, and nobody else can have its disk.
    rack.cut("h1")
    assert not answers(rack, first_ip)
    assert virsh(h1, "domstate", first.domain) == "running"
    with pytest.raises(AssertionError, match='"write" lock'):
        virsh(h2, "create", str(xml1))
    rack.heal("h1")
    until_reached(rack, first_ip)

    # A power cut: the guest is gone at once, its disk is free, and it comes up elsewhere as it was.
    h1.kill()
    assert not answers(rack, first_ip)
    virsh(h2, "create", str(xml1))
    wait_ready(xml1, 2)
    until_reached(rack, first_ip)
    until_reached(rack, second_ip)

    # The host that comes back still knows the guest, but does not start it.
    h1.up()
    assert virsh(h1, "domstate", first.domain) == "shut off"
    assert virsh(h2, "list", "--name").split() == [second.domain, first.domain]
