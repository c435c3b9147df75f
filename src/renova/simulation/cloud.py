"""A whole cloud in one process and in virtual time: real controllers and agents over simulated hosts and wires.

Everything follows from one seed, so a history can be told twice and compared. Parts can be killed and begun again at
any point; what they keep (database, journals, storage) outlives them, as on disks.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from renova.agent.service import Agent
from renova.controller import Controller, Parts
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.simulated import SimulatedNetwork
from renova.hosts.registration import enrol
from renova.model.chance import Chance, SeededChance
from renova.model.channel import Channel
from renova.model.clock import Clock
from renova.model.guest import HostFacts
from renova.model.ids import HostId, ServerId
from renova.model.server import Server
from renova.model.volume import Connection, NbdExport
from renova.partners.identity import Identity
from renova.partners.network.builtin import BuiltinNetworks
from renova.partners.notifications import Sink
from renova.partners.volume import StorageAgents, StorageHosts
from renova.partners.volume.builtin import BuiltinVolumes
from renova.power import Power, Reading
from renova.settings import AgentSettings, ControllerSettings, LeaseTimes
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
from renova.simulation.processes import Process
from renova.simulation.surroundings import MemoryImages, NoIdentity
from renova.store import servers
from renova.store.database import Database
from renova.store.everything import open_database

QUICK_LEASE = LeaseTimes(renew=1.0, ttl=5.0, margin=12.0, failover=0.0)


class SwitchBoard:
    """The power switch of all simulated hosts."""

    def __init__(self, cloud: "SimulatedCloud") -> None:
        self._cloud = cloud

    async def read(self, host: HostId, name: str) -> Reading:
        return Reading.ON if self._cloud.any_host(name).powered else Reading.OFF


@dataclass
class SimulatedCloud:
    """A cloud of `count` hosts. `shared`: they have one instances directory in common, else one each."""

    seed: int = 1
    count: int = 3
    shared: bool = True
    facts: HostFacts = SMALL_HOST
    settings: ControllerSettings = field(
        default_factory=lambda: ControllerSettings(lease=QUICK_LEASE, soft_reboot_wait=10, shutdown_wait=10)
    )
    agent_settings: AgentSettings = field(default_factory=AgentSettings)
    start_s: float = 0.05
    boot_s: float = 1.0
    shut_down_s: float = 0.3
    latency_s: float = 0.001
    sink: Sink | None = None
    storage_count: int = 1  # hosts that hold volumes
    controller_count: int = 1

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
        self.power: Power = SwitchBoard(self)
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
            await self.add_host(f"host{number}", f"10.1.0.{number}", storage)
        for number in range(1, self.storage_count + 1):
            await self.add_storage_host(f"storage{number}", f"10.1.0.{200 + number}")
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
            journal=SimulatedJournal(chance),
            lines=self._lines(name),
        )
        self.hosts[name] = host
        self.start_agent(name)

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
        self.start_agent(name)

    def _lines(self, host: str) -> dict[str, Line]:
        """Return a line from the host to each controller."""
        return {name: self._line(host, name) for name in self.controllers}

    def _line(self, host: str, controller: str) -> Line:
        one = self.controllers[controller]

        async def accept(channel: Channel) -> None:
            assert one.controller is not None, f"{controller} is down"
            await one.controller.connections.serve(channel, self.any_host(host).id, f"certificate-{host}")

        return Line(accept, controller, latency_s=self.latency_s, listener=lambda: one.process)

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
            sink=self.sink,
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
            boot=f"boot-{name}-{host.boots}",
            address=host.address,
            storage=host.volumes,
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
        for line in host.lines.values():
            line.reset()

    async def cut_power(self, name: str) -> None:
        host = self.any_host(name)
        host.powered = False
        await self.kill_agent(name)
        if isinstance(host, SimulatedHost):
            host.hypervisor.cut_power()
            host.network.cut_power()

    async def power_on(self, name: str) -> None:
        host = self.any_host(name)
        host.powered = True
        host.boots += 1
        if isinstance(host, SimulatedHost):
            host.hypervisor.power_on()
            host.network.power_on()
        self.start_agent(name)

    async def down(self) -> None:
        for host in self.every_host():
            await self.kill_agent(host.name)
        for name in self.controllers:
            await self.kill_controller(name)
        self.database.close()

    # --- what tests look at ---

    def lease_left(self, name: str) -> float:
        """Return for how many seconds of its own clock the host's agent still believes in its lease."""
        host = self.any_host(name)
        if host.agent is None or host.serving is None:
            return 0.0
        return host.serving.lease.deadline - host.clock.boottime()

    def lease_reached(self, name: str) -> tuple[int, int, int]:
        """Return how far the host's agent knows its lease to be: era, epoch and counter; zeros where none runs."""
        host = self.any_host(name)
        if host.agent is None or host.serving is None:
            return 0, 0, 0
        return host.serving.lease.reached

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
