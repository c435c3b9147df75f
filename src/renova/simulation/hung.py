"""What must hold in a simulated cloud whose guests may hang: nobody is started again for a hang who never hung.

`hung`: a guest that is started again for a hang has hung under the incarnation that it has. Silence alone is none: an
agent inside may have been ended on purpose, or its host not have been able to ask (decision 0036).
"""

from collections.abc import Collection

import msgspec

from renova.model.ids import ServerId
from renova.operations.reboot import REBOOT, RebootServer
from renova.simulation.invariants import Invariants
from renova.simulation.ledger import Change
from renova.simulation.world import World

WHY = "its guest hung"


class Hung:
    """Remembers which guests hung, and checks each restart for it as that is committed."""

    def __init__(self, invariants: Invariants, world: World) -> None:
        self._invariants = invariants
        self._world = world
        self._hung: set[tuple[ServerId, int]] = set()  # with the incarnation

    def look(self) -> None:
        """Note who hangs now: nobody is taken for silent who was so for less than the time between two such looks."""
        for host in self._world.hosts.values():
            self._hung.update(host.hypervisor.hanging().items())

    def committed(self, changes: Collection[Change]) -> None:
        """Check what a controller has just committed."""
        for change in changes:
            new = change.new
            if change.table != "operations" or change.old is not None or new is None or new["story"] != REBOOT.name:
                continue
            if msgspec.json.decode(new["want"], type=RebootServer).why == WHY:
                self._restarted(ServerId(new["server"]))

    def _restarted(self, server: ServerId) -> None:
        self.look()
        here = {(server, host.hypervisor.defined(server)) for host in self._world.hosts.values()}
        hung = bool(here & self._hung)
        self._invariants.checks.demand(hung, "hung", "{} is started again for a hang, and never hung", server)
