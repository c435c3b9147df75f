"""The life of two servers, told on a running cloud: created, rebooted, rebuilt, and moved off a host that lost power.

Everything is asked for through the public API, as an ordinary user and, where it takes one, as an administrator; only
power is the lab's. Every line says what was then seen to be so, and how long that took.
"""

import re
from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from renova.lab import access, furniture
from renova.lab.cloud import LabCloud
from renova.lab.processes import wait_until
from renova.lab.progress import Teller
from renova.model.errors import CloudError, Refused

_FIRST, _REBUILT, _SECOND = "story-first", "story-rebuilt", "story-second"
_LIMIT_S = 120.0  # for any one line; a busy machine that emulates its guests is slow
_ASK_EVERY_S = 0.1
_READY = re.compile(r"GUEST-READY \S+ boots=(\d+)(?: .*?image=(\S+))?")
# From 2.95 on an evacuated server stays off until somebody starts it.
_EVACUATE_AND_START = "2.94"


class Story:
    """One telling. Raises Refused, or what was in the way, with the first line that does not come true."""

    def __init__(self, cloud: LabCloud, teller: Teller) -> None:
        self._cloud = cloud
        self._teller = teller
        self._admin = access.connect(cloud.home, access.ADMIN)
        self._demo = access.connect(cloud.home, access.DEMO)

    def tell(self) -> None:
        """Tell it from beginning to end. What an earlier telling left is removed first."""
        try:
            self._clear()
            self._hosts_are_up()
            first = self._create(_FIRST)
            self._boots(first, 1, furniture.IMAGES[0], "its guest boots")
            self._reboots(first)
            self._is_rebuilt(first)
            second = self._create(_SECOND)
            self._boots(second, 1, furniture.IMAGES[0], "its guest boots")
            if self._cloud.plan.hosts == 1:
                self._teller.line("the story ends here: an evacuation takes a second host")
                return
            lost = self._loses_its_host(first)
            self._is_evacuated(first, lost)
            self._others_follow(second, lost)
            self._host_returns(first, lost)
        except CloudError as error:
            raise Refused(f"{error}. The logs are in {self._cloud.home.logs}") from error
        except (sdk.SDKException, keystone.ClientException) as error:
            raise Refused(f"the API refused: {error}. The logs are in {self._cloud.home.logs}") from error

    # --- the lines ---

    def _clear(self) -> None:
        old = [server for server in self._demo.compute.servers(details=False) if server.name.startswith("story-")]
        if not old:
            return
        with self._teller.stage("removing the servers of an earlier story") as stage:
            for server in old:
                self._demo.compute.delete_server(server)
            self._wait("servers are not deleted", lambda: all(self._find(server.id) is None for server in old))
            stage.done(f"{len(old)} servers of an earlier story are deleted")

    def _hosts_are_up(self) -> None:
        with self._teller.stage("hosts") as stage:
            hosts = set(self._cloud.plan.names)

            def all_up() -> bool:
                services = self._admin.compute.services(binary="nova-compute")
                return hosts <= {service.host for service in services if service.state == "up"}

            self._wait("not all hosts are up", all_up)
            stage.done(f"{len(hosts)} compute services are up")

    def _create(self, name: str) -> str:
        with self._teller.stage(f"creating server {name}") as stage:
            flavor = self._demo.compute.find_flavor("m1.tiny", ignore_missing=False)
            image = self._demo.image.find_image(furniture.IMAGES[0], ignore_missing=False)
            network = self._demo.network.find_network(furniture.NETWORK, ignore_missing=False)
            server: str = self._demo.compute.create_server(
                name=name,
                flavor_id=flavor.id,
                image_id=image.id,
                networks=[{"uuid": network.id}],
                key_name=furniture.KEY,
            ).id
            self._becomes_active(server)
            where = f"{self._host(server)}, {self._address(server)}"
            stage.done(
                f"server {name} is ACTIVE on {where}: {flavor.name}, {image.name}, {network.name}, {furniture.KEY}"
            )
        return server

    def _boots(self, server: str, boots: int, image: str, text: str) -> None:
        with self._teller.stage(text) as stage:
            line = self._wait_console(server, boots, image)
            stage.done(f"{text}: {line}")

    def _reboots(self, server: str) -> None:
        for boots, (kind, word) in enumerate((("SOFT", "soft reboot"), ("HARD", "hard reboot")), start=2):
            with self._teller.stage(word) as stage:
                self._demo.compute.reboot_server(server, kind)
                self._becomes_active(server)
                line = self._wait_console(server, boots, furniture.IMAGES[0])
                stage.done(f"{word}, same disk: {line}")

    def _is_rebuilt(self, server: str) -> None:
        with self._teller.stage("rebuilding with another image and name") as stage:
            image = self._demo.image.find_image(furniture.IMAGES[1], ignore_missing=False)
            address = self._address(server)
            self._demo.compute.rebuild_server(server, image, name=_REBUILT)
            self._becomes_active(server)
            found = self._get(server)
            _expect(found.name == _REBUILT, f"the rebuilt server is named {found.name}, not {_REBUILT}")
            _expect(found.image.id == image.id, "the rebuilt server has its old image")
            _expect(self._address(server) == address, "the rebuilt server has another address")
            line = self._wait_console(server, 1, image.name)
            stage.done(f"rebuilt as {_REBUILT} with {image.name}, new disk, same address: {line}")

    def _loses_its_host(self, server: str) -> str:
        host = self._host(server)
        with self._teller.stage(f"cutting the power of {host}") as stage:
            self._cloud.kill(host)
            stage.done(f"power cut of {host}, where {_REBUILT} runs")
        with self._teller.stage(f"waiting until {host} is seen down") as stage:
            self._wait(f"{host} is still up", lambda: self._service(host).state == "down")
            stage.done(f"{host} is seen down")
        return host

    def _is_evacuated(self, server: str, lost: str) -> None:
        address = self._address(server)
        with self._teller.stage(f"evacuating {_REBUILT}") as stage:
            self._evacuate(server)
            self._becomes_active(server)
            target = self._host(server)
            _expect(target != lost, f"the evacuated server is still on {lost}")
            _expect(self._address(server) == address, "the evacuated server has another address")
            stage.done(f"{_REBUILT} is evacuated: ACTIVE on {target}, still {address}")
        self._boots(server, 2, furniture.IMAGES[1], "its guest boots from the disk it had")
        with self._teller.stage(f"pinging {address}") as stage:
            answered = self._cloud.machines.ping(address)
            if answered is None:
                stage.done("no ping: simulated networks carry nothing, its console is what there is to see")
                return
            self._wait(f"{address} does not answer ping", lambda: bool(self._cloud.machines.ping(address)))
            stage.done(f"{address} answers ping")

    def _others_follow(self, server: str, lost: str) -> None:
        """Move the second server too, should it have been on the lost host: nothing of the story is left behind."""
        if self._host(server) == lost:
            with self._teller.stage(f"evacuating {_SECOND}") as stage:
                self._evacuate(server)
                self._becomes_active(server)
                stage.done(f"{_SECOND} was there too, and is ACTIVE on {self._host(server)}")

    def _host_returns(self, server: str, lost: str) -> None:
        with self._teller.stage(f"starting {lost} again") as stage:
            self._cloud.start(lost)
            self._wait(f"{lost} does not come up", lambda: self._service(lost).state == "up")
            stage.done(f"{lost} is on and up again")
        with self._teller.stage(f"waiting until {lost} is clean") as stage:
            self._wait("the migration is not completed", lambda: self._migration(server).status == "completed")
            self._wait(f"{lost} still holds an allocation", lambda: server not in self._allocations(lost))
            target = self._host(server)
            _expect(server in self._allocations(target), f"{target} holds no allocation for the server")
            _expect(self._get(server).status == "ACTIVE", "the server did not stay ACTIVE")
            stage.done(f"leftovers on {lost} are gone: migration completed, its allocation released")

    # --- what is asked and seen ---

    def _find(self, server: str) -> Any:
        try:
            return self._admin.compute.get_server(server)
        except sdk.NotFoundException:
            return None

    def _get(self, server: str) -> Any:
        found = self._find(server)
        _expect(found is not None, f"server {server} is gone")
        return found

    def _host(self, server: str) -> str:
        return str(self._get(server).compute_host)

    def _address(self, server: str) -> str:
        addresses = [entry["addr"] for entries in self._get(server).addresses.values() for entry in entries]
        _expect(len(addresses) == 1, f"the server has the addresses {addresses}, not one")
        return str(addresses[0])

    def _becomes_active(self, server: str) -> None:
        """Wait until the server is ACTIVE with nothing more to be done; an ERROR ends the story with its reason."""

        def active() -> bool:
            found = self._get(server)
            if found.status == "ERROR" and found.task_state is None:
                fault = (found.fault or {}).get("message", "no reason is given")
                raise Refused(f"server {found.name} went into ERROR: {fault}")
            return bool(found.status == "ACTIVE" and found.task_state is None)

        self._wait("the server did not become ACTIVE", active)

    def _wait_console(self, server: str, boots: int, image: str) -> str:
        """Wait until the console's last boot is number `boots` of the disk; return what it says of it."""

        def ready() -> bool:
            return self._last_boot(server)[:1] == [boots]

        self._wait(f"the console does not tell of boot {boots} of the server's disk", ready)
        _, label, line = self._last_boot(server)
        # Simulated guests know nothing of what is in their image.
        _expect(label in (image, None), f"the guest runs image {label}, not {image}")
        return str(line)

    def _last_boot(self, server: str) -> list[Any]:
        console = self._demo.compute.get_server_console_output(server, length=100) or {}
        found = list(_READY.finditer(console.get("output") or ""))
        return [int(found[-1][1]), found[-1][2], found[-1][0]] if found else []

    def _evacuate(self, server: str) -> None:
        url = f"/servers/{server}/action"
        answer = self._admin.compute.post(url, json={"evacuate": {}}, microversion=_EVACUATE_AND_START)
        sdk.raise_from_response(answer)

    def _service(self, host: str) -> Any:
        for service in self._admin.compute.services(binary="nova-compute", host=host):
            return service
        raise Refused(f"there is no compute service of {host}")

    def _migration(self, server: str) -> Any:
        found = [each for each in self._admin.compute.migrations() if each.server_id == server]
        _expect(len(found) == 1, f"the server has {len(found)} migrations, not one")
        return found[0]

    def _allocations(self, host: str) -> set[str]:
        """Return who holds something of the host."""
        (provider,) = self._admin.placement.resource_providers(name=host)
        answer = self._admin.placement.get(f"/resource_providers/{provider.id}/allocations")
        sdk.raise_from_response(answer)
        return set(answer.json()["allocations"])

    def _wait(self, problem: str, true: Callable[[], bool]) -> None:
        wait_until(true, _LIMIT_S, problem, pause=_ASK_EVERY_S)


def _expect(true: bool, problem: str) -> None:
    if not true:
        raise Refused(problem)
