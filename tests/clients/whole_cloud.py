"""A whole cloud for clients: a controller and three simulated hosts in processes of their own, and what is true there.

What commands did is never taken from their own word: the state is read here, by plain requests of an administrator.
"""

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from renova.lab import access, blueprint, furniture
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import two_in_a_row
from renova.lab.processes import wait_until
from renova.lab.progress import Teller

HOSTS = ("host1", "host2", "host3")
NEWEST = "2.104"
LIMIT_S = 120.0  # for whatever the cloud does by itself; it takes a second or two


class WholeCloud:
    """The cloud, looked at and hurt from outside."""

    def __init__(self, lab: LabCloud) -> None:
        self.lab = lab
        self.url = lab.plan.api_url
        self.admin = access.connect(lab.home, access.ADMIN)
        self.demo = access.connect(lab.home, access.DEMO)
        self.environments = {"admin": _sourced(lab.home.openrc), "demo": _sourced(lab.home.demo_openrc)}
        self.network = self.admin.network.find_network(furniture.NETWORK).id
        self.images = {name: self.admin.image.find_image(name).id for name in furniture.IMAGES}

    def get(self, path: str, version: str = NEWEST) -> Any:
        """Return what the Compute API says at this path; None where there is nothing."""
        answer = self.admin.compute.get(path, microversion=version)
        assert answer.status_code in (200, 404), f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.status_code == 200 else None

    def servers(self, **filters: str) -> list[dict[str, Any]]:
        """List the servers of all projects."""
        query = "&".join(f"{name}={value}" for name, value in ({"all_tenants": "1"} | filters).items())
        found: list[dict[str, Any]] = self.get(f"/servers/detail?{query}")["servers"]
        return found

    def server(self, name: str) -> dict[str, Any]:
        """Return the only server of this name, as an administrator sees it."""
        (found,) = (server for server in self.servers() if server["name"] == name)
        return found

    def gone(self, server: str) -> bool:
        return self.get(f"/servers/{server}") is None

    def settled(self, name: str, status: str = "ACTIVE") -> dict[str, Any]:
        """Wait until nothing more is done to the server and it has this status; return it."""

        def there() -> bool:
            server = self.server(name)
            wrong = server["status"] == "ERROR" != status
            assert not wrong, f"{name} went into ERROR: {server.get('fault')}"
            return bool(server["status"] == status and server["OS-EXT-STS:task_state"] is None)

        self.wait(there, f"{name} is not {status}: {self.server(name)}")
        return self.server(name)

    def service(self, host: str) -> dict[str, Any]:
        """Return the host's compute service."""
        (found,) = self.get(f"/os-services?host={host}")["services"]
        return dict(found)

    def migrations(self, server: str) -> list[dict[str, Any]]:
        """List the server's migrations, newest first."""
        return list(self.get(f"/os-migrations?instance_uuid={server}")["migrations"])

    def actions(self, server: str) -> list[str]:
        """List what was done to the server, oldest first."""
        found = self.get(f"/servers/{server}/os-instance-actions")["instanceActions"]
        return [action["action"] for action in reversed(found)]

    def boots(self, server: str) -> list[int]:
        """Return which boot of its disk each start of the guest was, as its console tells."""
        answer = self.admin.compute.post(f"/servers/{server}/action", json={"os-getConsoleOutput": {}})
        assert answer.status_code == 200, answer.text
        return [int(line.rpartition("boots=")[2]) for line in answer.json()["output"].splitlines()]

    def booted(self, server: str, boots: list[int]) -> None:
        """Wait until the guest has started these times, and each time booted from the disk it had then."""
        self.wait(lambda: self.boots(server) == boots, f"the console does not tell of the boots {boots}")

    def allocations(self, server: str) -> dict[str, dict[str, int]]:
        """Return what the server holds of each host, by the Placement API."""
        found = self.admin.placement.get(f"/allocations/{server}").json()["allocations"]
        names = {provider.id: provider.name for provider in self.admin.placement.resource_providers()}
        return {names[provider]: held["resources"] for provider, held in found.items()}

    def ports(self, server: str) -> list[Any]:
        """List the server's ports, by the network service."""
        return list(self.admin.network.ports(device_id=server))

    def clear(self) -> None:
        """Have no servers left."""
        for server in self.servers():
            self.admin.compute.delete_server(server["id"])
        self.wait(lambda: not self.servers(), "servers are not deleted")

    def kill(self, host: str) -> None:
        """Cut the host's power, and wait until it is proven dead; that it is down is shown a little before."""
        self.lab.kill(host)
        self.wait(lambda: self._standing(host) == "dead", f"{host} is not proven dead")

    def _standing(self, host: str) -> str:
        answer = self.admin.session.get(f"{self.url}/renova/v1/hosts/{host}")
        return str(answer.json()["host"]["standing"])

    def revive(self) -> None:
        """Have all hosts on, plugged, and up again."""
        for host in HOSTS:
            self.lab.heal(host)
            self.lab.start(host)
        for host in HOSTS:
            self.wait(partial(self._unforced, host), f"{host} stays forced down")
            self.wait(lambda host=host: self.service(host)["state"] == "up", f"{host} does not come up")  # type: ignore[misc]

    def _unforced(self, host: str) -> bool:
        """Take back that the host was forced down; refused until it has paid its debts."""
        service = self.service(host)
        if not service["forced_down"]:
            return True
        path, body = f"/os-services/{service['id']}", {"forced_down": False}
        return bool(self.admin.compute.put(path, json=body, microversion=NEWEST).status_code == 200)

    def wait(self, true: Callable[[], bool], problem: str) -> None:
        wait_until(true, LIMIT_S, problem, pause=0.05)


@contextmanager
def running(home: Path, *, local_disks: bool = False) -> Iterator[WholeCloud]:
    """Run a cloud in this directory; at the end everything is stopped, by its pid files, whatever happened."""
    plan = blueprint.plan(None, simulated=True, hosts=len(HOSTS), api_port=two_in_a_row(), local_disks=local_disks)
    lab = LabCloud(Home(home), plan)
    silent = Teller(Console(file=io.StringIO()))
    try:
        lab.up(silent)
        yield WholeCloud(lab)
    finally:
        lab.down(silent)


def _sourced(openrc: Path) -> dict[str, str]:
    """Return the environment of a shell that has sourced this file."""
    shell = subprocess.run(
        ["bash", "-c", '. "$0"; env -0', openrc], env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
