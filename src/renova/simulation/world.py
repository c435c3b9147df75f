"""A simulated cloud in which everything can go wrong: what `simulation.faults` strikes and repairs.

Each machine has its own clock, which drifts; each controller its own link to one database server; each process its own
chance, so that a fault in one does not change what the others draw. What the machines do at crash points is counted.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import msgspec

from renova.model.chance import Chance, SeededChance
from renova.model.errors import NotNow
from renova.simulation.channel import KEEPALIVE_S, Line
from renova.simulation.clocks import MachineClock
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.controllers import SimulatedController
from renova.simulation.crash_points import CrashPoints
from renova.simulation.database import DatabaseLink, DatabaseServer, LinkedDatabase
from renova.simulation.hosts import AnyHost, OnCall, SimulatedHost, SimulatedStorageHost
from renova.simulation.processes import Process, outside
from renova.store.database import Database

DATABASE_LATENCY_S = 0.002
TORN = 0.1  # of the ways by which guests leave with their memory, in the last exchange
RESTARTED_S = 2.0  # until a service manager starts anew what ended by itself


@dataclass
class World(SimulatedCloud):
    """A cloud with faults; `drift` is by how much the fastest and slowest clocks may differ from true time."""

    count: int = 6
    storage_count: int = 2
    controller_count: int = 2
    drift: float = 0.01
    database_latency_s: float = DATABASE_LATENCY_S
    listeners: list[Callable[[str], None]] = field(default_factory=list)  # told of what happens to the world

    def __post_init__(self) -> None:
        self._clocks: dict[str, MachineClock] = {}
        self._links: dict[str, DatabaseLink] = {}
        self._disks: dict[str, Disk] = {}
        self._freezes: dict[str, int] = {}
        self.points = CrashPoints()
        super().__post_init__()

    def tell(self, event: str) -> None:
        for listener in self.listeners:
            listener(event)

    # --- what each machine has ---

    def clock_of(self, machine: str) -> MachineClock:
        """Return the machine's clock; who has none yet gets one with a drift of its own."""
        known = self._clocks.get(machine)
        if known is None:
            drift = self.chance_of(f"clock of {machine}").uniform(-self.drift, self.drift)
            known = self._clocks[machine] = MachineClock(drift)
        return known

    def chance_of(self, process: str) -> Chance:
        return SeededChance(int.from_bytes(sha256(f"{self.seed} {process}".encode()).digest()[:8]))

    def _open_database(self) -> Database:
        self.data = DatabaseServer(self.clock_of("database"))
        return self.data.open()

    def _database_for(self, one: SimulatedController, process: Process) -> Database:
        link = self._links[one.name] = self.data.link(process, self.database_latency_s)
        link.passed = lambda place: self.points.reach("controller", place)
        return LinkedDatabase(link)

    def link_of(self, controller: str) -> DatabaseLink:
        """Return the controller's link to the database: of its present run, or of its last."""
        return self._links[controller]

    def disk_of(self, host: str) -> "Disk":
        return self._disks[host]

    def _line(self, host: str, controller: str) -> Line:
        line = super()._line(host, controller)
        assert line.beside is not None
        for kind, each in (("agent", line), ("guard", line.beside)):
            each.to_controller.reach = partial(self._sends, kind)
            each.to_host.reach = partial(self._sends, "controller")
        return line

    def _sends(self, kind: str, before: bool, frame: bytes) -> bool:
        return self.points.reach(kind, f"{'before' if before else 'after'} sending {said_by_frame(frame)}")

    def _begin_host(self, host: AnyHost) -> None:
        disk = self._disks[host.name] = Disk(self, host.name)
        host.journal.on_call = disk.on_call
        if isinstance(host, SimulatedHost):
            host.hypervisor.on_call = disk.on_call
            tearing = self.chance_of(f"way from {host.name}")
            host.hypervisor.tears = lambda _server: tearing.uniform(0.0, 1.0) < TORN
            host.heartbeats.on_call = disk.on_heartbeat
        elif isinstance(host, SimulatedStorageHost):
            host.volumes.on_call = disk.on_call

    def start_agent(self, name: str) -> None:
        """Start the host's agent, where the host has power and none runs: it may have been switched off and on."""
        host = self.any_host(name)
        if name not in self._disks:
            self._begin_host(host)
        if host.powered and host.agent is None:
            super().start_agent(name)

    def start_guard(self, name: str) -> None:
        """Start the host's guard, where the host has power and none runs."""
        host = self.any_host(name)
        if host.powered and host.guard is None:
            super().start_guard(name)

    def _has_ended(self, process: Process, name: str, error: BaseException) -> None:
        """Start anew what ended by an error of its own, as a service manager does; the error is kept."""
        super()._has_ended(process, name, error)
        self.tell(f"{name} ended: {error!r}")
        loop = asyncio.get_running_loop()
        loop.call_later(RESTARTED_S, self._start_anew, process, name, context=outside())

    def _start_anew(self, process: Process, name: str) -> None:
        if name in self.controllers and self.controllers[name].process is process:
            self.end_controller(name)
            self.begin_controller(name)
        elif name.startswith("agent-") and self.any_host(host := name.removeprefix("agent-")).agent is process:
            self.end_agent(host)
            self.start_agent(host)
        elif name.startswith("reader-") and self.any_host(host := name.removeprefix("reader-")).reader is process:
            self.end_reader(host)
            self.start_reader(host)
        elif name.startswith("guard-") and self.any_host(host := name.removeprefix("guard-")).guard is process:
            self.end_guard(host)
            self.start_guard(host)

    # --- freezing ---

    def freeze_controller(self, name: str) -> bool:
        """Stop the controller where it stands; False when it does not run."""
        return self._freeze(name, self.controllers[name].process, list(self._lines_to(name)))

    def thaw_controller(self, name: str) -> None:
        self._thaw(name, self.controllers[name].process)

    def freeze_agent(self, name: str) -> bool:
        """Stop the agent where it stands; its guests run on. False when it does not run."""
        host = self.any_host(name)
        return self._freeze(f"agent-{name}", host.agent, [*host.lines.values(), host.local])

    def thaw_agent(self, name: str) -> None:
        self._thaw(f"agent-{name}", self.any_host(name).agent)

    def freeze_guard(self, name: str) -> bool:
        """Stop the guard where it stands; False when it does not run."""
        host = self.any_host(name)
        return self._freeze(f"guard-{name}", host.guard, [*host.guard_lines, host.local, host.to_reader])

    def thaw_guard(self, name: str) -> None:
        self._thaw(f"guard-{name}", self.any_host(name).guard)

    def start_reader(self, name: str) -> None:
        """Start the host's reader of the witness, where the host has power and none runs."""
        host = self.any_host(name)
        if host.powered and host.reader is None:
            super().start_reader(name)

    def freeze_reader(self, name: str) -> bool:
        """Stop the reader of the witness where it stands; False when it does not run."""
        host = self.any_host(name)
        return self._freeze(f"reader-{name}", host.reader, [host.to_reader])

    def thaw_reader(self, name: str) -> None:
        self._thaw(f"reader-{name}", self.any_host(name).reader)

    def suspend_host(self, name: str) -> bool:
        """Stop the whole host, guests and clocks too; False when its agent does not run, or its guard."""
        host = self.any_host(name)
        if host.guard is None or host.guard.frozen or not self.freeze_agent(name):
            return False
        self.freeze_guard(name)
        self.freeze_reader(name)
        self.clock_of(name).stand_still()
        if isinstance(host, SimulatedHost):
            host.hypervisor.stand_still()
        return True

    def wake_host(self, name: str, *, virtual: bool) -> None:
        """Let the host go on; if it is `virtual`, it does not even know by its clocks."""
        self._go_on(name, virtual=virtual)
        self.thaw_guard(name)
        self.thaw_reader(name)
        self.thaw_agent(name)

    def _go_on(self, name: str, *, virtual: bool) -> None:
        host = self.any_host(name)
        if not self.clock_of(name).stands_still:
            return  # it was switched off and on meanwhile
        self.clock_of(name).go_on(virtual=virtual)
        if isinstance(host, SimulatedHost):
            host.hypervisor.go_on()

    async def power_on(self, name: str) -> None:
        self._go_on(name, virtual=False)
        await super().power_on(name)

    def _lines_to(self, controller: str) -> list[Line]:
        agents = [host.lines[controller] for host in self.every_host()]
        return [*agents, *(line.beside for line in agents if line.beside is not None)]

    def _freeze(self, name: str, process: Process | None, lines: list[Line]) -> bool:
        if process is None or process.frozen:
            return False
        process.freeze()
        self._freezes[name] = self._freezes.get(name, 0) + 1
        # Whoever is at the other end hears no pong, and hangs up.
        hang_up = asyncio.get_running_loop().call_later
        hang_up(KEEPALIVE_S, self._hang_up, name, self._freezes[name], process, lines, context=outside())
        return True

    def _hang_up(self, name: str, freeze: int, process: Process, lines: list[Line]) -> None:
        if process.frozen and self._freezes[name] == freeze:
            for line in lines:
                line.hang_up()

    def _thaw(self, name: str, process: Process | None) -> None:
        self._freezes[name] = self._freezes.get(name, 0) + 1
        if process is not None and process.frozen:
            process.thaw()


class Disk:
    """What ails a host's disks now, and the crash points of who writes to them."""

    def __init__(self, world: World, host: str) -> None:
        self._world = world
        self._host = host
        self.slow_s = 0.0  # each call takes longer by
        self.failing = 0.0  # the share of calls that fail
        self.struck: Callable[[], None] = lambda: None  # told of each call that was slowed or failed
        self.on_call: OnCall = self._on_call
        self._chance = world.chance_of(f"disk of {host}")
        self._other_chance = world.chance_of(f"heartbeats on the disk of {host}")

    async def on_heartbeat(self) -> None:
        """Have a heartbeat suffer what a disk's other calls do; it is no crash point, for it comes every second."""
        await self._suffer(self._other_chance)

    async def _on_call(self, place: str) -> None:
        if self._world.points.reach("agent", place):
            await asyncio.get_running_loop().create_future()  # it is dead
        if not place.startswith("after"):
            await self._suffer(self._chance)

    async def _suffer(self, chance: Chance) -> None:
        if self.slow_s:
            self.struck()
            await asyncio.sleep(chance.uniform(0, self.slow_s))
        if self.failing and chance.uniform(0, 1) < self.failing:
            self.struck()
            raise NotNow("the disk gives errors")


class _Act(msgspec.Struct):
    act: str


class _Head(msgspec.Struct):
    kind: str
    act: _Act | None = None


_HEADS = msgspec.msgpack.Decoder(_Head)


def kind_of_frame(frame: bytes) -> str:
    """Return the kind of the message in the frame, without reading the rest: it comes first (`wire.Message`)."""
    return frame[7 : 7 + (frame[6] & 0x1F)].decode()


def said_by_frame(frame: bytes) -> str:
    """Return the kind of the message in the frame, and what a command is to do; the rest is passed over."""
    head = _HEADS.decode(frame)
    return head.kind if head.act is None else f"{head.kind} {head.act.act}"
