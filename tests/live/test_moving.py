"""Rebooted, rebuilt, evacuated, a volume plugged in and out: what was to be kept is read afterwards in the guests."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions as sdk

from renova.lab import furniture, processes
from renova.lab.blueprint import STORAGE_HOST
from renova.model.guest import PowerState
from tests.live.lab import SHELL, Lab, running_lab

pytestmark = [pytest.mark.live, pytest.mark.first, pytest.mark.slow]

USER_DATA = base64.b64encode(SHELL.encode()).decode()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(local, id=where, marks=pytest.mark.takes_turns("where disks are", where))
        for local, where in ((False, "shared disks"), (True, "local disks"))
    ],
)
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path
) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("moving"), guest_image_path, local_disks=request.param) as lab:
        yield lab


class Case:
    """A server with a volume and two ports, in an anti-affinity group with another; data on its disks."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.compute = lab.compute
        group = self._post("/os-server-groups", {"server_group": {"name": "apart", "policy": "anti-affinity"}}, "2.64")
        self.group = group["server_group"]["id"]
        network = lab.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
        self.ports = [lab.admin.network.create_port(network_id=network.id) for _ in range(2)]
        self.server = self._create("moved", [{"port": port.id} for port in self.ports])
        self.neighbour = self._create("neighbour", [{"uuid": network.id}])
        self.volume = lab.admin.block_storage.create_volume(size=1, name="kept")
        lab.admin.block_storage.wait_for_status(self.volume, "available", interval=0.2, wait=60)
        for server in (self.server, self.neighbour):
            lab.active(server)

    @property
    def address(self) -> str:
        return str(self.ports[0].fixed_ips[0]["ip_address"])

    def _post(self, path: str, body: dict[str, Any], version: str) -> Any:
        answer = self.compute.post(path, json=body, microversion=version)
        sdk.raise_from_response(answer)
        return answer.json() if answer.content else None

    def act(self, body: dict[str, Any], version: str = "2.94", server: str | None = None) -> None:
        self._post(f"/servers/{server or self.server}/action", body, version)

    def _create(self, name: str, networks: list[dict[str, str]]) -> str:
        flavor = self.compute.find_flavor("m1.tiny", ignore_missing=False)
        image = self.lab.admin.image.find_image(furniture.IMAGES[0], ignore_missing=False)
        body = {
            "server": {
                "name": name,
                "flavorRef": flavor.id,
                "imageRef": image.id,
                "networks": networks,
                "user_data": USER_DATA,
            },
            "os:scheduler_hints": {"group": self.group},
        }
        return str(self._post("/servers", body, "2.94")["server"]["id"])

    def guest(self, script: str) -> str:
        self.lab.reachable(self.address)
        return self.lab.in_guest(self.address, script)

    def attach(self) -> None:
        self._post(
            f"/servers/{self.server}/os-volume_attachments", {"volumeAttachment": {"volumeId": self.volume.id}}, "2.94"
        )
        self.lab.until(lambda: self.volume_now().status == "in-use", "the volume was not attached")

    def volume_now(self) -> Any:
        return self.lab.admin.block_storage.get_volume(self.volume.id)

    def attachments(self) -> list[dict[str, Any]]:
        """List the volume's attachments as the volume service has them."""
        return list(self.volume_now().attachments)

    def volume_device(self) -> str:
        """Say how to name the volume's disk in the guest: by its serial, as its place among the disks may change."""
        return f'/dev/$(cd /sys/block; grep -l "^{str(self.volume.id)[:20]}" */serial | cut -d/ -f1)'

    def write_data(self) -> None:
        self.guest(
            f"echo root >/root/data; mke2fs -q {self.volume_device()}; mkdir -p /mnt/v; "
            f"mount {self.volume_device()} /mnt/v; echo volume >/mnt/v/data; umount /mnt/v; sync"
        )

    def on_volume(self) -> str:
        return self.guest(f"mkdir -p /mnt/v; mount {self.volume_device()} /mnt/v; cat /mnt/v/data; umount /mnt/v")

    def on_root(self) -> str:
        return self.guest("cat /root/data 2>/dev/null || echo none")

    def boot_number(self) -> int:
        return int(self.guest("cat /root/boots"))

    def nics(self) -> set[str]:
        return set(self.guest("cat /sys/class/net/eth*/address").split())

    def fault(self) -> str:
        return str((self.compute.get_server(self.server).fault or {}).get("message"))


@pytest.fixture(scope="module")
def case(lab: Lab) -> Case:
    made = Case(lab)
    made.guest("true")  # it is plugged into a guest that runs
    made.attach()
    made.write_data()
    return made


def test_reboots_keep_the_volume_and_the_disks(lab: Lab, case: Case) -> None:
    for number, kind in enumerate(("SOFT", "HARD"), start=2):
        case.act({"reboot": {"type": kind}})
        lab.active(case.server)
        lab.until(lambda number=number: case.boot_number() == number, f"no {kind} reboot was seen in the guest")  # type: ignore[misc]
        assert (case.on_root(), case.on_volume()) == ("root", "volume"), kind
        assert lab.running_on(case.server) == [lab.host(case.server)]
        assert len(case.attachments()) == 1


def test_a_rebuild_of_a_stopped_server_never_runs_its_guest_and_keeps_the_volume(lab: Lab, case: Case) -> None:
    case.act({"os-stop": None})
    lab.until(lambda: lab.state(case.server) == "SHUTOFF", "the server did not stop")
    image = case.compute.get_server(case.server).image.id
    case.act({"rebuild": {"imageRef": image}})
    lab.until(lambda: lab.state(case.server) == "SHUTOFF", "the server was not rebuilt")
    assert lab.running_on(case.server) == []
    assert "GUEST-READY" not in lab.console(case.server), "its new guest has run"
    case.act({"os-start": None})
    lab.active(case.server)
    assert (case.boot_number(), case.on_root(), case.on_volume()) == (1, "none", "volume")
    case.guest("echo root >/root/data; sync")
    assert len(case.attachments()) == 1


def test_a_guest_waits_for_a_volume_that_is_away_and_goes_on_unharmed(lab: Lab, case: Case) -> None:
    def power() -> int:
        return int(case.compute.get_server(case.server).power_state)

    case.guest(f"mkdir -p /mnt/v; mount {case.volume_device()} /mnt/v")
    lab.cloud.kill(STORAGE_HOST)
    with ThreadPoolExecutor(1) as aside:
        writing = aside.submit(lab.in_guest, case.address, "echo written >/mnt/v/more; sync; echo done")
        lab.until(lambda: power() == PowerState.PAUSED, "the guest does not stand still")
        assert lab.state(case.server) == "ACTIVE"
        agent = processes.running(lab.cloud.home.pid_file(f"agent-{lab.host(case.server)}"))
        assert agent is not None
        agent.kill()  # the next one hears of no event
        lab.mend()
        assert writing.result() == "done"
    lab.until(lambda: power() == PowerState.RUNNING, "the guest did not go on")
    said = case.guest(f"cat /mnt/v/more; umount /mnt/v; mount {case.volume_device()} /mnt/v; cat /mnt/v/data; dmesg")
    assert said.split()[:2] == ["written", "volume"]
    assert "I/O error" not in said
    case.guest("umount /mnt/v")


def test_a_host_is_drained_and_a_migration_brings_its_server_back_with_all_that_it_has(lab: Lab, case: Case) -> None:
    """On shared disks and on local ones, which are carried: nothing of either, nor of the volume, is lost."""
    source, elsewhere, macs = lab.host(case.server), lab.host(case.neighbour), case.nics()
    url = (
        f"{str(lab.admin.config.get_auth_args()['auth_url']).partition('/identity')[0]}/renova/v1/hosts/{source}/drain"
    )
    drain = lab.admin.session.put(url, json={"reason": "new fans"}).json()["drain"]
    assert [each["server"] for each in (*drain["waiting"], *drain["moving"])] == [case.server]
    lab.until(lambda: lab.admin.session.get(url).json()["drain"]["state"] == "drained", "the host was not drained")
    target = lab.host(case.server)
    assert target not in (source, elsewhere), f"the group keeps them apart: {case.fault()}"
    for host in (target, source):
        if host == source:
            assert lab.admin.session.delete(url).status_code == 204
            case.act({"migrate": {"host": source}})
        lab.active(case.server)
        assert lab.host(case.server) == host, case.fault()
        assert lab.running_on(case.server) == [host]
        assert (case.on_root(), case.on_volume()) == ("root", "volume")
        assert case.nics() == macs
        assert len(case.attachments()) == 1
    assert lab.migrations(case.server)[:2] == ["confirmed", "confirmed"]


def test_an_evacuation_keeps_what_it_can_and_its_source_cleans_up(lab: Lab, case: Case) -> None:
    source, macs = lab.host(case.server), case.nics()
    elsewhere = lab.host(case.neighbour)
    assert source != elsewhere, "the group keeps them apart"
    (before,) = case.attachments()
    lab.cloud.kill(source)
    lab.until(lambda: next(case.compute.services(host=source)).state == "down", f"{source} is not seen down")
    case.act({"evacuate": {}})
    lab.active(case.server)
    target = lab.host(case.server)
    assert target not in (source, elsewhere), f"the group keeps them apart: {case.fault()}"
    assert lab.running_on(case.server) == [target]

    kept = not lab.cloud.plan.local_disks
    assert case.on_root() == ("root" if kept else "none")
    assert case.on_volume() == "volume"
    assert case.nics() == macs
    for port in case.ports:
        now = lab.admin.network.get_port(port.id)
        assert (now.binding_host_id, now.fixed_ips) == (target, port.fixed_ips)
    (after,) = case.attachments()
    assert after["attachment_id"] != before["attachment_id"]

    lab.cloud.start(source)
    lab.until(lambda: next(case.compute.services(host=source)).state == "up", f"{source} did not come up")
    lab.until(lambda: lab.migrations(case.server)[:1] == ["completed"], "the migration was not completed")
    assert case.server not in lab.run_on(source, "virsh", "list", "--all", "--uuid")
    assert lab.running_on(case.server) == [target]
    assert case.server not in _holders(lab, source)
    assert case.server in _holders(lab, target)
    assert (case.on_root(), case.on_volume()) == ("root" if kept else "none", "volume")
    assert len(case.attachments()) == 1


def _holders(lab: Lab, host: str) -> set[str]:
    (provider,) = lab.admin.placement.resource_providers(name=host)
    answer = lab.admin.placement.get(f"/resource_providers/{provider.id}/allocations")
    sdk.raise_from_response(answer)
    return set(answer.json()["allocations"])


def test_a_server_on_a_volume_is_reimaged_by_a_rebuild_and_kept_by_an_evacuation(lab: Lab, case: Case) -> None:
    network = lab.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
    port = lab.admin.network.create_port(network_id=network.id)
    image = lab.admin.image.find_image(furniture.IMAGES[0], ignore_missing=False)
    flavor = case.compute.find_flavor("m1.tiny", ignore_missing=False)
    disk = {"boot_index": 0, "uuid": image.id, "source_type": "image", "destination_type": "volume", "volume_size": 1}
    body = {
        "name": "on-a-volume",
        "flavorRef": flavor.id,
        "networks": [{"port": port.id}],
        "user_data": USER_DATA,
        "block_device_mapping_v2": [{**disk, "delete_on_termination": True}],
    }
    server = str(case._post("/servers", {"server": body}, "2.94")["server"]["id"])
    address = str(port.fixed_ips[0]["ip_address"])
    lab.active(server)
    lab.reachable(address)
    lab.in_guest(address, "echo mine >/root/data; sync")

    source = lab.host(server)
    lab.cloud.kill(source)
    lab.until(lambda: next(case.compute.services(host=source)).state == "down", f"{source} is not seen down")
    case.act({"evacuate": {}}, server=server)
    lab.active(server)
    lab.reachable(address)
    assert lab.in_guest(address, "cat /root/data") == "mine"
    lab.cloud.start(source)
    lab.until(lambda: lab.migrations(server)[:1] == ["completed"], "the migration was not completed")

    case.act({"rebuild": {"imageRef": image.id}}, "2.93", server=server)
    lab.active(server)
    lab.reachable(address)
    assert lab.in_guest(address, "cat /root/data 2>/dev/null || echo none") == "none"
    case.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


def test_ephemeral_disk_and_swap_are_there_blank_kept_by_a_reboot_and_blank_again_after_a_rebuild(
    lab: Lab, case: Case
) -> None:
    flavor = case.compute.create_flavor(name="m1.blank", vcpus=1, ram=128, disk=1, ephemeral=1, swap=64)
    network = lab.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
    port = lab.admin.network.create_port(network_id=network.id)
    image = lab.admin.image.find_image(furniture.IMAGES[0], ignore_missing=False)
    body = {
        "name": "blank",
        "flavorRef": flavor.id,
        "imageRef": image.id,
        "networks": [{"port": port.id}],
        "user_data": USER_DATA,
    }
    server = str(case._post("/servers", {"server": body}, "2.94")["server"]["id"])
    address = str(port.fixed_ips[0]["ip_address"])
    look = "mkdir -p /mnt/e; mount LABEL=ephemeral0 /mnt/e; ls /mnt/e; umount /mnt/e; grep -c . /proc/swaps"

    def seen() -> list[str]:
        lab.active(server)
        lab.reachable(address)
        return lab.in_guest(address, f"swapon $(findfs LABEL=swap0); {look}; swapoff $(findfs LABEL=swap0)").split()

    assert seen() == ["lost+found", "2"]
    lab.in_guest(address, "mount LABEL=ephemeral0 /mnt/e; echo mine >/mnt/e/mine; umount /mnt/e; sync")
    case.act({"reboot": {"type": "HARD"}}, server=server)
    lab.until(lambda: " boots=2 " in lab.console(server), "the server was not rebooted")
    assert seen() == ["lost+found", "mine", "2"]
    case.act({"rebuild": {"imageRef": image.id}}, server=server)
    lab.active(server)
    assert seen() == ["lost+found", "2"]
    case.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


def test_a_volume_that_is_unplugged_from_a_running_guest_is_gone_from_it(lab: Lab, case: Case) -> None:
    look = f'cd /sys/block; grep -l "^{str(case.volume.id)[:20]}" */serial || echo none'
    assert case.guest(look) != "none"
    boots = case.boot_number()
    case.compute.delete_volume_attachment(case.server, case.volume.id)
    lab.until(lambda: case.volume_now().status == "available", "the volume was not detached")
    assert case.guest(look) == "none"
    assert case.boot_number() == boots
    assert case.attachments() == []
