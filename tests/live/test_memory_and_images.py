"""What a real guest keeps when it is paused, suspended and imaged: its memory, its clock, its data."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack import exceptions as sdk

from renova.lab import furniture, processes
from tests.live.lab import SHELL, Lab, running_lab

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("memory"), guest_image_path) as lab:
        yield lab


def create(lab: Lab, name: str, image: str = furniture.IMAGES[0]) -> tuple[str, str]:
    """Have a server whose guest runs commands; return its id and its address."""
    flavor = lab.compute.find_flavor("m1.tiny", ignore_missing=False)
    network = lab.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
    server = lab.compute.create_server(
        name=name,
        flavor_id=flavor.id,
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


# Behind the partitions, where there is room.
BULK = "/dev/vda bs=1M count=40"
SUM = f"dd if={BULK} skip=500 2>/dev/null | sha256sum"


@pytest.mark.parametrize("victim", ["controller", "agent", "libvirtd"])
def test_an_image_is_made_although_somebody_is_killed(lab: Lab, victim: str) -> None:
    server, address = create(lab, f"hurt-{victim}")
    lab.in_guest(address, f"dd if=/dev/urandom of={BULK} seek=500 2>/dev/null; sync")
    checksum = lab.in_guest(address, SUM)
    host = lab.host(server)
    response = lab.compute.post(
        f"/servers/{server}/action", json={"createImage": {"name": victim}}, microversion="2.45"
    )
    sdk.raise_from_response(response)
    task = "image_uploading" if victim == "controller" else "image_snapshot"
    lab.until(lambda: lab.compute.get_server(server).task_state in (task, None), f"not seen in {task}")
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
        (action,) = [each for each in lab.compute.server_actions(server) if each.action == "createImage"]
        assert action.message == "Error"
        return
    lab.until(lambda: lab.admin.image.find_image(victim).status == "active", "the image did not become whole")
    another, its_address = create(lab, f"of-{victim}", victim)
    assert lab.in_guest(its_address, SUM) == checksum
    for each in (server, another):
        lab.compute.delete_server(each)
        lab.until(lambda: lab.state(each) is None, "the server was not deleted")  # noqa: B023
