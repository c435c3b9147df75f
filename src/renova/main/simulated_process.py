"""The process of the simulated hosts: any number of agents over simulated drivers, with real connections.

Each host is enrolled and speaks TLS like a real one; only its guests and networks are pretended. What a power switch
and a cable do to a real host, the switches of the lab do here.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakSet

import structlog
import uvloop
from msgspec.structs import replace

from renova import log as logs
from renova.agent.journal import MemoryJournal
from renova.agent.service import Agent
from renova.drivers.heartbeat.simulated import SimulatedHeartbeats
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network.none import NoNetwork
from renova.drivers.network.simulated import SimulatedNetwork
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.guard.page import MemoryPage
from renova.guard.service import Guard
from renova.lab import switches
from renova.lab.blueprint import STORAGE_HOST
from renova.lab.home import Home
from renova.lab.system_uuid import system_uuid
from renova.main.ending import until_told
from renova.main.joining import join
from renova.model.chance import SystemChance
from renova.model.channel import Channel
from renova.model.clock import SystemClock
from renova.model.errors import NotFound, NotNow
from renova.model.volume import Connection
from renova.settings import AgentSettings
from renova.simulation.channel import Line
from renova.uplink.connection import DialledChannel, TlsDialer
from renova.uplink.controllers import FileBook

log = structlog.get_logger()

START_S, BOOT_S, SHUT_DOWN_S = 0.0, 0.3, 0.2  # how long pretended guests take
COPY_S = 0.5  # of a guest's memory to another host
AT_ONCE = 32  # hosts that enrol or dial at the same time
VCPUS = 64  # of a host: with what placement makes of them, room for the hundred servers that a benchmark evacuates


class Cable:
    """What joins a host to all controllers."""

    def __init__(self) -> None:
        self.plugged = True
        self._channels: WeakSet[Channel] = WeakSet()

    async def carry(self, channel: Channel) -> None:
        """Carry a channel that was just opened; one that came too late is closed."""
        self._channels.add(channel)
        if not self.plugged:
            await channel.close()

    async def pull(self) -> None:
        self.plugged = False
        for channel in list(self._channels):
            await channel.close()


class CutDialer:
    """Reaches a controller unless the cable is out."""

    def __init__(self, dialer: TlsDialer, cable: Cable, at_once: asyncio.Semaphore) -> None:
        self._dialer = dialer
        self._cable = cable
        self._at_once = at_once

    @property
    def address(self) -> str:
        return self._dialer.address

    async def dial(self) -> DialledChannel:
        if not self._cable.plugged:
            raise NotNow("the host's cable is out")
        async with self._at_once:
            channel = await self._dialer.dial()
        await self._cable.carry(channel)
        return channel


@dataclass
class _Host:
    """One simulated host; its agent while it has power."""

    name: str
    address: str
    hypervisor: SimulatedHypervisor | NoHypervisor
    network: SimulatedNetwork | NoNetwork
    journal: MemoryJournal
    volumes: SimulatedVolumes | None = None  # of a storage host
    storage: SimulatedStorage | None = None  # of another
    heartbeats: SimulatedHeartbeats | None = None  # on that
    cable: Cable = field(default_factory=Cable)
    state: Path = Path()
    controllers: tuple[str, ...] = ()
    boot: str = ""
    guard_page: MemoryPage = field(default_factory=MemoryPage)
    agent: "asyncio.Task[None] | None" = None  # and its guard

    @property
    def powered(self) -> bool:
        return self.agent is not None

    def cut_power(self) -> None:
        for part in (self.hypervisor, self.network, self.volumes):
            if isinstance(part, SimulatedHypervisor | SimulatedNetwork | SimulatedVolumes):
                part.cut_power()

    def power_on(self) -> None:
        for part in (self.hypervisor, self.network):
            if isinstance(part, SimulatedHypervisor | SimulatedNetwork):
                part.power_on()


class Rack:
    """All hosts of this process, with their switches (`lab.switches.Switchboard`)."""

    def __init__(self, home: Home, *, local_disks: bool) -> None:
        self._home = home
        self._local_disks = local_disks
        self._clock = SystemClock()
        self._chance = SystemChance()
        self._shared = SimulatedStorage("simulated-shared-storage")
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._hosts: dict[str, _Host] = {}

    async def begin(self, count: int) -> None:
        """Enrol and start all hosts, many at a time."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, count + 1):
                group.create_task(self._add(self._compute_host(number)))
            journal, volumes = MemoryJournal(self._chance), SimulatedVolumes(self._clock)
            group.create_task(
                self._add(_Host(STORAGE_HOST, "10.255.255.1", NoHypervisor(), NoNetwork(), journal, volumes))
            )

    def _compute_host(self, number: int) -> _Host:
        name = f"host{number}"
        storage = SimulatedStorage(f"simulated-storage-{name}") if self._local_disks else self._shared
        facts = replace(SMALL_HOST, storage_id=storage.identity, vcpus=VCPUS)
        return _Host(
            name,
            f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            SimulatedHypervisor(
                self._clock,
                storage,
                facts,
                start_s=START_S,
                boot_s=BOOT_S,
                shut_down_s=SHUT_DOWN_S,
                storage_answers=self._storage_answers,
            ),
            SimulatedNetwork(),
            MemoryJournal(self._chance),
            storage=storage,
        )

    def _hypervisor_at(self, address: str) -> SimulatedHypervisor | None:
        """Return who runs guests at this address, if it is reached."""
        for host in self._hosts.values():
            if host.address == address and host.cable.plugged and isinstance(host.hypervisor, SimulatedHypervisor):
                return host.hypervisor
        return None

    def _storage_answers(self, _way: Connection) -> bool:
        storage = self._hosts.get(STORAGE_HOST)
        return storage is None or storage.powered

    async def _add(self, host: _Host) -> None:
        directories = self._home.host(host.name)
        settings = AgentSettings(
            name=host.name, state_dir=str(directories.agent), join_token_file=str(directories.join_token)
        )
        async with self._at_once:
            identity = await join(settings, self._clock)
        host.state, host.controllers = Path(settings.state_dir), identity.controllers
        if host.storage is not None:
            host.heartbeats = SimulatedHeartbeats(host.storage, identity.host)
            host.heartbeats.reaches = lambda: host.cable.plugged
        if isinstance(host.hypervisor, SimulatedHypervisor):
            host.hypervisor.address, host.hypervisor.copy_s = host.address, COPY_S
            host.hypervisor.neighbour = lambda to: self._hypervisor_at(to) if host.cable.plugged else None
        self._hosts[host.name] = host
        self._boot(host)

    def _boot(self, host: _Host) -> None:
        def dialer(controller: str) -> CutDialer:
            return CutDialer(TlsDialer(controller, host.state), host.cable, self._at_once)

        host.boot = self._chance.uuid()
        dialers = [dialer(controller) for controller in host.controllers]
        guard = Guard(
            host.name,
            host.guard_page,
            self._clock,
            self._chance,
            dialers,
            boot=host.boot,
            dialer_to=dialer,
            book=FileBook(host.state, "guard-controllers.json"),
        )
        agent = Agent(
            AgentSettings(name=host.name, system_uuid=system_uuid(self._home.host(host.name))),
            host.hypervisor,
            host.network,
            host.journal,
            self._clock,
            self._chance,
            dialers,
            Line(guard.serve_agent, "guard"),
            boot=host.boot,
            address=host.address,
            storage=host.volumes,
            heartbeats=host.heartbeats,
            dialer_to=dialer,
            book=FileBook(host.state),
        )
        host.agent = asyncio.get_running_loop().create_task(_both(agent, guard), name=host.name)
        host.agent.add_done_callback(_say_why)

    def _host(self, name: str) -> _Host:
        try:
            return self._hosts[name]
        except KeyError:
            raise NotFound(f"There is no host {name} here: `renova lab status` shows those there are.") from None

    async def kill(self, host: str) -> None:
        found = self._host(host)
        agent, found.agent = found.agent, None
        if agent is None:
            return
        found.cut_power()
        agent.cancel()
        await asyncio.wait([agent])

    async def start(self, host: str) -> None:
        found = self._host(host)
        if not found.powered:
            found.power_on()
            self._boot(found)

    async def cut(self, host: str) -> None:
        await self._host(host).cable.pull()

    async def heal(self, host: str) -> None:
        self._host(host).cable.plugged = True

    def powered(self, host: str) -> bool:
        return self._host(host).powered

    def plugged(self, host: str) -> bool:
        return self._host(host).cable.plugged

    async def close(self) -> None:
        for host in self._hosts.values():
            if host.agent is not None:
                host.agent.cancel()
        await asyncio.gather(*(h.agent for h in self._hosts.values() if h.agent), return_exceptions=True)


async def _both(agent: Agent, guard: Guard) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(guard.run())
        group.create_task(agent.run())


def _say_why(agent: "asyncio.Task[None]") -> None:
    if not agent.cancelled() and (error := agent.exception()) is not None:
        log.error("agent ended", host=agent.get_name(), reason=str(error))


def serve(home: Home, count: int, *, local_disks: bool = False, log_level: str = "info") -> None:
    """Run the simulated hosts of the cloud in `home` until told to end."""
    logs.set_up(log_level, process="simulated")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(home, count, local_disks=local_disks))


async def _serve(home: Home, count: int, *, local_disks: bool) -> None:
    rack = Rack(home, local_disks=local_disks)

    async def work() -> None:
        await rack.begin(count)
        server = await switches.serve(home.simulated_socket, rack)
        log.info("simulated hosts begin", count=count)
        try:
            await server.serve_forever()
        finally:
            server.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await rack.close()

    await until_told(work())
