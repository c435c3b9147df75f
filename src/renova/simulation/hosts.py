"""Simulated hosts: what outlives an agent (guests, disks, journal, wires), and its process while it runs."""

from dataclasses import dataclass, field

from renova.agent.journal import MemoryJournal
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.hypervisor.simulated import SimulatedHypervisor, SimulatedStorage
from renova.drivers.network.none import NoNetwork
from renova.drivers.network.simulated import SimulatedNetwork
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.model.ids import HostId
from renova.simulation.channel import Line
from renova.simulation.processes import Process


@dataclass(kw_only=True)
class AnyHost:
    """What compute and storage hosts have in common."""

    id: HostId
    name: str
    address: str
    journal: MemoryJournal
    lines: dict[str, Line]  # to each controller, by its name
    boots: int = 1
    powered: bool = True
    agent: Process | None = None

    @property
    def line(self) -> Line:
        """The line to the first controller: where there is only one, the line."""
        return next(iter(self.lines.values()))


@dataclass(kw_only=True)
class SimulatedHost(AnyHost):
    """A host that runs guests."""

    storage: SimulatedStorage
    hypervisor: SimulatedHypervisor
    network: SimulatedNetwork
    volumes: None = None  # it holds none


@dataclass(kw_only=True)
class SimulatedStorageHost(AnyHost):
    """A host that holds volumes."""

    volumes: SimulatedVolumes
    hypervisor: NoHypervisor = field(default_factory=NoHypervisor)
    network: NoNetwork = field(default_factory=NoNetwork)
