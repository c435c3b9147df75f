"""Two controllers on PostgreSQL behind a load balancer, with simulated hosts.

Everything but the hosts is as it is anywhere: processes, a primary with a synchronous standby, HAProxy.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from rich.console import Console

from renova.lab.blueprint import plan
from renova.lab.chaos.client import Away, Client
from renova.lab.chaos.users import Supplies, supplies
from renova.lab.cloud import LabCloud
from renova.lab.controller import LabController
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.postgresql import installed
from renova.lab.processes import wait_until
from renova.lab.progress import Teller

LIMIT_S = 90.0
TAKEN_IN_S = 3.0  # the load balancer's check, its limit, and the next
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHwNBxhFxxhbYmXlYGQpYcSRoHmQ5BpQB+yvSjkcR0Pb somebody"

needs_their_parts = pytest.mark.skipif(
    not installed() or which("haproxy") is None,
    reason="PostgreSQL and HAProxy are not installed: script/bootstrap --dev, as root, installs them",
)


class Cloud:
    """The cloud, and what its users ask of it."""

    def __init__(self, lab: LabCloud) -> None:
        self.lab = lab
        self._clients: list[Client] = []
        self.client = self.client_of(lab.plan.api_url)
        self.supplies: Supplies = supplies(self.client)

    def client_of(self, url: str) -> Client:
        client = Client(self.lab.home, url, timeout=LIMIT_S)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def controllers(self) -> list[LabController]:
        return self.lab.control.controllers

    def kill(self, controller: LabController) -> None:
        process = controller.process
        assert process is not None
        process.kill()

    def mend(self) -> None:
        self.lab.control.up()

    def taken_in(self) -> None:
        """Give the load balancer time for the checks by which it takes a controller that is healthy again."""
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + TAKEN_IN_S, 2 * TAKEN_IN_S, "time stands still")

    def create(self, name: str, client: Client | None = None) -> str:
        body = {
            "server": {
                "name": name,
                "flavorRef": self.supplies.flavor,
                "imageRef": self.supplies.images[0],
                "networks": [{"uuid": self.supplies.network}],
            }
        }
        answer = (client or self.client).compute("POST", "/servers", body)
        assert answer.status == HTTPStatus.ACCEPTED, answer.reason
        return str(answer.body["server"]["id"])

    def named(self, name: str) -> list[Any]:
        found: list[Any] = self.client.compute("GET", f"/servers/detail?name=^{name}$").body["servers"]
        return found

    def active(self, server: str) -> None:
        def is_active() -> bool:
            try:
                return bool(self.client.compute("GET", f"/servers/{server}").body["server"]["status"] == "ACTIVE")
            except Away:
                return False

        wait_until(is_active, LIMIT_S, f"server {server} did not become ACTIVE", pause=0.1)

    def answers(self) -> bool:
        try:
            return self.client.compute("GET", "/servers").accepted
        except Away:
            return False

    def back(self) -> None:
        wait_until(self.answers, LIMIT_S, "the API does not answer again", pause=0.1)


@contextmanager
def running(place: Path) -> Iterator[Cloud]:
    """Run the cloud in this directory."""
    home = Home(place)
    [port] = free_ports(1)
    lab = LabCloud(home, plan(None, simulated=True, hosts=2, api_port=port, controllers=2))
    teller = Teller(Console())
    try:
        lab.up(teller)
        cloud = Cloud(lab)
        yield cloud
        cloud.close()
    finally:
        lab.down(teller)
