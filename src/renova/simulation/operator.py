"""Who looks after the hosts of a simulated cloud: evacuates what is dead, forces down, vouches, sees to duties."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from renova.model.clock import Clock
from renova.simulation.asking import Asking
from renova.simulation.front import COMPUTE, Reply
from renova.simulation.surroundings import ADMIN


class Hosts(Protocol):
    """What an operator sees with his own eyes."""

    def names(self) -> list[str]: ...
    def is_off(self, name: str) -> bool: ...


class Operator:
    """An operator at work, until `stop`."""

    def __init__(self, asking: Asking, clock: Clock, hosts: Hosts, chance: random.Random, pause_s: float) -> None:
        self._asking = asking
        self._clock = clock
        self._hosts = hosts
        self._random = chance
        self._pause_s = pause_s
        self._stopping = False
        self._forced: set[str] = set()  # hosts that were forced down

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Ask until told to stop."""
        acts: list[tuple[int, Callable[[str], Awaitable[None]]]] = [
            (50, self._evacuate_host),
            (8, self._force_down),
            (8, self._vouch),
            (10, self._disable),
            (10, self._clean),
            (12, self._do_duty),
            (8, self._release_brake),
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
        listed = await self._ask("GET", f"{COMPUTE}/servers?all_tenants=1&host={host}", what="list", about=host)
        for each in listed.json()["servers"] if listed.accepted else []:
            known = self._asking.known.get(each["id"])
            if known is not None:
                await self._asking.act(known, "evacuate", {"evacuate": {}}, who=ADMIN)

    async def _service(self, host: str) -> str | None:
        listed = await self._ask("GET", f"{COMPUTE}/os-services?host={host}", what="services", about=host)
        found = listed.json()["services"] if listed.accepted else []
        return found[0]["id"] if found else None

    async def _change_service(self, host: str, what: str, **values: Any) -> bool:
        service = await self._service(host)
        if service is None:
            return False
        return (await self._ask("PUT", f"{COMPUTE}/os-services/{service}", values, what=what, about=host)).accepted

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
            await self._ask("POST", f"/renova/v1/hosts/{host}/vouch", {"now": now}, what="vouch", about=host)

    async def _clean(self, host: str) -> None:
        await self._ask("POST", f"/renova/v1/hosts/{host}/clean", what="clean", about=host)

    async def _do_duty(self, _host: str) -> None:
        names = ("power_states", "port_bindings", "evacuations", "attachments")
        duty = self._random.choice(names)
        await self._ask("POST", f"/renova/v1/duties/{duty}", what="duty", about=duty)

    async def _release_brake(self, _host: str) -> None:
        """Say that silent hosts are dead where most are off; refused unless the brake is on."""
        if any(self._hosts.is_off(name) for name in self._hosts.names()):
            await self.release_brake()

    async def _aggregate(self, host: str) -> None:
        body = {"aggregate": {"name": self._asking.name("aggregate")}}
        made = await self._ask("POST", f"{COMPUTE}/os-aggregates", body, what="create_aggregate")
        if not made.accepted:
            return
        path = f"{COMPUTE}/os-aggregates/{made.json()['aggregate']['id']}"
        for what in ("add_host", "remove_host"):
            await self._ask("POST", f"{path}/action", {what: {"host": host}}, what=what, about=host)
        await self._ask("DELETE", path, what="delete_aggregate")

    async def _ask(self, method: str, path: str, body: Any = None, *, what: str, about: str = "") -> Reply:
        return await self._asking.ask(ADMIN, method, path, body, what=what, about=about)

    async def settle(self) -> bool:
        """Take back what would keep servers from running; False while that is refused, for a host is not back yet."""
        taken = [
            await self._change_service(host, "enable", forced_down=False, status="enabled")
            for host in self._hosts.names()
        ]
        return all(taken)

    async def release_brake(self) -> None:
        """Say that it is the hosts that are dead; refused where the brake is not on."""
        await self._ask("POST", "/renova/v1/brake/release", what="release_brake")

    async def look_over(self) -> None:
        """Have the duties done that bring the database to what hosts really have."""
        for duty in ("power_states", "port_bindings"):
            await self._ask("POST", f"/renova/v1/duties/{duty}", what="duty", about=duty)
