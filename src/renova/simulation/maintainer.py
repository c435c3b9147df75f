"""Who works at hosts of a simulated cloud that live: has them emptied and used again, and moves single servers."""

import random

from renova.model.clock import Clock
from renova.simulation.asking import Asking
from renova.simulation.operator import Hosts
from renova.simulation.surroundings import ADMIN


class Maintainer:
    """At work until `stop`. What is begun is taken back by the operator's `settle`."""

    def __init__(self, asking: Asking, clock: Clock, hosts: Hosts, chance: random.Random, pause_s: float) -> None:
        self._asking = asking
        self._clock = clock
        self._hosts = hosts
        self._random = chance
        self._pause_s = pause_s
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Ask until told to stop."""
        while not self._stopping:
            await self._clock.sleep(self._random.uniform(0.3, 2.0) * 2 * self._pause_s)
            await self._random.choices((self._migrate, self._drain, self._undo), (60, 25, 15))[0]()

    async def _migrate(self) -> None:
        known = list(self._asking.known.values())
        if known:
            host = self._random.choice((None, *self._hosts.names()))
            live = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
            what, body = self._random.choice((("migrate", {"migrate": {"host": host}}), ("migrate live", live)))
            await self._asking.act(self._random.choice(known), what, body, who=ADMIN)

    async def _drain(self) -> None:
        await self._ask("PUT", "drain")

    async def _undo(self) -> None:
        await self._ask("DELETE", "undo_drain")

    async def _ask(self, method: str, what: str) -> None:
        host = self._random.choice(self._hosts.names())
        await self._asking.ask(ADMIN, method, f"/renova/v1/hosts/{host}/drain", what=what, about=host)
