"""What the guards of simulated hosts hear of one another: a host that is cut off from everybody hears nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from renova.guard.neighbours import control_plane_ails
from renova.simulation.hosts import AnyHost, SimulatedHost

WAIT_S = 0.2


class Rack(Protocol):
    """The hosts that there are."""

    @property
    def hosts(self) -> Mapping[str, SimulatedHost]: ...


class SimulatedNeighbours:
    """The other hosts, as the guard of the host `name` finds them."""

    def __init__(self, rack: Rack, name: str) -> None:
        self._rack = rack
        self._name = name

    def take(self, addresses: Sequence[str]) -> None:
        """All are asked."""

    async def serve(self, holds: Callable[[], bool]) -> None:
        """Whoever asks looks for himself."""

    async def lack_leases(self) -> bool:
        await asyncio.sleep(WAIT_S)
        hosts = self._rack.hosts
        if hosts[self._name].walled:
            return False
        others = [host for name, host in hosts.items() if name != self._name and _answers(host)]
        lacking = [host for host in others if host.guarding is not None and not host.guarding.lease.holds()]
        return control_plane_ails(len(lacking), len(others))


def _answers(host: AnyHost) -> bool:
    return host.powered and host.guard is not None and not host.guard.frozen and not host.walled
