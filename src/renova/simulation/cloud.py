"""A whole cloud in one process and in virtual time: real controllers and agents over simulated hosts and wires.

Everything follows from one seed, so a history can be told twice and compared. Parts can be killed and begun again at
any point; what they keep (database, journals, storage) outlives them, as on disks.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from msgspec.structs import replace

from renova.agent.service import Agent
from renova.controller import Controller, Parts
from renova.drivers.guard.closing import close_or_kill
from renova.drivers.guard.simulated import SimulatedGate, SimulatedWatchdog
from renova.drivers.heartbeat.simulated import SimulatedHeartbeats
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.simulated import SimulatedNetwork
from renova.guard.keeper import Keeper
from renova.guard.reader import Reader
from renova.guard.service import Guard
from renova.guard.witnessed import Witnessed
from renova.hosts.registration import enrol
from renova.model.chance import Chance, SeededChance
from renova.model.channel import Channel
from renova.model.clock import Clock
from renova.model.guest import HostFacts
from renova.model.host import GuardClass
from renova.model.ids import HostId, ServerId
from renova.model.server import Server
from renova.model.volume import Connection, NbdExport
from renova.partners.identity import Identity
from renova.partners.network.builtin import BuiltinNetworks
from renova.partners.notifications import Sink
from renova.partners.volume import StorageAgents, StorageHosts
from renova.partners.volume.builtin import BuiltinVolumes
from renova.power import Power
from renova.settings import AgentSettings, BrakeSettings, ControllerSettings, LeaseTimes, RecoverySettings
from renova.simulation.channel import Line
from renova.simulation.controllers import Inside, SimulatedController
from renova.simulation.hosts import (
    AnyHost,
    SimulatedHost,
    SimulatedJournal,
    SimulatedStorageHost,
    StorageHostVolumes,
)
from renova.simulation.loop import VirtualClock
from renova.simulation.neighbours import SimulatedNeighbours
from renova.simulation.power import SwitchBoard
from renova.simulation.processes import Process, outside
from renova.simulation.surroundings import MemoryImages, NoIdentity
from renova.simulation.witness import SimulatedWitness
from renova.store import servers
from renova.store.database import Database
from renova.store.everything import open_database

QUICK_LEASE = LeaseTimes(renew=1.0, ttl=5.0, margin=12.0, failover=0.0)
BY_HAND, NO_BRAKE = RecoverySettings(automatic=False), BrakeSettings(share=1.0)


UNDERLAY = IPv4Address("10.1.0.0")
FIRST_OF_STORAGE = 50_000  # there are fewer hosts of guests
CONTROLLERS_WAIT_S = 5.0  # for an answer of the witness
LEAST_S = 0.1  # between looks whether a watchdog has timed out
RESET_S = 2.0  # until a host that was reset boots


@dataclass
class SimulatedCloud:
    """A cloud of `count` hosts. `shared`: they have one instances directory in common, else one each."""

    seed: int = 1
    count: int = 3
    shared: bool = True
    facts: HostFacts = SMALL_HOST
    settings: ControllerSettings = field(
        default_factory=lambda: ControllerSettings(
            lease=QUICK_LEASE, soft_reboot_wait=10, shutdown_wait=10, recovery=BY_HAND, brake=NO_BRAKE
        )
    )
    agent_settings: AgentSettings = field(default_factory=AgentSettings)
    start_s: float = 0.05
    boot_s: float = 1.0
    shut_down_s: float = 0.3
    copy_s: float = 2.0  # of a guest's memory to another host
    latency_s: float = 0.001
    sink: Sink | None = None
    storage_count: int = 1  # hosts that hold volumes
    controller_count: int = 1
    armed: bool = False  # whether compute hosts have a guard with a gate and a watchdog
    witnessed: bool = False  # whether armed hosts, and the controllers, have a witness
    watchdogs: GuardClass = GuardClass.A  # of which class; all others stand still when the host does
    switchable: bool = False  # whether power controllers switch silent hosts off; else their power is only read
    endures: bool = False  # whether a controller's duty that fails unforeseen begins anew; else that is seen at once

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.chance = SeededChance(self.seed)
        self.images = MemoryImages()
        self.identity: Identity = NoIdentity()
        self.database: Database = self._open_database()
        self.networks = BuiltinNetworks(self.database, self.clock, self.chance)
        names = [f"controller{number}" for number in range(1, self.controller_count + 1)]
        self.controllers = {name: SimulatedController(name) for name in names}
        self.hosts: dict[str, SimulatedHost] = {}
        self.storage_hosts: dict[str, SimulatedStorageHost] = {}
        self.switches = SwitchBoard(self, switchable=self.switchable)
        self.power: Power = self.switches
        self.witness = SimulatedWitness() if self.armed and self.witnessed else None
        self._resets: set[asyncio.Task[None]] = set()  # of hosts, and stop hooks, that are under way
        self.ended: list[str] = []  # parts that ended by an error, which none should

    # --- what a world with faults has otherwise ---

    def _open_database(self) -> Database:
        """Return the database as the world sees it."""
        return open_database(None, self.clock)

    def _database_for(self, one: SimulatedController, process: Process) -> Database:
        """Return the database as this run of the controller has it."""
        return Database(Inside(process, self.database))

    def clock_of(self, machine: str) -> Clock:
        """Return the clock of a controller or host."""
        return self.clock

    def chance_of(self, process: str) -> Chance:
        """Return the chance of a host or of a controller's run."""
        return self.chance

    # --- its parts ---

    async def up(self) -> None:
        """Begin the controllers and all hosts, and wait until every host is up at each of them."""
        for name in self.controllers:
            await self.start_controller(name)
        common = SimulatedStorage("shared-storage")
        for number in range(1, self.count + 1):
            storage = common if self.shared else SimulatedStorage(f"storage-{number}")
            await self.add_host(f"host{number}", _address(number), storage)
        for number in range(1, self.storage_count + 1):
            await self.add_storage_host(f"storage{number}", _address(FIRST_OF_STORAGE + number))
        every = [host.id for host in self.every_host()]
        running = self.controllers.values()
        await self.until(lambda: all(each.cloud.hosts.up(host) for host in every for each in running))

    @property
    def controller(self) -> Controller | None:
        """The first controller that runs."""
        return next((each.controller for each in self.controllers.values() if each.controller is not None), None)

    @property
    def cloud(self) -> Any:
        assert self.controller is not None, "no controller runs"
        return self.controller.cloud

    async def add_host(self, name: str, address: str, storage: SimulatedStorage) -> None:
        host_id = HostId(self.chance.uuid())
        await self.database.transact(lambda tx: enrol(tx, host_id, name, f"certificate-{name}"))
        facts = replace(self.facts, storage_id=storage.identity)
        clock, chance = self.clock_of(name), self.chance_of(name)
        host = SimulatedHost(
            id=host_id,
            name=name,
            address=address,
            storage=storage,
            clock=clock,
            chance=chance,
            hypervisor=SimulatedHypervisor(
                clock,
                storage,
                facts,
                start_s=self.start_s,
                boot_s=self.boot_s,
                shut_down_s=self.shut_down_s,
                storage_answers=self.storage_answers,
            ),
            network=SimulatedNetwork(),
            heartbeats=SimulatedHeartbeats(storage, host_id),
            journal=SimulatedJournal(chance),
            lines=self._lines(name),
        )
        host.network.reaches = self.answers
        host.hypervisor.address, host.hypervisor.copy_s = address, self.copy_s
        host.hypervisor.neighbour = lambda to: None if host.walled else self._hypervisor_at(to)
        host.heartbeats.reaches = lambda: not host.walled
        if self.armed:
            host.gate = SimulatedGate(host.hypervisor)
            host.hypervisor.freeze()  # as a host boots
        self.hosts[name] = host
        self.start_guard(name)
        self.start_reader(name)
        self.start_agent(name)

    def answers(self, address: str) -> bool:
        """Say whether a machine answers at this address on the underlay."""
        return any(host.address == address and host.powered and not host.walled for host in self.hosts.values())

    def _hypervisor_at(self, address: str) -> SimulatedHypervisor | None:
        """Return who runs guests at this address on the underlay, if that answers."""
        found = [host.hypervisor for host in self.hosts.values() if host.address == address]
        return found[0] if found and self.answers(address) else None

    def storage_answers(self, way: Connection) -> bool:
        """Say whether the storage host that serves a volume there answers to connections."""
        serving = [
            host for host in self.storage_hosts.values() if isinstance(way, NbdExport) and host.address == way.address
        ]
        return not serving or serving[0].volumes.powered

    async def add_storage_host(self, name: str, address: str) -> None:
        host_id = HostId(self.chance.uuid())
        await self.database.transact(lambda tx: enrol(tx, host_id, name, f"certificate-{name}"))
        clock, chance = self.clock_of(name), self.chance_of(name)
        self.storage_hosts[name] = SimulatedStorageHost(
            id=host_id,
            name=name,
            address=address,
            clock=clock,
            chance=chance,
            volumes=StorageHostVolumes(clock),
            journal=SimulatedJournal(chance),
            lines=self._lines(name),
        )
        self.start_guard(name)
        self.start_agent(name)

    def _lines(self, host: str) -> dict[str, Line]:
        """Return a line from the host to each controller."""
        return {name: self._line(host, name) for name in self.controllers}

    def _line(self, host: str, controller: str) -> Line:
        one = self.controllers[controller]

        async def accept(channel: Channel) -> None:
            assert one.controller is not None, f"{controller} is down"
            await one.controller.connections.serve(channel, self.any_host(host).id, f"certificate-{host}")

        def line() -> Line:
            return Line(accept, controller, latency_s=self.latency_s, listener=lambda: one.process)

        of_agent = line()
        of_agent.beside = line()  # the guard's
        return of_agent

    def any_host(self, name: str) -> SimulatedHost | SimulatedStorageHost:
        return self.hosts.get(name) or self.storage_hosts[name]

    def every_host(self) -> list[AnyHost]:
        return [*self.hosts.values(), *self.storage_hosts.values()]

    # --- faults ---

    async def start_controller(self, name: str = "controller1") -> None:
        """Begin a controller over the database as it is."""
        self.begin_controller(name)

    def begin_controller(self, name: str) -> None:
        one = self.controllers[name]
        assert one.process is None, f"{name} runs"
        one.runs += 1
        process = one.process = Process(f"{name}-{one.runs}")
        database = self._database_for(one, process)
        clock, chance = self.clock_of(name), self.chance_of(f"{name}-{one.runs}")
        networks = BuiltinNetworks(database, clock, chance)

        def volumes(hosts: StorageHosts, agents: StorageAgents) -> BuiltinVolumes:
            return BuiltinVolumes(database, clock, chance, self.images, hosts, agents)

        parts = Parts(
            settings=replace(self.settings, name=name),
            clock=clock,
            chance=chance,
            database=database,
            identity=self.identity,
            images=self.images,
            networks=networks,
            volumes=volumes,
            power=self.power,
            witness=None if self.witness is None else self.witness.seen_from(name, CONTROLLERS_WAIT_S),
            sink=self.sink,
            endures=self.endures,
        )
        one.controller = process.run(Controller, parts)
        self._begin(process, one.controller.serve(alone=len(self.controllers) == 1), name)

    async def kill_controller(self, name: str = "controller1") -> None:
        """Kill the controller: nothing of it runs on, its connections end, its memory is lost."""
        self.end_controller(name)

    def end_controller(self, name: str) -> None:
        one = self.controllers[name]
        process, one.process, one.controller = one.process, None, None
        if process is not None:
            process.kill()
        for host in self.every_host():
            host.lines[name].reset()

    def start_agent(self, name: str) -> None:
        host = self.any_host(name)
        process = host.agent = Process(f"agent-{name}")
        agent = host.serving = process.run(
            Agent,
            replace(self.agent_settings, name=name),
            host.hypervisor,
            host.network,
            host.journal,
            host.clock,
            host.chance,
            list(host.lines.values()),
            host.local,
            boot=f"boot-{name}-{host.boots}",
            address=host.address,
            storage=host.volumes,
            heartbeats=host.heartbeats,
        )
        self._begin(process, agent.run(), f"agent-{name}")

    async def kill_agent(self, name: str) -> None:
        """Kill the agent only: its guests run on. A storage host serves nothing without it."""
        self.end_agent(name)

    def end_agent(self, name: str) -> None:
        host = self.any_host(name)
        process, host.agent = host.agent, None
        if process is not None:
            process.kill()
            if isinstance(host, SimulatedStorageHost):
                host.volumes.cut_power()
            else:
                host.hypervisor.disconnect()
        for line in (*host.lines.values(), host.local):
            line.hang_up()

    def start_guard(self, name: str) -> None:
        host = self.any_host(name)
        host.guard_runs += 1
        process = host.guard = Process(f"guard-{name}")
        keeper = self._keeper(host)
        guard = host.guarding = process.run(
            Guard,
            name,
            host.guard_page,
            host.clock,
            self.chance_of(f"guard-{name}-{host.guard_runs}"),
            host.guard_lines,
            boot=f"boot-{name}-{host.boots}",
            keeper=keeper,
            witnessed=None if keeper is None or self.witness is None else Witnessed(host.id, host.clock),
        )
        self._begin(process, guard.run(), f"guard-{name}")

    def start_reader(self, name: str) -> None:
        """Start the process that reads the witness for the host's guard, where there is one to be read."""
        host = self.any_host(name)
        if self.witness is None:
            return
        process = host.reader = Process(f"reader-{name}")
        reader = process.run(Reader, host.to_reader, self.witness.seen_from(name), host.clock)
        self._begin(process, reader.run(), f"reader-{name}")

    def end_reader(self, name: str) -> None:
        host = self.any_host(name)
        process, host.reader = host.reader, None
        if process is not None:
            process.kill()
        host.to_reader.hang_up()

    def _keeper(self, host: AnyHost) -> Keeper | None:
        if not isinstance(host, SimulatedHost) or host.gate is None:
            return None
        if host.watchdog is not None:
            host.watchdog.disarm()  # it is one device: whoever opens it has it count anew
        later = _later if self.watchdogs is GuardClass.A else partial(_later_by, host.clock)
        host.watchdog = SimulatedWatchdog(lambda: self._reset(host.name), later, strength=self.watchdogs)
        return Keeper(host.gate, host.watchdog, host.clock, SimulatedNeighbours(self, host.name))

    def _reset(self, name: str) -> None:
        """Switch the host off and on, as its watchdog does."""

        async def power_cycle() -> None:
            await self.cut_power(name)
            await asyncio.sleep(RESET_S)
            await self.power_on(name)

        task = asyncio.get_running_loop().create_task(power_cycle(), name=f"reset-{name}", context=outside())
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    def end_guard(self, name: str) -> None:
        host = self.any_host(name)
        process, host.guard = host.guard, None
        if process is not None:
            process.kill()
            if isinstance(host, SimulatedHost):
                self._close_after(host)
        for line in (*host.guard_lines, host.local, host.to_reader):
            line.hang_up()

    async def cut_power(self, name: str) -> None:
        host = self.any_host(name)
        if not host.powered:
            return
        host.powered = False
        self.end_guard(name)
        self.end_reader(name)
        await self.kill_agent(name)
        if isinstance(host, SimulatedHost):
            if host.watchdog is not None:
                host.watchdog.disarm()
            host.hypervisor.cut_power()
            host.network.cut_power()

    async def power_on(self, name: str) -> None:
        host = self.any_host(name)
        if host.powered:
            return
        host.powered = True
        host.boots += 1
        if isinstance(host, SimulatedHost):
            host.hypervisor.power_on()
            if host.gate is not None:
                host.hypervisor.freeze()
            host.network.power_on()
            self.start_reader(name)
        self.start_guard(name)
        self.start_agent(name)

    async def down(self) -> None:
        for host in self.every_host():
            self.end_guard(host.name)
            self.end_reader(host.name)
            await self.kill_agent(host.name)
        for name in self.controllers:
            await self.kill_controller(name)
        self.database.close()

    def _close_after(self, host: SimulatedHost) -> None:
        """Have the gate closed, as the service manager does when it finds the guard gone."""
        if host.gate is not None and host.powered:
            task = asyncio.get_running_loop().create_task(
                _stop_hook(host.gate, self.clock), name=f"stop-hook-{host.name}", context=outside()
            )
            self._resets.add(task)
            task.add_done_callback(self._resets.discard)

    # --- what tests look at ---

    def lease_left(self, name: str) -> float:
        """Return for how many seconds of its own clock the host's guard still believes in its lease."""
        host = self.any_host(name)
        if host.guard is None or host.guarding is None:
            return 0.0
        return host.guarding.lease.deadline - host.clock.boottime()

    def lease_reached(self, name: str) -> tuple[int, int, int]:
        """Return how far the host's guard knows its lease to be: era, epoch and counter; zeros where none runs."""
        host = self.any_host(name)
        if host.guard is None or host.guarding is None:
            return 0, 0, 0
        return host.guarding.lease.reached

    async def until(self, true: Callable[[], bool], limit_s: float = 600.0) -> None:
        """Wait until the state is as wanted, for at most `limit_s` virtual seconds."""
        deadline = self.clock.monotonic() + limit_s
        while not true():
            if self.clock.monotonic() > deadline:
                raise TimeoutError("the wanted state did not come")
            await self.clock.sleep(0.05)

    def running(self, server: ServerId) -> list[str]:
        """Name the hosts on which a guest of the server executes: never more than one."""
        return [name for name, host in self.hosts.items() if server in host.hypervisor.executing()]

    async def server(self, server: ServerId) -> Server | None:
        return await self.database.read(lambda tx: servers.get(tx, server, deleted=True))

    def _begin(self, process: Process, work: Coroutine[Any, Any, None], name: str) -> None:
        def note(done: "asyncio.Task[None]") -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self._has_ended(process, name, error)

        process.spawn(work, name).add_done_callback(note)

    def _has_ended(self, process: Process, name: str, error: BaseException) -> None:
        self.ended.append(f"{name}: {error!r}")


def _address(number: int) -> str:
    """Return the address of the machine of this number on the underlay."""
    return str(UNDERLAY + number)


async def _stop_hook(gate: SimulatedGate, clock: Clock) -> None:
    await close_or_kill(gate, clock)


def _later_by(clock: Clock, seconds: float, call: Callable[[], None]) -> None:
    """Have it done after so many seconds for which the host did not stand still."""
    due = clock.monotonic() + seconds

    def look() -> None:
        left = due - clock.monotonic()
        if left <= 0:
            call()
        else:
            _later(max(left, LEAST_S), look)

    look()


def _later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call, context=outside())
