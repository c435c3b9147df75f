"""Hosts that stood still as a whole, their guards and watchdogs too, and go on: for how long their guests may run.

For no longer than a guard takes to look at the clock and to close its gate. Where the gate fails just then, or the
guard itself, for as long as the watchdog takes to reset the host: what a guard of class B is worth (docs/safety.md).
"""

import asyncio

from renova.guard.keeper import FREEZE_S, LOOK_S
from renova.model.host import GuardClass
from renova.simulation.cloud import LEAST_S
from renova.simulation.invariants.leases import DRIFT
from renova.simulation.world import World

GATE_S = LOOK_S + FREEZE_S


class Waking:
    """Knows which hosts have just woken; a watchdog of class A has counted meanwhile, and allows them nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failed: dict[str, float] = {}  # by host: when it woke last and its gate was not closed by its guard

    def has_just(self, name: str) -> bool:
        """Say whether the host's guests may still run because it woke; asked as long as they do."""
        if self._world.watchdogs is GuardClass.A:
            return False
        host, woken_at = self._world.hosts[name], self._world.clock_of(name).woken_at
        for_s = asyncio.get_running_loop().time() - woken_at
        if for_s < GATE_S:
            # At that moment itself its guard does not go on yet.
            if for_s > 0 and host.gate is not None and (host.gate.sticks or host.guard is None or host.guard.frozen):
                self._failed[name] = woken_at
            return True
        if self._failed.get(name) != woken_at or host.watchdog is None:
            return False
        return for_s < host.watchdog.timeout_s * (1 + DRIFT) + LEAST_S
