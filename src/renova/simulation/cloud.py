"""A whole cloud in one process and in virtual time: the real controller and agents over simulated hosts and wire.

Everything follows from one seed, so a history can be told twice and compared. Parts can be killed and begun again at
any point; what they keep (database, journals, storage) outlives them, as on disks.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from renova.agent.journal import MemoryJournal
from renova.agent.service import Agent
from renova.controller import Controller, Parts
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.hypervisor.simulated import SMALL_HOST, SimulatedHypervisor, SimulatedStorage
from renova.drivers.network.none import NoNetwork
from renova.drivers.network.simulated import SimulatedNetwork
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.hosts.registration import enrol
from renova.model.chance import SeededChance
from renova.model.channel import Channel
from renova.model.errors import Conflict, NotFound
from renova.model.guest import HostFacts
from renova.model.ids import HostId, ImageId, ProjectId, ServerId
from renova.model.image import Image
from renova.model.server import Server
from renova.partners.identity import Caller, Identity
from renova.partners.network.builtin import BuiltinNetworks
from renova.partners.notifications import Sink
from renova.partners.volume import StorageHosts
from renova.partners.volume.builtin import BuiltinVolumes
from renova.power import Reading
from renova.settings import AgentSettings, ControllerSettings, LeaseTimes
from renova.simulation.channel import Line
from renova.simulation.loop import VirtualClock
from renova.store import servers
from renova.store.database import Database
from renova.store.everything import open_database

QUICK_LEASE = LeaseTimes(renew=1.0, ttl=5.0, margin=12.0, failover=0.0)


class MemoryImages:
    """Images that exist in memory only; everybody may see them."""

    def __init__(self) -> None:
        self.images: dict[ImageId, tuple[Image, bytes]] = {}

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:  # noqa: ARG002
        found = self.images.get(image)
        return found[0] if found else None

    async def add(self, image: Image) -> None:
        self.images.setdefault(image.id, (replace(image, status="queued"), b""))

    async def write(self, image: ImageId, pieces: AsyncIterator[bytes]) -> None:
        if image not in self.images:
            raise NotFound(f"no image {image}")
        content = b"".join([piece async for piece in pieces])
        if image not in self.images:
            raise NotFound(f"no image {image}")
        described = self.images[image][0]
        if described.status != "queued":
            raise Conflict(f"image {image} is {described.status}")
        sha256 = hashlib.sha256(content).hexdigest()
        whole = replace(described, status="active", size=len(content), virtual_size=len(content), sha256=sha256)
        self.images[image] = (whole, content)

    async def having(self, properties: Mapping[str, str]) -> list[Image]:
        every = [image for image, _ in reversed(self.images.values())]
        return [image for image in every if properties.items() <= image.properties.items()]

    async def remove(self, image: ImageId) -> None:
        self.images.pop(image, None)

    async def read(self, image: ImageId, offset: int = 0) -> AsyncIterator[bytes]:
        if image not in self.images:
            raise NotFound(f"no image {image}")
        data = self.images[image][1]
        for start in range(offset, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]


class NoIdentity:
    """Nobody asks over HTTP."""

    async def caller(self, token: str) -> Caller | None:  # noqa: ARG002
        return None

    async def project_exists(self, project: ProjectId) -> bool:  # noqa: ARG002
        return True


@dataclass
class SimulatedHost:
    """One host: what outlives its agent, and the agent while it runs."""

    id: HostId
    name: str
    address: str
    storage: SimulatedStorage
    hypervisor: SimulatedHypervisor
    network: SimulatedNetwork
    journal: MemoryJournal
    line: Line
    boots: int = 1
    powered: bool = True
    agent: "asyncio.Task[None] | None" = None
    volumes: None = None  # it holds none


@dataclass
class SimulatedStorageHost:
    """One storage host: what outlives its agent, and the agent while it runs."""

    id: HostId
    name: str
    address: str
    volumes: SimulatedVolumes
    journal: MemoryJournal
    line: Line
    hypervisor: NoHypervisor = field(default_factory=NoHypervisor)
    network: NoNetwork = field(default_factory=NoNetwork)
    boots: int = 1
    powered: bool = True
    agent: "asyncio.Task[None] | None" = None


class SwitchBoard:
    """The power switch of all simulated hosts."""

    def __init__(self, cloud: "SimulatedCloud") -> None:
        self._cloud = cloud

    async def read(self, host: HostId, name: str) -> Reading:  # noqa: ARG002
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

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.chance = SeededChance(self.seed)
        self.images = MemoryImages()
        self.identity: Identity = NoIdentity()
        self.database: Database = open_database(None, self.clock)
        self.networks = BuiltinNetworks(self.database, self.clock, self.chance)
        self.hosts: dict[str, SimulatedHost] = {}
        self.storage_hosts: dict[str, SimulatedStorageHost] = {}
        self.controller: Controller | None = None
        self._serving: asyncio.Task[None] | None = None
        self._channels: set[Channel] = set()
        self.ended: list[str] = []  # parts that ended by an error, which none should

    async def up(self) -> None:
        """Begin the controller and all hosts, and wait until every host is up."""
        await self.start_controller()
        common = SimulatedStorage("shared-storage")
        for number in range(1, self.count + 1):
            storage = common if self.shared else SimulatedStorage(f"storage-{number}")
            await self.add_host(f"host{number}", f"10.1.0.{number}", storage)
        for number in range(1, self.storage_count + 1):
            await self.add_storage_host(f"storage{number}", f"10.1.0.{200 + number}")
        every: list[SimulatedHost | SimulatedStorageHost] = [*self.hosts.values(), *self.storage_hosts.values()]
        await self.until(lambda: all(self.cloud.hosts.up(host.id) for host in every))

    @property
    def cloud(self) -> Any:
        assert self.controller is not None, "the controller is down"
        return self.controller.cloud

    async def add_host(self, name: str, address: str, storage: SimulatedStorage) -> None:
        host_id = HostId(self.chance.uuid())
        await self.database.transact(lambda tx: enrol(tx, host_id, name, f"certificate-{name}"))
        facts = replace(self.facts, storage_id=storage.identity)
        host = SimulatedHost(
            id=host_id,
            name=name,
            address=address,
            storage=storage,
            hypervisor=SimulatedHypervisor(
                self.clock,
                storage,
                facts,
                start_s=self.start_s,
                boot_s=self.boot_s,
                shut_down_s=self.shut_down_s,
            ),
            network=SimulatedNetwork(),
            journal=MemoryJournal(self.chance),
            line=Line(lambda channel: self._accept(name, channel), latency_s=self.latency_s),
        )
        self.hosts[name] = host
        self.start_agent(name)

    async def add_storage_host(self, name: str, address: str) -> None:
        host_id = HostId(self.chance.uuid())
        await self.database.transact(lambda tx: enrol(tx, host_id, name, f"certificate-{name}"))
        self.storage_hosts[name] = SimulatedStorageHost(
            id=host_id,
            name=name,
            address=address,
            volumes=SimulatedVolumes(self.clock),
            journal=MemoryJournal(self.chance),
            line=Line(lambda channel: self._accept(name, channel), latency_s=self.latency_s),
        )
        self.start_agent(name)

    def any_host(self, name: str) -> SimulatedHost | SimulatedStorageHost:
        return self.hosts.get(name) or self.storage_hosts[name]

    async def _accept(self, name: str, channel: Channel) -> None:
        if self.controller is None:
            return  # nobody listens
        host = self.any_host(name)
        self._channels.add(channel)
        try:
            await self.controller.cloud.hosts.serve(channel, host.id, f"certificate-{name}")
        finally:
            self._channels.discard(channel)

    # --- faults ---

    async def start_controller(self) -> None:
        """Begin a controller over the database as it is; the database's lock lets only one live."""
        assert self.controller is None, "one controller at a time"
        parts = Parts(
            settings=self.settings,
            clock=self.clock,
            chance=self.chance,
            database=self.database,
            identity=self.identity,
            images=self.images,
            networks=self.networks,
            volumes=self._volumes,
            power=SwitchBoard(self),
            sink=self.sink,
        )
        self.controller = Controller(parts)
        self._serving = self._begin(self.controller.serve(alone=True), "controller")

    def _volumes(self, hosts: StorageHosts) -> BuiltinVolumes:
        return BuiltinVolumes(self.database, self.clock, self.chance, self.images, hosts)

    async def kill_controller(self) -> None:
        """Kill the controller: nothing of it runs on, its connections end, its memory is lost."""
        serving, self._serving, self.controller = self._serving, None, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving])
        for name in [*self.hosts, *self.storage_hosts]:
            self.any_host(name).line.reset()

    def start_agent(self, name: str) -> None:
        host = self.any_host(name)
        agent = Agent(
            replace(self.agent_settings, name=name),
            host.hypervisor,
            host.network,
            host.journal,
            self.clock,
            self.chance,
            [host.line],
            boot=f"boot-{name}-{host.boots}",
            address=host.address,
            storage=host.volumes,
        )
        host.agent = self._begin(agent.run(), f"agent-{name}")

    async def kill_agent(self, name: str) -> None:
        """Kill the agent only: its guests run on. A storage host serves nothing without it."""
        host = self.any_host(name)
        agent, host.agent = host.agent, None
        if agent is not None:
            agent.cancel()
            await asyncio.wait([agent])
        host.line.reset()

    async def cut_power(self, name: str) -> None:
        host = self.any_host(name)
        host.powered = False
        if isinstance(host, SimulatedStorageHost):
            host.volumes.cut_power()
        else:
            host.hypervisor.cut_power()
            host.network.cut_power()
        await self.kill_agent(name)

    async def power_on(self, name: str) -> None:
        host = self.any_host(name)
        host.powered = True
        host.boots += 1
        if isinstance(host, SimulatedHost):
            host.hypervisor.power_on()
            host.network.power_on()
        self.start_agent(name)

    async def down(self) -> None:
        for name in [*self.hosts, *self.storage_hosts]:
            await self.kill_agent(name)
        await self.kill_controller()
        self.database.close()

    # --- what tests look at ---

    async def until(self, true: Any, limit_s: float = 600.0) -> None:
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

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)

        def note(done: "asyncio.Task[None]") -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self.ended.append(f"{name}: {error!r}")

        task.add_done_callback(note)
        return task
