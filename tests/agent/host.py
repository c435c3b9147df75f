"""A host in memory, its agent and its guard, and a controller that does what the test says."""

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec

from renova.agent.journal import Journal, MemoryJournal
from renova.agent.service import Agent
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.drivers.network import Network
from renova.drivers.network.simulated import SimulatedNetwork
from renova.drivers.volume import Storage
from renova.guard.page import MemoryPage
from renova.guard.service import Guard
from renova.model.chance import SeededChance
from renova.model.channel import Channel, Closed
from renova.model.guest import Address, Guest, GuestChanged, LocalDisks, Nic, Personal, RootDisk
from renova.model.ids import ImageId, NetworkId, PortId, ProjectId, ServerId, UserId
from renova.settings import AgentSettings
from renova.simulation.channel import Line
from renova.simulation.loop import VirtualClock, run_virtual
from renova.simulation.processes import Process
from renova.uplink.controllers import MemoryBook
from renova.wire.acts import AnyAct
from renova.wire.commands import Answer, Command, Order
from renova.wire.duties import Cleaned, Duty
from renova.wire.frames import FromController, decode_from_agent, encode
from renova.wire.images import ImageBytes, ImagePiece, ImageTaken, WantImage
from renova.wire.leases import Fenced, GuardHello, GuardTimes, GuardWelcome, Renew, Renewed
from renova.wire.questions import Read, ReadConsole
from renova.wire.sessions import Hello, Report, Reported, Welcome

T = TypeVar("T")

IMAGE = ImageId("11111111-1111-4111-8111-111111111111")
CONTENT = bytes(range(256)) * 40
PIECE = 1000
SERVER = ServerId("5e000000-0000-4000-8000-000000000001")


def disks(generation: int = 1) -> LocalDisks:
    return LocalDisks(generation, RootDisk(IMAGE, "raw", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 1))


def nic(number: int) -> Nic:
    address = Address(f"10.0.0.{number}", 24, "10.0.0.1")
    return Nic(PortId(f"port-{number}"), f"fa:16:3e:00:00:{number:02x}", NetworkId("net"), 100, 1450, (address,))


def guest(incarnation: int = 1, server: ServerId = SERVER, nics: tuple[int, ...] = (1,), generation: int = 1) -> Guest:
    return Guest(
        server=server,
        incarnation=incarnation,
        domain="instance-00000001",
        project=ProjectId("project"),
        user=UserId("user"),
        flavor_name="m1.tiny",
        vcpus=1,
        memory_mb=512,
        disks=disks(generation),
        nics=tuple(nic(number) for number in nics),
        personal=Personal(hostname="vm", name="vm"),
    )


def order(incarnation: int = 1, number: int = 1, epoch: int = 1, server: ServerId = SERVER) -> Order:
    """Return an order; era, lease epoch and session are set by the controller that sends it."""
    return Order(0, 0, "", server, incarnation, number, epoch)


@dataclass
class Controller:
    """One controller, as far as an agent can tell; hears everything, and says what it is told to say."""

    era: int = 1
    epoch: int = 1
    ttl: float = 20.0
    renew: float = 2.0
    acknowledges: bool = True
    answers_pieces: bool = True
    takes_reports: bool = True
    controllers: tuple[str, ...] = ()
    name: str = ""
    duties: tuple[Duty, ...] = ()
    peers: tuple[str, ...] = ()
    hellos: list[Hello] = field(default_factory=list)
    renewals: list[Renew] = field(default_factory=list)
    reports: list[GuestChanged] = field(default_factory=list)
    cleaned: list[Cleaned] = field(default_factory=list)
    wanted: list[WantImage] = field(default_factory=list)
    sent: list[ImageBytes] = field(default_factory=list)
    refuses_bytes: str = ""
    heard: list[tuple[float, str]] = field(default_factory=list)  # when, and the kind of each message
    registered: Callable[[], bool] = lambda: False  # whether the guard is told of the lease that there is
    process: Process = field(default_factory=lambda: Process("controller"))
    session: str = ""
    channel: Channel | None = None
    guard_channel: Channel | None = None
    on_piece: Callable[[WantImage], None] = lambda _want: None
    _sessions: int = 0
    _commands: int = 0
    _counter: int = 0
    _answers: dict[int, "asyncio.Future[Answer]"] = field(default_factory=dict)

    async def accept(self, channel: Channel) -> None:
        try:
            async for frame in channel.frames():
                await self._take(channel, decode_from_agent(frame))
        except Closed:
            pass
        finally:
            if self.channel is channel:
                self.channel = None
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_exception(Closed("the agent is gone"))

    async def _take(self, channel: Channel, message: Any) -> None:
        self.heard.append((asyncio.get_running_loop().time(), type(message).__name__))
        match message:
            case Hello():
                self.hellos.append(message)
                self._sessions += 1
                session = f"session-{self._sessions}"
                welcome = Welcome(
                    host="host-id",
                    session=session,
                    era=self.era,
                    epoch=self.epoch,
                    ttl=self.ttl,
                    renew=self.renew,
                    duties=self.duties,
                    peers=self.peers,
                    controller=self.name,
                    controllers=self.controllers,
                )
                await channel.send(encode(welcome))
                self.session, self.channel = session, channel
            case GuardHello():
                times = GuardTimes(stop_budget=11.0, drift=0.01)
                guard_welcome = GuardWelcome(
                    controller=self.name, renew=self.renew, times=times, controllers=self.controllers
                )
                await channel.send(encode(guard_welcome))
                self.guard_channel = channel
            case Renew():
                self.renewals.append(message)
                if (message.era, message.epoch) != (self.era, self.epoch):
                    there = {"next_era": self.era, "next_epoch": self.epoch} if self.registered() else {}
                    await channel.send(encode(Fenced(epoch=message.epoch, **there)))
                elif self.acknowledges:
                    self._counter += 1
                    renewed = Renewed(
                        nonce=message.nonce, era=self.era, epoch=self.epoch, counter=self._counter, ttl=self.ttl
                    )
                    await channel.send(encode(renewed))
            case Answer():
                self._answers[message.id].set_result(message)
            case Report():
                self.reports.extend(message.changes)
                if self.takes_reports:
                    await channel.send(encode(Reported(id=message.id)))
            case Cleaned():
                self.cleaned.append(message)
            case ImageBytes():
                self.sent.append(message)
                why = "refused" if self.refuses_bytes else ""
                await channel.send(encode(ImageTaken(id=message.id, error=self.refuses_bytes or None, why=why)))
            case WantImage():
                self.wanted.append(message)
                self.on_piece(message)
                if self.answers_pieces:
                    piece = CONTENT[message.offset : message.offset + PIECE]
                    known = message.image == IMAGE
                    await channel.send(
                        encode(
                            ImagePiece(id=message.id, data=piece)
                            if known
                            else ImagePiece(id=message.id, error="no such image", why="refused")
                        )
                    )

    async def say(self, message: FromController) -> None:
        assert self.channel
        await self.channel.send(encode(message))

    async def tell_guard(self, message: FromController) -> None:
        assert self.guard_channel
        await self.guard_channel.send(encode(message))

    async def welcomed(self, sessions: int = 1) -> None:
        """Wait until the agent was welcomed so often."""
        await until(lambda: self._sessions >= sessions and self.channel is not None)

    async def leased(self, sessions: int = 1) -> None:
        """Wait until the agent was welcomed so often, and has renewed its lease since, here or elsewhere."""
        await self.welcomed(sessions)
        await VirtualClock().sleep(0.1)

    async def send(self, order: Order, act: AnyAct, **changed: Any) -> Answer:
        """Send a command over the present connection and return the answer; `Closed` if it ends before."""
        self._commands += 1
        return await self.send_as(self._commands, order, act, **changed)

    async def send_as(self, number: int, order: Order, act: AnyAct, **changed: Any) -> Answer:
        """Send a command under a number of the test's choice, as if the connection had doubled or delayed it."""
        assert self.channel, "the agent is not connected"
        fields = {"era": self.era, "host_epoch": self.epoch, "session": self.session} | changed
        full = msgspec.structs.replace(order, **fields)
        return await self._ask(Command(id=number, order=full, act=act))

    async def insist(self, order: Order, act: AnyAct) -> Answer:
        """Send a command as often as it takes until it is answered for good: as the control plane does."""
        while True:
            await until(lambda: self.channel is not None)
            try:
                answer = await self.send(order, act)
            except Closed:
                continue
            if answer.why != "not_now":
                return answer
            await asyncio.sleep(0.1)

    async def read_console(self, server: ServerId, limit: int = 100) -> Answer:
        self._commands += 1
        return await self._ask(Read(id=self._commands, what=ReadConsole(server=server, limit=limit)))

    async def _ask(self, message: Command | Read) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[message.id] = answer
        await self.say(message)
        return await answer


class Life:
    """One run of the agent's process. At crash point `ends_at` everything of it stands still for ever."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.ends_at = ends_at
        self.points: list[str] = []
        self.over = asyncio.Event()
        self._frozen: list[asyncio.Future[None]] = []
        self._buried = False

    async def pass_point(self, name: str) -> None:
        if self._buried:
            raise asyncio.CancelledError  # the process is long dead, and the test is being cleaned up
        if not self.over.is_set():
            if len(self.points) == self.ends_at:
                self.over.set()
            self.points.append(name)
        if self.over.is_set():
            frozen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._frozen.append(frozen)
            await frozen

    def bury(self) -> None:
        """Let what stands still end."""
        self._buried = True
        for frozen in self._frozen:
            frozen.cancel()


class Mortal:
    """A part as one process uses it: a crash point before and after each call, nothing more once its life is over."""

    def __init__(self, part: object, name: str, life: Life) -> None:
        self._part = part
        self._name = name
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        called: Callable[..., Any] = getattr(self._part, name)
        if inspect.isasyncgenfunction(called):
            return called  # it is read piece by piece, and changes nothing

        async def call(*args: Any, **options: Any) -> Any:
            await self._life.pass_point(f"before {self._name}.{name}")
            result = await called(*args, **options)
            await self._life.pass_point(f"after {self._name}.{name}")
            return result

        return call


class Host:
    """One host. Its agent can be started, stopped and crashed; the rest lives on."""

    def __init__(
        self,
        *controllers: Controller,
        start_s: float = 0.0,
        shut_down_s: float = 0.0,
        seed: int = 1,
        kind: type[SimulatedHypervisor] = SimulatedHypervisor,
    ) -> None:
        self.clock = VirtualClock()
        self.chance = SeededChance(seed)
        self.storage = SimulatedStorage("storage")
        self.hypervisor = kind(self.clock, self.storage, start_s=start_s, shut_down_s=shut_down_s)
        self.network = SimulatedNetwork()
        self.journal = MemoryJournal(self.chance)
        self.volumes: Storage | None = None  # of a storage host
        self.lines = [line_to(one, f"controller-{at}") for at, one in enumerate(controllers)]
        self.boot = "boot-1"
        self.book = MemoryBook()
        self.dialer_to: Callable[[str], Line] | None = None
        self.life = Life()
        self.guard_page = MemoryPage()
        self.guard: Guard | None = None
        self.local = Line(self._serve_agent, "guard")
        self._guarding: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._former: list[tuple[asyncio.Task[None], Life]] = []

    async def _serve_agent(self, channel: Channel) -> None:
        assert self.guard is not None
        await self.guard.serve_agent(channel)

    def start_guard(self) -> None:
        """Have the host's guard run; it goes on whatever becomes of the agent."""
        if self._guarding is not None:
            return
        self.guard = Guard(
            "host",
            self.guard_page,
            self.clock,
            self.chance,
            [line.beside for line in self.lines if line.beside is not None],
            boot=self.boot,
            dialer_to=self.dialer_to and self._guard_dialer_to,
        )
        self._guarding = asyncio.get_running_loop().create_task(self.guard.run(), name="guard")

    def _guard_dialer_to(self, address: str) -> Line:
        assert self.dialer_to is not None
        line = self.dialer_to(address)
        assert line.beside is not None
        return line.beside

    async def end_guard(self) -> None:
        """Kill the guard."""
        guarding, self._guarding = self._guarding, None
        if guarding is not None:
            guarding.cancel()
            await asyncio.wait([guarding])
        self.local.hang_up()

    def start(self, ends_at: int | None = None) -> None:
        self.start_guard()
        self.life = Life(ends_at)

        def mortal(part: object, name: str) -> Any:
            return Mortal(part, name, self.life)

        agent = Agent(
            AgentSettings(name="host"),
            cast(Hypervisor, mortal(self.hypervisor, "hypervisor")),
            cast(Network, mortal(self.network, "network")),
            cast(Journal, mortal(self.journal, "journal")),
            self.clock,
            self.chance,
            self.lines,
            self.local,
            boot=self.boot,
            address="192.0.2.1",
            storage=self.volumes,
            dialer_to=self.dialer_to,
            book=self.book,
        )
        self._running = asyncio.get_running_loop().create_task(agent.run(), name="agent")

    def crash(self) -> None:
        """End the agent's process at once."""
        assert self._running
        self.life.over.set()
        self._former.append((self._running, self.life))
        self._running = None
        for line in (*self.lines, self.local):
            line.hang_up()

    async def stop(self) -> None:
        """Ask the agent to end, and wait until it has."""
        assert self._running
        running, self._running = self._running, None
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled(), running.exception()

    async def end(self) -> None:
        """Leave nothing of any agent behind, nor of the guard."""
        await self.end_guard()
        for dead, life in self._former:
            life.bury()
            dead.cancel()
            await asyncio.wait([dead])
        if self._running:
            await self.stop()

    @property
    def state(self) -> dict[str, Any]:
        """What is left on the host, in one comparable value."""
        return {
            "guests": self.hypervisor.executing(),
            "disks": sorted(self.storage.disks),
            "owners": dict(self.storage.owners),
            "segments": {vni: sorted(ports) for vni, ports in self.network.segments.items()},
        }


def line_to(controller: Controller, address: str) -> Line:
    """Return the agent's line to a controller, and beside it the guard's."""
    of_agent, of_guard = (Line(controller.accept, address, listener=lambda: controller.process) for _ in range(2))
    of_agent.beside = of_guard
    return of_agent


def with_a_host(test: Callable[[Host, Controller], Awaitable[None]], **options: Any) -> None:
    """Run a test with a host that one controller has welcomed."""

    async def main() -> None:
        controller = Controller()
        host = Host(controller, **options)
        host.start()
        await controller.leased()
        await test(host, controller)
        await host.end()

    run_virtual(main(), limit_s=3600)


def with_two_controllers(test: Callable[[Host, Controller, Controller], Awaitable[None]], **options: Any) -> None:
    """Run a test with a host that two controllers have welcomed."""

    async def main() -> None:
        first, second = Controller(), Controller()
        host = Host(first, second, **options)
        host.start()
        await first.leased()
        await second.leased()
        await test(host, first, second)
        await host.end()

    run_virtual(main(), limit_s=3600)


def later(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Begin the work and go on."""
    return asyncio.get_running_loop().create_task(work)


async def until(reached: Callable[[], bool], limit_s: float = 300.0) -> None:
    """Wait for a state."""
    async with asyncio.timeout(limit_s):
        while not reached():
            await VirtualClock().sleep(0.01)
