"""Whatever is killed with -9 on real hosts with real guests: the cloud goes on, and nothing runs twice."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import pytest
from openstack import exceptions as sdk
from rich.console import Console

from renova.lab import access, blueprint, furniture, processes
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.processes import wait_until
from renova.lab.progress import Teller
from tests.live.ports import free_ports

pytestmark = [pytest.mark.live, pytest.mark.slow]

LIMIT_S = 120.0
TELLER = Teller(Console())


class Lab:
    """A cloud of three real hosts, and what the tests ask and see of it."""

    def __init__(self, cloud: LabCloud) -> None:
        self.cloud = cloud
        self.admin = access.connect(cloud.home, access.ADMIN)
        self.compute = self.admin.compute

    def until(self, true: Callable[[], bool], what: str) -> None:
        wait_until(true, LIMIT_S, what)

    def create(self, name: str) -> str:
        flavor = self.compute.find_flavor("m1.tiny", ignore_missing=False)
        image = self.admin.image.find_image(furniture.IMAGES[0], ignore_missing=False)
        network = self.admin.network.find_network(furniture.NETWORK, ignore_missing=False)
        server: str = self.compute.create_server(
            name=name, flavor_id=flavor.id, image_id=image.id, networks=[{"uuid": network.id}]
        ).id
        return server

    def state(self, server: str) -> str | None:
        """Return the server's status once nothing is being done to it."""
        try:
            found = self.compute.get_server(server)
        except sdk.SDKException:
            return None  # the controller is down, and will be back
        return None if found.task_state else str(found.status)

    def active(self, server: str) -> None:
        self.until(lambda: self.state(server) == "ACTIVE", f"server {server} did not become ACTIVE")

    def host(self, server: str) -> str:
        return str(self.compute.get_server(server).compute_host or "")

    def running_on(self, server: str) -> list[str]:
        """Name the hosts on which libvirt itself has a running guest of the server."""
        return [
            name
            for name in self.cloud.plan.names
            if self.cloud.machines.look(name).powered
            and server in self.run_on(name, "virsh", "list", "--uuid", "--state-running").split()
        ]

    def run_on(self, host: str, *argv: str) -> str:
        done = subprocess.run(
            self.cloud.exec_argv(host, argv), capture_output=True, text=True, check=True, timeout=LIMIT_S
        )
        return done.stdout

    def kill_controller(self) -> None:
        process = processes.running(self.cloud.home.pid_file("controller"))
        assert process is not None
        process.kill()

    def mend(self) -> None:
        self.cloud.up(TELLER)

    def migrations(self, server: str) -> list[str]:
        found = self.compute.get("/os-migrations", params={"instance_uuid": server}, microversion="2.23").json()
        return [each["status"] for each in found["migrations"]]

    def evacuate(self, server: str) -> None:
        sdk.raise_from_response(
            self.compute.post(f"/servers/{server}/action", json={"evacuate": {}}, microversion="2.94")
        )

    def console(self, server: str) -> str:
        return str((self.compute.get_server_console_output(server) or {}).get("output") or "")

    def boots(self, server: str, number: int) -> None:
        self.until(lambda: f" boots={number} " in self.console(server), f"boot {number} of the disk was not seen")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Lab]:
    home = Home(tmp_path_factory.mktemp("survival"))
    copytree(guest_image_path.parent, home.guest_image, dirs_exist_ok=True)
    api_port, agents_port = free_ports(2)
    plan = blueprint.Blueprint(simulated=False, hosts=3, api_port=api_port, agents_port=agents_port)
    cloud = LabCloud(home, plan)
    try:
        cloud.up(TELLER)
        yield Lab(cloud)
    finally:
        cloud.down(TELLER)


POINTS: dict[str, Callable[[Lab, str], bool]] = {
    "when it was accepted": lambda _lab, _server: True,
    "when the destination was claimed": lambda lab, server: "pre-migrating" in lab.migrations(server),
    "when the guest came up": lambda lab, server: bool(lab.running_on(server)),
}


def test_an_evacuation_ends_although_its_controller_is_killed(lab: Lab) -> None:
    server = lab.create("survivor")
    lab.active(server)
    lab.boots(server, 1)
    for number, (when, reached) in enumerate(POINTS.items(), start=2):
        source = lab.host(server)
        lab.cloud.kill(source)
        lab.until(lambda: next(lab.compute.services(host=source)).state == "down", f"{source} is not seen down")  # noqa: B023
        lab.evacuate(server)
        lab.until(lambda: reached(lab, server), f"the evacuation was not seen {when}")  # noqa: B023
        lab.kill_controller()
        lab.mend()  # starts the controller again, and the dead host, which must clean up first
        lab.active(server)
        assert lab.host(server) != source, when
        assert lab.running_on(server) == [lab.host(server)], when
        lab.boots(server, number)  # on the disk it had
        lab.until(lambda: lab.migrations(server)[:1] == ["completed"], f"not completed, killed {when}")
    lab.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


def test_a_server_is_created_although_its_agent_is_killed_meanwhile(lab: Lab) -> None:
    server = lab.create("orphan")
    lab.until(lambda: bool(lab.host(server)), "no host was claimed")
    host = lab.host(server)
    agent = processes.running(lab.cloud.home.pid_file(f"agent-{host}"))
    assert agent is not None
    agent.kill()
    lab.mend()
    lab.active(server)
    assert lab.running_on(server) == [lab.host(server)]
    lab.compute.delete_server(server)


def test_a_guest_that_is_killed_makes_its_server_shut_off_and_it_starts_again(lab: Lab) -> None:
    server = lab.create("killed")
    lab.active(server)
    host = lab.host(server)
    pid = lab.run_on(host, "pgrep", "-f", f"guest=.*{server}|uuid {server}").split()[0]
    lab.run_on(host, "kill", "-9", pid)
    lab.until(lambda: lab.state(server) == "SHUTOFF", "the server does not follow its guest")
    lab.compute.start_server(server)
    lab.active(server)
    assert lab.running_on(server) == [host]
    lab.compute.delete_server(server)


def test_guests_outlive_agent_and_libvirtd(lab: Lab) -> None:
    server = lab.create("outlives")
    lab.active(server)
    host = lab.host(server)
    agent = processes.running(lab.cloud.home.pid_file(f"agent-{host}"))
    assert agent is not None
    agent.kill()
    lab.run_on(host, "sh", "-c", "kill -9 $(cat /run/libvirt/libvirtd.pid)")
    lab.mend()
    assert lab.running_on(server) == [host]
    lab.compute.reboot_server(server, "HARD")
    lab.active(server)
    assert lab.running_on(server) == [host]
    lab.compute.delete_server(server)
