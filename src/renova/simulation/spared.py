"""What must hold in a simulated cloud of hosts that are switched off: nobody does it who is told that they live.

`spared`: a controller cuts no host's power whom others see alive, unless it is to, or an armed guard has stopped the
guests there (decision 0033).
"""

from renova.simulation.invariants import Invariants
from renova.simulation.processes import current
from renova.simulation.world import World


class Spared:
    """Asks whoever switches a host off what he was told of it."""

    def __init__(self, invariants: Invariants, world: World) -> None:
        self._invariants = invariants
        self._world = world
        world.switches.told_off = self._told_off

    def _told_off(self, host: str) -> None:
        who = current()
        one = next((each for each in self._world.controllers.values() if who is not None and each.process is who), None)
        if one is None or one.controller is None or self._world.armed or self._world.settings.fence_isolated:
            return
        sighting = one.cloud.hosts.sighted(self._world.hosts[host].id)
        self._invariants.checks.demand(
            sighting.alive is not True, "spared", f"{one.name} switches {host} off, and knows: {sighting.readings}"
        )
