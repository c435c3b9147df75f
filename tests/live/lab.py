"""A cloud of real hosts for tests: what they ask of it, and what they see on the hosts and in the guests themselves."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import msgspec
from openstack import exceptions as sdk
from rich.console import Console

from renova.lab import access, blueprint, furniture
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.processes import wait_until
from renova.lab.progress import Teller
from renova.lab.rack import Rack

LIMIT_S = 120.0
BRIEF_S = 0.005  # between looks for what is soon over
TELLER = Teller(Console())

# Lets a test run commands in the guest from then on, over HTTP: the image's web server runs what it finds in cgi-bin.
SHELL = """#!/bin/sh
mkdir -p /var/www/cgi-bin
cat >/var/www/cgi-bin/sh <<'END'
#!/bin/sh
echo "Content-type: text/plain"
echo
sh -s 2>&1
echo "status $?"
END
chmod 755 /var/www/cgi-bin/sh
"""
_ASK = """
import sys, urllib.request
request = urllib.request.Request(f"http://{sys.argv[1]}/cgi-bin/sh", data=sys.argv[2].encode())
sys.stdout.write(urllib.request.urlopen(request, timeout=110).read().decode())
"""


@contextmanager
def running_lab(home: Path, guest_image: Path, *, local_disks: bool = False) -> Iterator["Lab"]:
    """Have a cloud of three hosts up, and down again."""
    lab_home = Home(home)
    copytree(guest_image.parent, lab_home.guest_image, dirs_exist_ok=True)
    api_port, agents_port = free_ports(2)
    plan = blueprint.Blueprint(
        simulated=False, hosts=3, api_port=api_port, agents_port=agents_port, local_disks=local_disks
    )
    cloud = LabCloud(lab_home, plan)
    try:
        cloud.up(TELLER)
        yield Lab(cloud)
    finally:
        cloud.down(TELLER)


class Lab:
    """A cloud of three real hosts, and what the tests ask and see of it."""

    def __init__(self, cloud: LabCloud) -> None:
        self.cloud = cloud
        self.admin = access.connect(cloud.home, access.ADMIN)
        self.compute = self.admin.compute

    def until(self, true: Callable[[], bool], what: str, pause: float = 0.2) -> None:
        """Ask every `pause` seconds: seldom, as who asks takes the time of those who are waited for."""
        wait_until(true, LIMIT_S, what, pause)

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
        process = self.cloud.control.controllers[0].process
        assert process is not None
        process.kill()

    def mend(self) -> None:
        self.cloud.up(TELLER)

    @contextmanager
    def recovering(self, **settings: float) -> Iterator[None]:
        """Have what fails come back by itself meanwhile: the controller starts anew with the settings, and without."""
        LabCloud(self.cloud.home, msgspec.structs.replace(self.cloud.plan, recovery=True, **settings)).up(TELLER)
        try:
            yield
        finally:
            self.mend()

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

    def in_guest(self, address: str, script: str) -> str:
        """Run the script in the guest with this address, which was given `SHELL`; return what it said."""
        # From the rack, where the tenants' gateway is.
        done = Rack(self.cloud.home).exec([sys.executable, "-c", _ASK, address, f"set -e\n{script}\n"], LIMIT_S)
        if done.returncode != 0:
            raise ConnectionError(done.stderr.strip().splitlines()[-1])
        said, _, status = done.stdout.rpartition("status ")
        assert status.strip() == "0", f"in the guest: {done.stdout}"
        return said.strip()

    def reachable(self, address: str) -> None:
        """Wait until the guest's shell answers."""

        def answers() -> bool:
            try:
                return self.in_guest(address, "echo here") == "here"
            except (ConnectionError, subprocess.TimeoutExpired):
                return False

        self.until(answers, f"the guest at {address} does not answer", pause=0.5)
