"""The project in whose name everything is measured: made for this run, with a flavor and a network of its own.

It asks as an administrator of that project, who sees the most of a server, at a fixed microversion.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from bench.client import Answer, Request
from bench.session import Login, Session, sign_in
from renova.model.errors import BadSetup, NotNow, Refused

AT_ONCE = 8  # requests under way, where it is about many
LIMIT_S = 120.0  # for anything to come about
ASK_EVERY_S = 0.02

Server = dict[str, Any]


@dataclass(frozen=True)
class Tenant:
    """A project with all that it needs to have servers."""

    session: Session
    project: str
    flavor: str
    network: str
    image: str

    # --- requests ---

    def create(self, name: str, host: str | None = None) -> Request:
        server: dict[str, Any] = {
            "name": name,
            "flavorRef": self.flavor,
            "imageRef": self.image,
            "networks": [{"uuid": self.network}],
        }
        if host is not None:
            server["host"] = host
        return Request("POST", self._url("/servers"), {"server": server})

    def show(self, server: str) -> Request:
        return Request("GET", self._url(f"/servers/{server}"))

    def listing(self, limit: int) -> Request:
        return Request("GET", self._url(f"/servers/detail?limit={limit}"))

    def act(self, server: str, action: str, value: Any) -> Request:
        return Request("POST", self._url(f"/servers/{server}/action"), {action: value})

    def delete(self, server: str) -> Request:
        return Request("DELETE", self._url(f"/servers/{server}"))

    # --- what they do ---

    async def ask(self, request: Request) -> Answer:
        return await self.session.client.ask(*request)

    async def ask_all(self, requests: Iterable[Request], at_once: int = AT_ONCE) -> list[Answer]:
        return await self.session.client.ask_all(requests, at_once)

    async def servers(self) -> list[Server]:
        """List all servers of the project, in detail."""
        found: list[Server] = []
        marker = ""
        while True:
            page = await self.session.ask("GET", "compute", f"/servers/detail?limit=1000{marker}")
            found += page["servers"]
            if len(page["servers"]) < 1000:
                return found
            marker = f"&marker={found[-1]['id']}"

    async def have(self, count: int) -> list[str]:
        """Have exactly so many servers, all ACTIVE; return their ids."""
        have = [server["id"] for server in await self.servers()]
        await self.end(have[count:])
        await self.begin(count - len(have))
        return [server["id"] for server in await self.servers()]

    async def begin(self, count: int, host: str | None = None) -> list[str]:
        """Create servers, and wait until they are ACTIVE."""
        answers = await self.ask_all(self.create(f"bench-{number}", host) for number in range(count))
        await self.settled("BUILD")
        await self.demand_active()
        return [answer.json()["server"]["id"] for answer in answers]

    async def end(self, servers: Sequence[str]) -> None:
        """Delete servers, and wait until they are gone."""
        await self.ask_all(self.delete(server) for server in servers)
        # One that is being deleted keeps the status it had.
        await until(lambda: self._gone(servers), "the servers were not deleted")

    async def settled(self, status: str) -> None:
        """Wait until no server has this status; asks a question that costs the controller little."""
        await until(lambda: self._none_with(status), f"servers stayed in {status}")

    async def demand_active(self) -> None:
        """Raise Refused, with the reason, if a server is anything but ACTIVE and idle."""
        for server in await self.servers():
            if server["status"] != "ACTIVE" or server["OS-EXT-STS:task_state"] is not None:
                reason = server.get("fault", {}).get("message", "no reason is given")
                raise Refused(f"server {server['id']} is {server['status']}, not ACTIVE: {reason}")

    async def remove(self, admin: Login) -> None:
        """Delete the project with all that is in it."""
        await self.end([server["id"] for server in await self.servers()])
        await self.session.ask("DELETE", "network", f"/v2.0/networks/{self.network}")
        await self.session.ask("DELETE", "compute", f"/flavors/{self.flavor}")
        await self.session.client.close()
        session = await sign_in(admin)
        await session.ask("DELETE", "compute", f"/os-quota-sets/{self.project}")
        await session.ask("DELETE", "identity", f"/projects/{self.project}")
        await session.client.close()

    async def _none_with(self, status: str) -> bool:
        found = await self.session.ask("GET", "compute", f"/servers?limit=1&status={status}")
        return not found["servers"]

    async def _gone(self, servers: Sequence[str]) -> bool:
        there = await self.session.ask("GET", "compute", "/servers")
        return not {server["id"] for server in there["servers"]}.intersection(servers)

    def _url(self, path: str) -> str:
        return self.session.urls["compute"] + path


async def make_tenant(login: Login, name: str) -> Tenant:
    """Have a project of this name, without limits, and what it needs; `login` is an administrator's."""
    admin = await sign_in(login)
    project = (await admin.ask("POST", "identity", "/projects", {"project": {"name": name}}))["project"]["id"]
    role = (await admin.ask("GET", "identity", "/roles?name=admin"))["roles"][0]["id"]
    await admin.ask("PUT", "identity", f"/projects/{project}/users/{admin.user}/roles/{role}")
    no_limit = dict.fromkeys(("instances", "cores", "ram"), -1)
    await admin.ask("PUT", "compute", f"/os-quota-sets/{project}", {"quota_set": no_limit})
    await admin.client.close()
    own = await sign_in(replace(login, project=name))
    flavor = {"name": name, "vcpus": 1, "ram": 64, "disk": 1}
    network = (await own.ask("POST", "network", "/v2.0/networks", {"network": {"name": name}}))["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.64.0.0/16"}
    await own.ask("POST", "network", "/v2.0/subnets", {"subnet": subnet})
    return Tenant(
        session=own,
        project=project,
        flavor=(await own.ask("POST", "compute", "/flavors", {"flavor": flavor}))["flavor"]["id"],
        network=network,
        image=await _image(own),
    )


async def tenant_of(login: Login) -> Tenant:
    """Return the login's own project, with the first flavor, network and image that there are."""
    own = await sign_in(login)
    flavors = (await own.ask("GET", "compute", "/flavors"))["flavors"]
    networks = (await own.ask("GET", "network", "/v2.0/networks"))["networks"]
    return Tenant(
        session=own,
        project=login.project,
        flavor=flavors[0]["id"],
        network=networks[0]["id"],
        image=await _image(own),
    )


async def _image(session: Session) -> str:
    images = (await session.ask("GET", "image", "/v2/images?status=active"))["images"]
    if not images:
        raise BadSetup("The cloud has no image to make servers of: add one.")
    return str(images[0]["id"])


async def until(true: Callable[[], Awaitable[bool]], problem: str) -> None:
    deadline = monotonic() + LIMIT_S
    while not await true():
        if monotonic() > deadline:
            raise NotNow(f"{problem} within {LIMIT_S:.0f} s")
        await asyncio.sleep(ASK_EVERY_S)
