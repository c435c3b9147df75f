"""What users and operators of a simulated cloud ask for, drawn from the seed, and what they were promised.

A handful of users keep some twenty servers, and always have something under way; an operator looks after hosts. They
speak HTTP to whichever controller answers. A refusal that the APIs document (400, 403, 404, 409, 503 with
Retry-After) is fine; an answer of another 5xx is a fault. What was accepted is a promise: `workload.promises` is
what must have come to its end once the cloud is calm.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from renova.model.clock import Clock
from renova.model.ids import ImageId, ProjectId, UserId
from renova.model.image import Image
from renova.partners.identity import Caller
from renova.simulation.front import COMPUTE, Front, Reply
from renova.simulation.history import History
from renova.simulation.invariants import Violation

ADMIN, DEMO = "admin", "demo"
CONTENT = b"renova" * 1000
REFUSALS = (400, 403, 404, 409, 413, 429, 503)  # 413: Cinder's word for a quota that is used up
IMAGES = ("70a599e0-31e7-49b7-b260-868f441e862b", "155d900f-4e14-4e4c-a73d-069cbf4541e6")
MOST_VOLUMES, MOST_GROUPS = 8, 3


class Users:
    """An identity service that knows an administrator and a user by their names."""

    def __init__(self) -> None:
        self.callers = {
            name: Caller(
                user=UserId(hashlib.sha256(f"user {name}".encode()).hexdigest()[:32]),
                user_name=name,
                project=ProjectId(hashlib.sha256(b"project demo").hexdigest()[:32]),
                project_name=DEMO,
                roles=frozenset(roles),
                expires="2099-01-01T00:00:00Z",
            )
            for name, roles in ((ADMIN, ("admin", "manager", "member", "reader")), (DEMO, ("member", "reader")))
        }

    async def caller(self, token: str) -> Caller | None:
        return self.callers.get(token)

    async def project_exists(self, project: ProjectId) -> bool:
        return any(caller.project == project for caller in self.callers.values())


def an_image(image: str) -> Image:
    """Return an image that everybody may use, whose content is `CONTENT`."""
    return Image(
        id=ImageId(image),
        name=image[:8],
        status="active",
        owner=None,
        visibility="public",
        disk_format="raw",
        container_format="bare",
        size=len(CONTENT),
        virtual_size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        md5=None,
        min_disk=0,
        min_ram=0,
        protected=False,
        tags=(),
        properties={},
        created_at="",
        updated_at="",
    )


@dataclass(frozen=True)
class Promise:
    """A request that was accepted: its action on the server must come to an end."""

    server: str
    action: str
    request: str


@dataclass
class Known:
    """A server as its user remembers it."""

    id: str
    state: str = "active"  # as it should be by now: active, stopped, paused, suspended
    volumes: list[str] = field(default_factory=list)
    nics: int = 1


class Hosts(Protocol):
    """What an operator sees with his own eyes."""

    def names(self) -> list[str]: ...
    def is_off(self, name: str) -> bool: ...


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
        self, front: Front, clock: Clock, history: History, hosts: Hosts, *, seed: int, servers: int, pause_s: float
    ) -> None:
        self._front = front
        self._clock = clock
        self._history = history
        self._hosts = hosts
        self._random = random.Random(seed ^ 0x5EED)  # noqa: S311
        self._wanted = servers
        self._pause_s = pause_s
        self._stopping = False
        self._flavors: list[str] = []
        self._network = ""
        self._made = 0
        self._forced: set[str] = set()  # hosts that the operator has forced down
        self.known: dict[str, Known] = {}
        self.volumes: list[str] = []
        self.groups: list[str] = []
        self.images: list[str] = []
        self.promises: list[Promise] = []
        self.asked: dict[str, int] = {}  # how often each was accepted
        self.answers: dict[int, int] = {}

    # --- before ---

    async def prepare(self) -> None:
        """Have flavors, a network, and no quota in the way."""
        project = Users().callers[DEMO].project
        quota = dict.fromkeys(("instances", "cores", "ram", "server_groups", "server_group_members"), -1)
        await self._must(ADMIN, "PUT", f"{COMPUTE}/os-quota-sets/{project}", {"quota_set": quota})
        for name, more in (("1", {}), ("2", {"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64}), ("3", {})):
            flavor = {
                "name": f"flavor{name}",
                "id": name,
                "ram": 128,
                "vcpus": 1,
                "disk": 0 if name == "3" else 1,
                **more,
            }
            await self._must(ADMIN, "POST", f"{COMPUTE}/flavors", {"flavor": flavor})
        self._flavors = ["1", "1", "2"]
        network = {"name": "private", "shared": True}
        made = await self._must(ADMIN, "POST", "/network/v2.0/networks", {"network": network})
        self._network = made.json()["network"]["id"]
        subnet = {"network_id": self._network, "cidr": "10.0.0.0/22", "ip_version": 4}
        await self._must(ADMIN, "POST", "/network/v2.0/subnets", {"subnet": subnet})

    async def _must(self, who: str, method: str, path: str, body: Any) -> Reply:
        reply = await self._front.ask(who, method, path, body)
        if not reply.accepted:
            raise Violation("answers", f"{method} {path} is answered {reply.status} {reply.body.decode()}")
        return reply

    # --- meanwhile ---

    async def run(self, users: int) -> None:
        """Ask, in the name of so many users and an operator, until told to stop."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, users + 1):
                group.create_task(self._user(), name=f"user{number}")
            group.create_task(self._operator(), name="operator")

    def stop(self) -> None:
        self._stopping = True

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

    async def _ask(self, who: str, method: str, path: str, body: Any = None, *, what: str, about: str = "") -> Reply:
        """Ask, and look whether the answer is one that may be given."""
        reply = await self._front.ask(who, method, path, body)
        status = reply.status
        self.answers[status] = self.answers.get(status, 0) + 1
        self._history.note("user" if who == DEMO else "operator", what, about=about or None, answer=status or "none")
        if reply.accepted:
            self.asked[what] = self.asked.get(what, 0) + 1
        elif status and (status not in REFUSALS or (status == 503 and not reply.retry_after)):
            raise Violation("answers", f"{what}: {method} {path} is answered {status} {reply.body.decode()[:300]}")
        return reply

    async def _create(self) -> None:
        self._made += 1
        name = f"vm{self._made}"
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
        reply = await self._ask(DEMO, "POST", f"{COMPUTE}/servers", body, what="create", about=name)
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

    async def _act(self, server: Known, what: str, body: Any, state: str | None = None, *, who: str = DEMO) -> Reply:
        path = f"{COMPUTE}/servers/{server.id}/action"
        reply = await self._ask(who, "POST", path, body, what=what, about=server.id)
        self._promised(server, what, reply)
        if reply.accepted and state is not None:
            server.state = state
        return reply

    def _promised(self, server: Known, what: str, reply: Reply) -> None:
        if reply.accepted:
            self.promises.append(Promise(server.id, what, reply.request))
        elif reply.status == 404:
            self.known.pop(server.id, None)

    async def _stop(self, server: Known) -> None:
        await self._act(server, "stop", {"os-stop": None}, "stopped")

    async def _start(self, server: Known) -> None:
        await self._act(server, "start", {"os-start": None}, "active")

    async def _reboot_soft(self, server: Known) -> None:
        await self._act(server, "reboot_soft", {"reboot": {"type": "SOFT"}}, "active")

    async def _reboot_hard(self, server: Known) -> None:
        await self._act(server, "reboot_hard", {"reboot": {"type": "HARD"}}, "active")

    async def _rebuild(self, server: Known) -> None:
        await self._act(server, "rebuild", {"rebuild": {"imageRef": self._random.choice(IMAGES)}})

    async def _pause(self, server: Known) -> None:
        await self._act(server, "pause", {"pause": None}, "paused")

    async def _unpause(self, server: Known) -> None:
        await self._act(server, "unpause", {"unpause": None}, "active")

    async def _suspend(self, server: Known) -> None:
        await self._act(server, "suspend", {"suspend": None}, "suspended")

    async def _resume(self, server: Known) -> None:
        await self._act(server, "resume", {"resume": None}, "active")

    async def _create_image(self, server: Known) -> None:
        if self._random.random() < 0.4:
            backup = {"name": "nightly", "backup_type": "daily", "rotation": 1}
            await self._act(server, "create_backup", {"createBackup": backup})
        else:
            await self._act(server, "create_image", {"createImage": {"name": "picture"}})

    async def _delete(self, server: Known) -> None:
        reply = await self._ask(DEMO, "DELETE", f"{COMPUTE}/servers/{server.id}", what="delete", about=server.id)
        self._promised(server, "delete", reply)
        if reply.accepted:
            self.known.pop(server.id, None)
            self.volumes += [volume for volume in server.volumes if volume not in self.volumes]

    async def _attach_volume(self, server: Known) -> None:
        if not self.volumes:
            return
        volume = self._random.choice(self.volumes)
        path = f"{COMPUTE}/servers/{server.id}/os-volume_attachments"
        body = {"volumeAttachment": {"volumeId": volume}}
        reply = await self._ask(DEMO, "POST", path, body, what="attach_volume", about=server.id)
        self._promised(server, "attach_volume", reply)
        if reply.accepted:
            server.volumes.append(volume)

    async def _detach_volume(self, server: Known) -> None:
        if not server.volumes:
            return
        volume = server.volumes.pop(self._random.randrange(len(server.volumes)))
        path = f"{COMPUTE}/servers/{server.id}/os-volume_attachments/{volume}"
        self._promised(
            server, "detach_volume", await self._ask(DEMO, "DELETE", path, what="detach_volume", about=server.id)
        )

    async def _attach_interface(self, server: Known) -> None:
        if server.nics >= 3:
            return
        path = f"{COMPUTE}/servers/{server.id}/os-interface"
        body = {"interfaceAttachment": {"net_id": self._network}}
        reply = await self._ask(DEMO, "POST", path, body, what="attach_interface", about=server.id)
        self._promised(server, "attach_interface", reply)
        server.nics += reply.accepted

    async def _detach_interface(self, server: Known) -> None:
        path = f"{COMPUTE}/servers/{server.id}/os-interface"
        listed = await self._ask(DEMO, "GET", path, what="list_interfaces", about=server.id)
        ports = [each["port_id"] for each in listed.json()["interfaceAttachments"]] if listed.accepted else []
        if len(ports) < 2:
            return
        gone = self._random.choice(ports)
        reply = await self._ask(DEMO, "DELETE", f"{path}/{gone}", what="detach_interface", about=server.id)
        self._promised(server, "detach_interface", reply)
        server.nics -= reply.accepted

    async def _change_volumes(self) -> None:
        project = Users().callers[DEMO].project
        path = f"/volume/v3/{project}/volumes"
        if len(self.volumes) < MOST_VOLUMES and self._random.random() < 0.7:
            reply = await self._ask(DEMO, "POST", path, {"volume": {"size": 1}}, what="create_volume")
            if reply.accepted:
                made = reply.json()["volume"]["id"]
                self._history.call(made, f"volume{len(self.asked) + self.asked['create_volume']}")
                self.volumes.append(made)
        elif self.volumes:
            volume = self._random.choice(self.volumes)
            reply = await self._ask(DEMO, "DELETE", f"{path}/{volume}", what="delete_volume", about=volume)
            if reply.accepted or reply.status == 404:
                self.volumes = [each for each in self.volumes if each != volume]  # another user may have been faster

    async def _change_groups(self) -> None:
        path = f"{COMPUTE}/os-server-groups"
        if len(self.groups) < MOST_GROUPS:
            policy = self._random.choice(("soft-anti-affinity", "soft-affinity", "anti-affinity"))
            body = {"server_group": {"name": "group", "policy": policy}}
            reply = await self._ask(DEMO, "POST", path, body, what="create_group")
            if reply.accepted:
                self.groups.append(reply.json()["server_group"]["id"])
        else:
            group = self._random.choice(self.groups)
            if (await self._ask(DEMO, "DELETE", f"{path}/{group}", what="delete_group")).status in (204, 404):
                self.groups = [each for each in self.groups if each != group]  # another user may have been faster

    # --- the operator ---

    async def _operator(self) -> None:
        acts: list[tuple[int, Callable[[str], Awaitable[None]]]] = [
            (50, self._evacuate_host),
            (8, self._force_down),
            (8, self._vouch),
            (10, self._disable),
            (10, self._clean),
            (12, self._do_duty),
            (6, self._aggregate),
        ]
        while not self._stopping:
            await self._clock.sleep(self._random.uniform(0.3, 2.0) * 2 * self._pause_s)
            for host in sorted(self._forced):
                if not self._hosts.is_off(host):
                    await self._force_down(host)  # it is back: what he said of it is true no more
            dead = [name for name in self._hosts.names() if self._hosts.is_off(name)]
            host = self._random.choice(dead if dead and self._random.random() < 0.7 else self._hosts.names())
            await self._random.choices([act for _, act in acts], [weight for weight, _ in acts])[0](host)

    async def _evacuate_host(self, host: str) -> None:
        """Have all servers of a host evacuated, if it is off; refused until it is proven dead."""
        if not self._hosts.is_off(host):
            return
        listed = await self._ask(ADMIN, "GET", f"{COMPUTE}/servers?all_tenants=1&host={host}", what="list", about=host)
        for each in listed.json()["servers"] if listed.accepted else []:
            known = self.known.get(each["id"])
            if known is not None:
                await self._act(known, "evacuate", {"evacuate": {}}, who=ADMIN)

    async def _service(self, host: str) -> str | None:
        listed = await self._ask(ADMIN, "GET", f"{COMPUTE}/os-services?host={host}", what="services", about=host)
        found = listed.json()["services"] if listed.accepted else []
        return found[0]["id"] if found else None

    async def _change_service(self, host: str, what: str, **values: Any) -> bool:
        service = await self._service(host)
        if service is None:
            return False
        return (
            await self._ask(ADMIN, "PUT", f"{COMPUTE}/os-services/{service}", values, what=what, about=host)
        ).accepted

    async def _force_down(self, host: str) -> None:
        """Force a host down that is off for certain, or say that it no longer is."""
        off = self._hosts.is_off(host)
        if await self._change_service(host, "force_down", forced_down=off):
            (self._forced.add if off else self._forced.discard)(host)

    async def _disable(self, host: str) -> None:
        status = self._random.choice(("disabled", "enabled", "enabled"))
        await self._change_service(host, "disable", status=status)

    async def _vouch(self, host: str) -> None:
        if self._hosts.is_off(host):
            now = self._random.random() < 0.5
            await self._ask(ADMIN, "POST", f"/renova/v1/hosts/{host}/vouch", {"now": now}, what="vouch", about=host)

    async def _clean(self, host: str) -> None:
        await self._ask(ADMIN, "POST", f"/renova/v1/hosts/{host}/clean", what="clean", about=host)

    async def _do_duty(self, _host: str) -> None:
        names = ("power_states", "port_bindings", "evacuations", "attachments")
        duty = self._random.choice(names)
        await self._ask(ADMIN, "POST", f"/renova/v1/duties/{duty}", what="duty", about=duty)

    async def _aggregate(self, host: str) -> None:
        self._made += 1
        body = {"aggregate": {"name": f"aggregate{self._made}"}}
        made = await self._ask(ADMIN, "POST", f"{COMPUTE}/os-aggregates", body, what="create_aggregate")
        if not made.accepted:
            return
        path = f"{COMPUTE}/os-aggregates/{made.json()['aggregate']['id']}"
        for what in ("add_host", "remove_host"):
            await self._ask(ADMIN, "POST", f"{path}/action", {what: {"host": host}}, what=what, about=host)
        await self._ask(ADMIN, "DELETE", path, what="delete_aggregate")

    async def settle(self) -> None:
        """Take back what would keep servers from running."""
        for host in self._hosts.names():
            await self._change_service(host, "enable", forced_down=False, status="enabled")

    async def look_over(self) -> None:
        """Have the duties done that bring the database to what hosts really have."""
        for duty in ("power_states", "port_bindings"):
            await self._ask(ADMIN, "POST", f"/renova/v1/duties/{duty}", what="duty", about=duty)
