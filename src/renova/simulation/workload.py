"""What users and operators of a simulated cloud ask for, drawn from the seed, and what they were promised.

A handful of users keep some twenty servers, and always have something under way; an operator looks after hosts. They
speak HTTP to whichever controller answers (`asking`). What was accepted is a promise: `workload.promises` is what must
have come to its end once the cloud is calm.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from renova.model.clock import Clock
from renova.simulation.asking import Asking, Known, Promise
from renova.simulation.front import COMPUTE, Front
from renova.simulation.history import History
from renova.simulation.maintainer import Maintainer
from renova.simulation.operator import Hosts, Operator
from renova.simulation.surroundings import ADMIN, DEMO, Users

CONTENT = b"renova" * 1000
IMAGES = ("70a599e0-31e7-49b7-b260-868f441e862b", "155d900f-4e14-4e4c-a73d-069cbf4541e6")
MOST_VOLUMES, MOST_GROUPS = 8, 3


# How often each is asked for, of a thousand; what a server's state does not allow is asked for now and then, too.
SERVER_WORK: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "stop": (90, ("active",)),
    "start": (90, ("stopped",)),
    "reboot_soft": (50, ("active",)),
    "reboot_hard": (70, ("active", "stopped", "paused", "suspended")),
    "rebuild": (50, ("active", "stopped")),
    "pause": (40, ("active",)),
    "unpause": (60, ("paused",)),
    "suspend": (40, ("active",)),
    "resume": (60, ("suspended",)),
    "attach_volume": (70, ("active", "stopped")),
    "detach_volume": (60, ("active", "stopped")),
    "attach_interface": (30, ("active", "stopped")),
    "detach_interface": (30, ("active", "stopped")),
    "create_image": (30, ("active", "stopped")),
    "delete": (60, ("active", "stopped", "paused", "suspended")),
}
OUT_OF_TURN = 0.06  # the share of requests that do not ask what state the server is in


class Workload:
    """Users and an operator at work, until `stop`."""

    def __init__(
        self,
        front: Front,
        clock: Clock,
        history: History,
        hosts: Hosts,
        *,
        seed: int,
        servers: int,
        pause_s: float,
        maintained: bool = False,
    ) -> None:
        self._asking = Asking(front, history)
        self._clock = clock
        self._history = history
        self._random = random.Random(seed ^ 0x5EED)  # noqa: S311  (no secret)
        self._wanted = servers
        self._pause_s = pause_s
        self._stopping = False
        self._flavors: list[str] = []
        self._network = ""
        self.operator = Operator(self._asking, clock, hosts, self._random, pause_s)
        # By chances of its own: so the others ask for the same with it and without.
        chance = random.Random(seed ^ 0xD8A1)  # noqa: S311  (no secret)
        self._maintainer = Maintainer(self._asking, clock, hosts, chance, pause_s) if maintained else None
        self.known = self._asking.known
        self.volumes: list[str] = []
        self.groups: list[str] = []
        self.promises = self._asking.promises
        self.asked = self._asking.asked

    # --- before ---

    async def prepare(self) -> None:
        """Have flavors, a network, and no quota in the way."""
        project = Users().callers[DEMO].project
        quota = dict.fromkeys(("instances", "cores", "ram", "server_groups", "server_group_members"), -1)
        await self._asking.must(ADMIN, "PUT", f"{COMPUTE}/os-quota-sets/{project}", {"quota_set": quota})
        for name, more in (("1", {}), ("2", {"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64}), ("3", {})):
            flavor = {
                "name": f"flavor{name}",
                "id": name,
                "ram": 128,
                "vcpus": 1,
                "disk": 0 if name == "3" else 1,
                **more,
            }
            await self._asking.must(ADMIN, "POST", f"{COMPUTE}/flavors", {"flavor": flavor})
        self._flavors = ["1", "1", "2"]
        network = {"name": "private", "shared": True}
        made = await self._asking.must(ADMIN, "POST", "/network/v2.0/networks", {"network": network})
        self._network = made.json()["network"]["id"]
        subnet = {"network_id": self._network, "cidr": "10.0.0.0/22", "ip_version": 4}
        await self._asking.must(ADMIN, "POST", "/network/v2.0/subnets", {"subnet": subnet})

    # --- meanwhile ---

    async def run(self, users: int) -> None:
        """Ask, in the name of so many users and an operator, until told to stop."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, users + 1):
                group.create_task(self._user(), name=f"user{number}")
            group.create_task(self.operator.run(), name="operator")
            if self._maintainer is not None:
                group.create_task(self._maintainer.run(), name="maintainer")

    def stop(self) -> None:
        self._stopping = True
        self.operator.stop()
        if self._maintainer is not None:
            self._maintainer.stop()

    async def _user(self) -> None:
        while not self._stopping:
            await self._clock.sleep(self._random.uniform(0.2, 2.0) * self._pause_s)
            if not self._stopping:
                await self._do_something()

    async def _do_something(self) -> None:
        chance = self._random.random()
        if len(self.known) < self._wanted or chance < 0.03:
            await self._create()
        elif chance < 0.12:
            await self._change_volumes()
        elif chance < 0.15:
            await self._change_groups()
        else:
            await self._change_server()

    async def _create(self) -> None:
        name = self._asking.name("vm")
        server: dict[str, Any] = {
            "name": name,
            "flavorRef": self._random.choice(self._flavors),
            "networks": [{"uuid": self._network}],
            "imageRef": self._random.choice(IMAGES),
        }
        if self._random.random() < 0.15:
            del server["imageRef"]
            server["flavorRef"] = "3"
            server["block_device_mapping_v2"] = [
                {
                    "boot_index": 0,
                    "uuid": IMAGES[0],
                    "source_type": "image",
                    "destination_type": "volume",
                    "volume_size": 1,
                    "delete_on_termination": True,
                }
            ]
        body: dict[str, Any] = {"server": server}
        if self.groups and self._random.random() < 0.2:
            body["os:scheduler_hints"] = {"group": self._random.choice(self.groups)}
        reply = await self._asking.ask(DEMO, "POST", f"{COMPUTE}/servers", body, what="create", about=name)
        if reply.accepted:
            made = reply.json()["server"]["id"]
            self._history.call(made, name)
            self.known[made] = Known(made)
            self.promises.append(Promise(made, "create", reply.request))

    async def _change_server(self) -> None:
        server = self._random.choice(list(self.known.values()))
        any_state = self._random.random() < OUT_OF_TURN
        fitting = {
            name: weight for name, (weight, states) in SERVER_WORK.items() if any_state or server.state in states
        }
        what = self._random.choices(list(fitting), list(fitting.values()))[0]
        await getattr(self, f"_{what}")(server)

    async def _stop(self, server: Known) -> None:
        await self._asking.act(server, "stop", {"os-stop": None}, "stopped")

    async def _start(self, server: Known) -> None:
        await self._asking.act(server, "start", {"os-start": None}, "active")

    async def _reboot_soft(self, server: Known) -> None:
        await self._asking.act(server, "reboot_soft", {"reboot": {"type": "SOFT"}}, "active")

    async def _reboot_hard(self, server: Known) -> None:
        await self._asking.act(server, "reboot_hard", {"reboot": {"type": "HARD"}}, "active")

    async def _rebuild(self, server: Known) -> None:
        await self._asking.act(server, "rebuild", {"rebuild": {"imageRef": self._random.choice(IMAGES)}})

    async def _pause(self, server: Known) -> None:
        await self._asking.act(server, "pause", {"pause": None}, "paused")

    async def _unpause(self, server: Known) -> None:
        await self._asking.act(server, "unpause", {"unpause": None}, "active")

    async def _suspend(self, server: Known) -> None:
        await self._asking.act(server, "suspend", {"suspend": None}, "suspended")

    async def _resume(self, server: Known) -> None:
        await self._asking.act(server, "resume", {"resume": None}, "active")

    async def _create_image(self, server: Known) -> None:
        if self._random.random() < 0.4:
            backup = {"name": "nightly", "backup_type": "daily", "rotation": 1}
            await self._asking.act(server, "create_backup", {"createBackup": backup})
        else:
            await self._asking.act(server, "create_image", {"createImage": {"name": "picture"}})

    async def _delete(self, server: Known) -> None:
        reply = await self._asking.ask(DEMO, "DELETE", f"{COMPUTE}/servers/{server.id}", what="delete", about=server.id)
        self._asking.promised(server, "delete", reply)
        if reply.accepted:
            self.known.pop(server.id, None)
            self.volumes += [volume for volume in server.volumes if volume not in self.volumes]

    async def _attach_volume(self, server: Known) -> None:
        if not self.volumes:
            return
        volume = self._random.choice(self.volumes)
        path = f"{COMPUTE}/servers/{server.id}/os-volume_attachments"
        body = {"volumeAttachment": {"volumeId": volume}}
        reply = await self._asking.ask(DEMO, "POST", path, body, what="attach_volume", about=server.id)
        self._asking.promised(server, "attach_volume", reply)
        if reply.accepted:
            server.volumes.append(volume)

    async def _detach_volume(self, server: Known) -> None:
        if not server.volumes:
            return
        volume = server.volumes.pop(self._random.randrange(len(server.volumes)))
        path = f"{COMPUTE}/servers/{server.id}/os-volume_attachments/{volume}"
        self._asking.promised(
            server, "detach_volume", await self._asking.ask(DEMO, "DELETE", path, what="detach_volume", about=server.id)
        )

    async def _attach_interface(self, server: Known) -> None:
        if server.nics >= 3:
            return
        path = f"{COMPUTE}/servers/{server.id}/os-interface"
        body = {"interfaceAttachment": {"net_id": self._network}}
        reply = await self._asking.ask(DEMO, "POST", path, body, what="attach_interface", about=server.id)
        self._asking.promised(server, "attach_interface", reply)
        server.nics += reply.accepted

    async def _detach_interface(self, server: Known) -> None:
        path = f"{COMPUTE}/servers/{server.id}/os-interface"
        listed = await self._asking.ask(DEMO, "GET", path, what="list_interfaces", about=server.id)
        ports = [each["port_id"] for each in listed.json()["interfaceAttachments"]] if listed.accepted else []
        if len(ports) < 2:
            return
        gone = self._random.choice(ports)
        reply = await self._asking.ask(DEMO, "DELETE", f"{path}/{gone}", what="detach_interface", about=server.id)
        self._asking.promised(server, "detach_interface", reply)
        server.nics -= reply.accepted

    async def _change_volumes(self) -> None:
        project = Users().callers[DEMO].project
        path = f"/volume/v3/{project}/volumes"
        if len(self.volumes) < MOST_VOLUMES and self._random.random() < 0.7:
            reply = await self._asking.ask(DEMO, "POST", path, {"volume": {"size": 1}}, what="create_volume")
            if reply.accepted:
                made = reply.json()["volume"]["id"]
                self._history.call(made, f"volume{len(self.asked) + self.asked['create_volume']}")
                self.volumes.append(made)
        elif self.volumes:
            volume = self._random.choice(self.volumes)
            reply = await self._asking.ask(DEMO, "DELETE", f"{path}/{volume}", what="delete_volume", about=volume)
            if reply.accepted or reply.status == 404:
                self.volumes = [each for each in self.volumes if each != volume]  # another user may have been faster

    async def _change_groups(self) -> None:
        path = f"{COMPUTE}/os-server-groups"
        if len(self.groups) < MOST_GROUPS:
            policy = self._random.choice(("soft-anti-affinity", "soft-affinity", "anti-affinity"))
            body = {"server_group": {"name": "group", "policy": policy}}
            reply = await self._asking.ask(DEMO, "POST", path, body, what="create_group")
            if reply.accepted:
                self.groups.append(reply.json()["server_group"]["id"])
        else:
            group = self._random.choice(self.groups)
            if (await self._asking.ask(DEMO, "DELETE", f"{path}/{group}", what="delete_group")).status in (204, 404):
                self.groups = [each for each in self.groups if each != group]  # another user may have been faster
