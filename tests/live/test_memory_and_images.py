"""What a real guest keeps when it is paused, suspended, imaged and taken to another host: memory, clock, data."""

import base64
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack import exceptions as sdk

from renova.lab import access, furniture, processes
from renova.lab.programs import environment, renova_argv
from tests.live.lab import BRIEF_S, LIMIT_S, SHELL, Lab, running_lab

pytestmark = [pytest.mark.live, pytest.mark.first, pytest.mark.slow]


STANDSTILL_S = 20.0  # for which a guest may stand still over two moves: what emulates it is one of many here


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("memory"), guest_image_path) as lab:
        yield lab


def create(lab: Lab, name: str, image: str = furniture.IMAGES[0], flavor: str = "m1.tiny") -> tuple[str, str]:
    """Have a server whose guest runs commands; return its id and its address."""
    network = lab.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
    server = lab.compute.create_server(
        name=name,
        flavor_id=lab.compute.find_flavor(flavor, ignore_missing=False).id,
        image_id=lab.admin.image.find_image(image, ignore_missing=False).id,
        networks=[{"uuid": network.id}],
        user_data=base64.b64encode(SHELL.encode()).decode(),
    ).id
    lab.active(server)
    ((address,),) = lab.compute.get_server(server).addresses.values()
    lab.reachable(address["addr"])
    return server, address["addr"]


def act(lab: Lab, server: str, action: dict[str, object], status: str) -> None:
    sdk.raise_from_response(lab.compute.post(f"/servers/{server}/action", json=action, microversion="2.45"))
    lab.until(lambda: lab.state(server) == status, f"{action} did not end {status}")


def uptime(lab: Lab, address: str) -> float:
    return float(lab.in_guest(address, "cut -d' ' -f1 /proc/uptime"))


def make_image(lab: Lab, server: str, name: str) -> None:
    status = str(lab.compute.get_server(server).status)
    act(lab, server, {"createImage": {"name": name}}, status)
    image = lab.admin.image.find_image(name, ignore_missing=False)
    assert (image.status, image.disk_format) == ("active", "qcow2")


def test_memory_and_data_are_kept(lab: Lab) -> None:
    server, address = create(lab, "one")
    lab.boots(server, 1)
    lab.in_guest(address, "mkdir /memory; mount -t tmpfs none /memory; echo kept >/memory/mark")
    lab.in_guest(address, "echo precious >/root/data; sync")

    # Paused: the guest's clock stands still for as long as its image takes to be made.
    before, began = uptime(lab, address), time.monotonic()
    act(lab, server, {"pause": None}, "PAUSED")
    paused = time.monotonic()
    assert lab.run_on(lab.host(server), "virsh", "domstate", server).strip() == "paused"
    make_image(lab, server, "of-paused")
    assert lab.run_on(lab.host(server), "virsh", "domstate", server).strip() == "paused"
    stood = time.monotonic() - paused
    act(lab, server, {"unpause": None}, "ACTIVE")
    passed = uptime(lab, address) - before
    assert passed < time.monotonic() - began - 0.8 * stood, f"the guest's clock went on for {passed} s"
    assert lab.in_guest(address, "cat /memory/mark") == "kept"

    # Suspended: no QEMU is left, and the memory is.
    act(lab, server, {"suspend": None}, "SUSPENDED")
    assert lab.running_on(server) == []
    make_image(lab, server, "of-suspended")
    act(lab, server, {"resume": None}, "ACTIVE")
    lab.reachable(address)
    assert lab.in_guest(address, "cat /memory/mark") == "kept"
    assert " boots=2 " not in lab.console(server)

    # Running: the image is of one moment, and has what was flushed before.
    lab.in_guest(address, "echo later >>/root/data; sync")
    make_image(lab, server, "of-running")
    assert lab.in_guest(address, "cat /memory/mark") == "kept"
    another, its_address = create(lab, "two", "of-running")
    lab.boots(another, 2)
    assert lab.in_guest(its_address, "cat /root/data").split() == ["precious", "later"]
    assert lab.in_guest(its_address, "mount").count("/memory") == 0
    lab.compute.delete_server(another)

    # Rebooted hard out of its sleep: the memory is gone, the data are there.
    act(lab, server, {"suspend": None}, "SUSPENDED")
    act(lab, server, {"reboot": {"type": "HARD"}}, "ACTIVE")
    lab.boots(server, 2)
    lab.reachable(address)
    assert lab.in_guest(address, "cat /root/data").split() == ["precious", "later"]
    assert lab.in_guest(address, "mount").count("/memory") == 0
    lab.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


def service(lab: Lab, host: str) -> str:
    return str(next(lab.compute.services(host=host)).status)


def renova(lab: Lab, *arguments: str) -> str:
    """Run the command line as an administrator does; it succeeds."""
    cloud = {"OS_CLOUD": access.ADMIN, "OS_CLIENT_CONFIG_FILE": str(lab.cloud.home.clouds_yaml)}
    done = subprocess.run(
        renova_argv(*arguments),
        env=environment() | cloud,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_guest_leaves_a_drained_host_and_comes_back_with_all_that_is_in_its_memory(lab: Lab) -> None:
    server, address = create(lab, "taken-along")
    lab.in_guest(
        address, "mkdir /memory; mount -t tmpfs none /memory; dd if=/dev/urandom of=/memory/bulk bs=1M count=40"
    )
    look = "cat /proc/sys/kernel/random/boot_id; sha256sum </memory/bulk"
    held, source = lab.in_guest(address, look), lab.host(server)
    before, began = uptime(lab, address), time.monotonic()

    told = renova(lab, "host", "drain", source, "--reason", "new fans")
    # Whether a share of its memory was seen is a matter of the machine: tests/unit/main/test_maintenance_commands.py.
    assert told.startswith(f"{source}: draining, 0 moved, 1 ")
    assert told.endswith(f"{source}: drained, 1 moved\n")
    target = lab.host(server)
    assert target != source
    for host in (target, source):
        if host == source:
            assert service(lab, source) == "disabled"
            assert renova(lab, "host", "drain", source, "--undo") == f"{source} is used again.\n"
            assert service(lab, source) == "enabled"
            act(lab, server, {"os-migrateLive": {"host": source, "block_migration": "auto"}}, "ACTIVE")
        assert lab.host(server) == host, (lab.compute.get_server(server).fault or {}).get("message")
        assert lab.running_on(server) == [host]
        assert lab.in_guest(address, look) == held
    assert lab.migrations(server) == ["completed", "completed"]
    stood = time.monotonic() - began - (uptime(lab, address) - before)
    assert stood < STANDSTILL_S, f"the guest's clock stood still for {stood:.1f} s"
    assert " boots=2 " not in lab.console(server)
    lab.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


# Behind the partitions, where there is room.
BULK = "/dev/vda bs=1M count=40"
SUM = f"dd if={BULK} skip=500 2>/dev/null | sha256sum"


@pytest.fixture(scope="module")
def bulky(lab: Lab) -> tuple[str, str, str]:
    """A server with much on its disk: its id, its address, the checksum of what it has."""
    server, address = create(lab, "bulky")
    lab.in_guest(address, f"dd if=/dev/urandom of={BULK} seek=500 2>/dev/null; sync")
    return server, address, lab.in_guest(address, SUM)


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(each, marks=pytest.mark.takes_turns("who is killed while an image is made", each))
        for each in ("controller", "agent", "libvirtd")
    ],
)
def test_an_image_is_made_although_somebody_is_killed(lab: Lab, bulky: tuple[str, str, str], victim: str) -> None:
    server, address, checksum = bulky
    host = lab.host(server)
    response = lab.compute.post(
        f"/servers/{server}/action", json={"createImage": {"name": victim}}, microversion="2.45"
    )
    sdk.raise_from_response(response)
    task = "image_uploading" if victim == "controller" else "image_snapshot"
    lab.until(lambda: lab.compute.get_server(server).task_state in (task, None), f"not seen in {task}", BRIEF_S)
    if victim == "libvirtd":
        lab.run_on(host, "sh", "-c", "kill -9 $(cat /run/libvirt/libvirtd.pid)")
    else:
        process = processes.running(
            lab.cloud.home.pid_file("controller" if victim == "controller" else f"agent-{host}")
        )
        assert process is not None
        process.kill()
    lab.mend()
    lab.active(server)
    assert lab.in_guest(address, SUM) == checksum, "the guest was harmed"
    if victim == "libvirtd" and lab.admin.image.find_image(victim) is None:
        # libvirt may lose track of the job: then the image is gone, and whoever asked is told so.
        action = next(each for each in lab.compute.server_actions(server) if each.action == "createImage")  # the newest
        assert action.message == "Error"
        return
    lab.until(lambda: lab.admin.image.find_image(victim).status == "active", "the image did not become whole")
    another, its_address = create(lab, f"of-{victim}", victim)
    assert lab.in_guest(its_address, SUM) == checksum
    lab.compute.delete_server(another)
    lab.until(lambda: lab.state(another) is None, "the server was not deleted")
