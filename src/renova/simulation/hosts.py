"""Simulated hosts: what outlives agent and guard (guests, disks, journals, wires), and the processes while they run."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from renova.agent.journal import HostPage, MemoryJournal, ServerPage, ThingPage
from renova.agent.service import Agent
from renova.drivers.guard.simulated import SimulatedGate, SimulatedWatchdog
from renova.drivers.heartbeat.simulated import SimulatedHeartbeats
from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.none import NoNetwork
from renova.drivers.network.simulated import SimulatedNetwork
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.guard.page import MemoryPage
from renova.guard.service import Guard
from renova.model.chance import Chance
from renova.model.channel import Channel
from renova.model.clock import Clock
from renova.model.ids import HostId, ServerId, SnapshotId, VolumeId
from renova.model.storage import Export, WantedVolume
from renova.simulation.channel import Line
from renova.simulation.processes import Process

T = TypeVar("T")

# Awaited before and after whatever changes a disk: it slows, fails or kills whoever does it.
OnCall: TypeAlias = Callable[[str], Awaitable[None]] | None


class SimulatedJournal(MemoryJournal):
    """A journal on a disk that may be slow or fail, and whose writer may die before or after a write."""

    def __init__(self, chance: Chance) -> None:
        super().__init__(chance)
        self.on_call: OnCall = None

    async def write_host(self, page: HostPage) -> None:
        await _around(self.on_call, "a host's page", super().write_host(page))

    async def write_server(self, server: ServerId, page: ServerPage) -> None:
        await _around(self.on_call, "a server's page", super().write_server(server, page))

    async def write_thing(self, thing: VolumeId | SnapshotId, page: ThingPage) -> None:
        await _around(self.on_call, "a thing's page", super().write_thing(thing, page))


class StorageHostVolumes(SimulatedVolumes):
    """Volumes on disks that may be slow or fail, and whose agent may die before or after a change."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.on_call: OnCall = None

    async def have(self, want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        return await _around(self.on_call, "a volume", super().have(want, images))

    async def drop(self, volume: VolumeId) -> None:
        await _around(self.on_call, "a volume's end", super().drop(volume))

    async def have_snapshot(self, snapshot: SnapshotId, volume: VolumeId) -> None:
        await _around(self.on_call, "a snapshot", super().have_snapshot(snapshot, volume))

    async def drop_snapshot(self, snapshot: SnapshotId) -> None:
        await _around(self.on_call, "a snapshot's end", super().drop_snapshot(snapshot))


async def _around(on_call: OnCall, name: str, change: Coroutine[Any, Any, T]) -> T:
    if on_call is None:
        return await change
    try:
        await on_call(f"before {name}")
        done = await change
    finally:
        change.close()
    await on_call(f"after {name}")
    return done


@dataclass(kw_only=True)
class AnyHost:
    """What compute and storage hosts have in common."""

    id: HostId
    name: str
    address: str
    clock: Clock
    chance: Chance
    journal: SimulatedJournal
    lines: dict[str, Line]  # of the agent to each controller, by its name
    guard_page: MemoryPage = field(default_factory=MemoryPage)
    boots: int = 1
    powered: bool = True
    walled: bool = False  # other hosts do not reach it, nor it them, nor its storage
    agent: Process | None = None
    serving: Agent | None = None  # what runs in that process
    guard: Process | None = None
    guarding: Guard | None = None  # likewise
    guard_runs: int = 0
    reader: Process | None = None  # of the witness, where there is one

    def __post_init__(self) -> None:
        self.local = Line(self._serve_agent, "guard", listener=lambda: self.guard)  # between agent and guard
        self.to_reader = Line(self._serve_reader, "guard", listener=lambda: self.guard)  # between reader and guard

    async def _serve_agent(self, channel: Channel) -> None:
        assert self.guarding is not None
        await self.guarding.serve_agent(channel)

    async def _serve_reader(self, channel: Channel) -> None:
        assert self.guarding is not None
        await self.guarding.serve_reader(channel)

    @property
    def guard_lines(self) -> list[Line]:
        """The guard's own lines, which go through the agent's cables."""
        return [line.beside for line in self.lines.values() if line.beside is not None]

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
    heartbeats: SimulatedHeartbeats
    gate: SimulatedGate | None = None  # of an armed host
    watchdog: SimulatedWatchdog | None = None  # likewise, while its guard runs
    volumes: None = None  # it holds none


@dataclass(kw_only=True)
class SimulatedStorageHost(AnyHost):
    """A host that holds volumes."""

    volumes: StorageHostVolumes
    hypervisor: NoHypervisor = field(default_factory=NoHypervisor)
    network: NoNetwork = field(default_factory=NoNetwork)
    heartbeats: None = None
