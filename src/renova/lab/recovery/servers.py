"""The servers of a campaign: gathered on one host, booted all at once, and heard on their consoles.

What a guest says on its console is read where QEMU writes it: it is there though no controller is.
"""

import base64
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openstack import exceptions as sdk

from renova.lab import access, furniture
from renova.lab.cloud import LabCloud
from renova.lab.processes import wait_until
from renova.model.errors import Refused

COUNT = 5
LIMIT_S = 300.0
_VERSION = "2.94"
_LONG, _SHORT = 65_536, 512  # bytes at the end of a console that tell of its last boot, and of its last second
_READY = re.compile(rb"GUEST-READY \S+ boots=(\d+) ")
_SECOND = re.compile(rb"GUEST-SECOND (\d+)\b")
_SAYING_SECONDS = """#!/bin/sh
rm -f /root/user_data.*  # so that this is run at each boot
while :; do
    echo "GUEST-SECOND $(cut -d. -f1 /proc/uptime)" >/dev/console
    sleep 1
done &
"""


class Servers:
    """`COUNT` servers of a cloud whose hosts share their disks. A new object takes those that were made before."""

    def __init__(self, cloud: LabCloud) -> None:
        self._cloud = cloud
        self._compute = access.connect(cloud.home, access.ADMIN).compute
        self.ids = {each.name: str(each.id) for each in self._compute.servers()}

    def make(self, host: str = "") -> None:
        """Have them, each of them up; those that are made come to this host, if one is named."""
        admin = access.connect(self._cloud.home, access.ADMIN)
        flavor = self._compute.find_flavor("m1.tiny", ignore_missing=False)
        image = admin.image.find_image(furniture.IMAGES[0], ignore_missing=False)
        network = admin.network.find_network(furniture.NETWORK, ignore_missing=False)
        for name in (f"server{nth}" for nth in range(1, COUNT + 1)):
            if name not in self.ids:
                made = self._compute.create_server(
                    name=name,
                    flavor_id=flavor.id,
                    image_id=image.id,
                    networks=[{"uuid": network.id}],
                    user_data=base64.b64encode(_SAYING_SECONDS.encode()).decode(),
                    **({"host": host} if host else {}),
                )
                self.ids[name] = str(made.id)
        self.until(lambda: all(self.boots().values()), "not every server has booted")
        self.become("ACTIVE")

    def gather(self, host: str) -> None:
        """Have them all on this host, off."""
        for server, found in self.seen().items():
            if found.status == "ACTIVE":
                self._act(server, {"os-stop": None})
        self.become("SHUTOFF")
        for server, found in self.seen().items():
            if found.compute_host != host:
                self._act(server, {"migrate": {"host": host}})
        self.until(lambda: self.hosts() == {host}, f"not all servers came to {host}")
        self.become("SHUTOFF")

    def boot_at_once(self) -> float:
        """Start them all; return the seconds until the last of them is up."""
        before, began = self.boots(), time.monotonic()
        for server in self.ids.values():
            self._act(server, {"os-start": None})
        self.booted_since(before)
        took = time.monotonic() - began
        self.become("ACTIVE")
        return took

    def boots(self) -> dict[str, int]:
        """Return the last boot that each guest told of: its disk counts them."""
        return {server: self._last(server, _READY, _LONG) for server in self.ids.values()}

    def seconds(self) -> dict[str, int]:
        """Return the last second since its boot that each guest told of."""
        return {server: self._last(server, _SECOND, _SHORT) for server in self.ids.values()}

    def booted_since(self, before: dict[str, int]) -> None:
        """Wait until each of these guests has booted once more, from the disk that it had."""

        def booted() -> bool:
            boots = self.boots()
            return all(boots[server] > number for server, number in before.items())

        self.until(booted, "not every server came up")

    def become(self, status: str) -> None:
        """Wait until each server is this, and nothing is being done to it."""

        def is_so() -> bool:
            seen = self.seen().values()
            for each in seen:
                if each.status == "ERROR" and each.task_state is None:
                    raise Refused(f"server {each.name} went into ERROR: {(each.fault or {}).get('message')}")
            return all(each.status == status and each.task_state is None for each in seen)

        self.until(is_so, f"not every server became {status}", pause=0.5)

    def hosts(self) -> set[str]:
        return {str(each.compute_host) for each in self.seen().values()}

    def on(self, host: str) -> dict[str, str]:
        """Return names and ids of those that live on the host."""
        seen = self.seen()
        return {name: server for name, server in self.ids.items() if seen[server].compute_host == host}

    def seen(self) -> dict[str, Any]:
        """Return the servers as the API shows them."""
        return {str(each.id): each for each in self._compute.servers() if str(each.id) in self.ids.values()}

    def until(self, true: Callable[[], bool], what: str, pause: float = 0.05) -> None:
        wait_until(true, LIMIT_S, what, pause)

    def _act(self, server: str, body: dict[str, Any]) -> None:
        sdk.raise_from_response(self._compute.post(f"/servers/{server}/action", json=body, microversion=_VERSION))

    def _last(self, server: str, line: re.Pattern[bytes], length: int) -> int:
        consoles = sorted((self._cloud.home.instances / server).glob("console.log.*"))  # one: none is rebuilt
        found = line.findall(_tail(consoles[-1], length)) if consoles else []
        return int(found[-1]) if found else 0


def _tail(file: Path, length: int) -> bytes:
    with file.open("rb") as console:
        console.seek(max(0, console.seek(0, os.SEEK_END) - length))
        return console.read()
