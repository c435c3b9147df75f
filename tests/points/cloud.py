"""A simulated cloud all of whose durable writes, calls and messages pass taps, and whose processes can be killed."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.image import Write
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.channel import Channel, Closed
from renova.model.errors import NotNow
from renova.model.ids import ServerId
from renova.partners.notifications import CloudEvent
from renova.simulation.channel import End, Line
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.controllers import Inside, SimulatedController
from renova.simulation.hosts import SimulatedHost
from renova.simulation.processes import Process, outside
from renova.store.database import Database
from renova.wire import frames
from tests.points.taps import Passing, Seam, Tapped, TappedExecutor, Taps

DOWN_S = 0.5  # virtual seconds for which a killed process is gone
TAKEN_OVER_S = 10.0  # the same where another controller is to take over what it did
ARRIVED_S = 0.002  # by then a message has arrived
LOOK_S = 0.2  # between looks whether all is done
LATE_S = 20.0  # longer than a host's lease, with its margin, and than an executor's
STORAGE_WAIT_S = 3 * LATE_S  # so that only storage that refuses is given up

GUESTS = ("prepare", "start", "resume", "define", "shut_down", "kill", "undefine", "drop_disks", "set_aside")
DEVICES = ("attach_volume", "detach_volume", "attach_nic", "detach_nic")
OTHERS = ("pause", "unpause", "suspend", "snapshot", "drop_snapshot")
TRAVELLERS = ("expect", "turn_away", "depart", "stay", "take_in")
PAGES = ("write_server", "write_host", "write_thing")
STORES = ("have", "drop", "have_snapshot", "drop_snapshot")
IMAGES = ("add", "image", "write", "having", "remove")


class Listener:
    """Takes every event that the cloud tells, and keeps it."""

    def __init__(self) -> None:
        self.heard: list[CloudEvent] = []

    async def deliver(self, event: CloudEvent) -> None:
        self.heard.append(event)

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Birth:
    """A guest that came to run: on which disk, and what it wrote there at once."""

    server: ServerId
    generation: int
    storage: str
    word: str


class TappedChannel:
    """One end of a connection, whose messages are points where they leave and where they arrive."""

    def __init__(self, channel: Channel, line: Line, taps: Taps, *, at_host: bool) -> None:
        self.channel = channel
        self.line = line
        self._taps = taps
        self._decode = frames.decode_from_agent if at_host else frames.decode_from_controller
        self._decode_other = frames.decode_from_controller if at_host else frames.decode_from_agent
        self.held: list[bytes] | None = None  # what comes late

    async def send(self, frame: bytes) -> None:
        async def sent() -> None:
            if self.held is not None:
                self.held.append(frame)
            else:
                await self.channel.send(frame)

        await self._taps.passing(Seam.SEND, kind_of(self._decode(frame)), sent, part=self, subject=frame)

    async def frames(self) -> AsyncIterator[bytes]:
        async for frame in self.channel.frames():

            async def taken(frame: bytes = frame) -> bytes:
                return frame

            yield await self._taps.passing(
                Seam.RECEIVE, kind_of(self._decode_other(frame)), taken, part=self, subject=frame
            )

    async def close(self) -> None:
        await self.channel.close()


class TappedHostEnd(TappedChannel):
    """The host's end, which asks now and then whether the controller runs."""

    def __init__(self, channel: End, line: Line, taps: Taps) -> None:
        super().__init__(channel, line, taps, at_host=True)
        self.ping = channel.ping


class TappedLine:
    """A line whose connections are tapped at the host's end."""

    def __init__(self, line: Line, taps: Taps) -> None:
        self._line = line
        self._taps = taps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)

    async def dial(self) -> TappedHostEnd:
        return TappedHostEnd(await self._line.dial(), self._line, self._taps)


def kind_of(message: Any) -> str:
    """Name a message by its kind, and what it is about."""
    kind = type(message).__name__
    about = getattr(message, "act", None) or getattr(message, "result", None) or getattr(message, "what", None)
    if about is not None:
        return f"{kind}({type(about).__name__})"
    if why := getattr(message, "why", ""):
        return f"{kind}({why})"
    return kind


class TappedCloud(SimulatedCloud):
    """A cloud with taps."""

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, storage_wait=STORAGE_WAIT_S)
        super().__post_init__()
        self.taps = Taps()
        self.listener = Listener()
        self.sink = self.listener
        self.births: list[Birth] = []
        self.ran_twice: list[str] = []
        self.falling = 0  # processes that were killed and are to be started again
        self.to_come = 0  # things that faults have still to do
        self.images = Tapped(self.images, self.taps, Seam.SERVICE, IMAGES)  # type: ignore[assignment]

    def _database_for(self, one: SimulatedController, process: Process) -> Database:
        return Database(TappedExecutor(Inside(process, self.database), self.taps))

    def _line(self, host: str, controller: str) -> Any:
        line = super()._line(host, controller)
        serve = line._accept

        async def accept(channel: Channel) -> None:
            await serve(TappedChannel(channel, line, self.taps, at_host=False))

        line._accept = accept
        return TappedLine(line, self.taps)

    def start_agent(self, name: str) -> None:
        host: Any = self.any_host(name)
        if not isinstance(host.journal, Tapped):
            self._tap(host)
        super().start_agent(name)

    def _tap(self, host: Any) -> None:
        if isinstance(host, SimulatedHost):
            self._note_births(host.hypervisor, host.storage)
            host.hypervisor = Tapped(host.hypervisor, self.taps, Seam.DRIVER, GUESTS + DEVICES + OTHERS + TRAVELLERS)  # type: ignore[assignment]
            host.network = Tapped(host.network, self.taps, Seam.DRIVER, ("plug", "unplug"))  # type: ignore[assignment]
        if host.volumes is not None:
            host.volumes = Tapped(host.volumes, self.taps, Seam.DRIVER, STORES)
        host.journal = Tapped(host.journal, self.taps, Seam.JOURNAL, PAGES)

    def _note_births(self, hypervisor: SimulatedHypervisor, storage: SimulatedStorage) -> None:
        run = hypervisor._run

        async def counted(domain: Any, disk: Any) -> None:
            await run(domain, disk)
            birth = Birth(domain.guest.server, domain.guest.disks.generation, storage.identity, self.chance.uuid())
            self.births.append(birth)
            if len(running := self.running(birth.server)) > 1:
                self.ran_twice.append(f"{birth.server} on {running}")
            disk.writes.append(Write(domain.guest.incarnation, birth.word))

        hypervisor._run = counted  # type: ignore[method-assign]

    # --- faults ---

    def _has_ended(self, process: Process, name: str, error: BaseException) -> None:
        """Start anew what ended because what it needs was away, as a service manager does."""
        if not isinstance(error, NotNow):
            super()._has_ended(process, name, error)
            return
        self.falling += 1
        if name in self.controllers:
            self.controllers[name].process = self.controllers[name].controller = None
        else:
            self.any_host(name.removeprefix("agent-")).agent = None
        self.outlive(DOWN_S, self.start(name.removeprefix("agent-")))

    async def kill(self, process: str) -> None:
        """Kill it; who calls this from within goes on to its next await."""
        if process in self.controllers:
            await self.kill_controller(process)
        else:
            await self.kill_agent(process)

    async def start(self, process: str) -> None:
        if process in self.controllers:
            await self.start_controller(process)
        elif self.any_host(process).powered:
            self.start_agent(process)
        self.falling -= 1

    async def die(self, process: str) -> Any:
        """Kill the process that calls this, and have it started again a moment later; never returns."""
        self.falling += 1
        others = process in self.controllers and len(self.controllers) > 1
        self.outlive(TAKEN_OVER_S if others else DOWN_S, self.start(process))
        await self.kill(process)
        await asyncio.get_running_loop().create_future()

    def freeze(self, process: str) -> None:
        """Stop the process where it stands for longer than any lease."""
        one = self.controllers[process].process if process in self.controllers else self.any_host(process).agent
        assert one is not None
        self.falling += 1

        async def thaw() -> None:
            one.thaw()
            self.falling -= 1

        self.outlive(LATE_S, thaw())
        one.freeze()

    def hold_back(self, passing: Passing) -> None:
        """Have the message, and all after it on its connection, arrive late."""
        channel: TappedChannel = passing.part
        channel.held = [passing.subject]

        async def release() -> None:
            held, channel.held = channel.held or [], None
            with suppress(Closed):  # the connection has ended meanwhile: what was late is lost
                for frame in held:
                    await channel.channel.send(frame)

        self.outlive(LATE_S, release())

    def outlive(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        """Do the work later, whoever has died by then."""

        def begin() -> None:
            self._later = asyncio.get_running_loop().create_task(work)
            self._later.add_done_callback(done)

        def done(_task: object) -> None:
            self.to_come -= 1

        self.to_come += 1
        asyncio.get_running_loop().call_later(seconds, begin, context=outside())

    def is_up(self, name: str) -> bool:
        """Say whether the host is connected and up, for every controller."""
        return all(
            one.controller is not None and one.cloud.agents.connected(host) and one.cloud.hosts.up(host)
            for one in self.controllers.values()
            for host in [self.any_host(name).id]
        )

    def is_silent(self, name: str) -> bool:
        """Say whether no controller takes the host for up."""
        host = self.any_host(name).id
        return all(one.controller is not None and not one.cloud.hosts.up(host) for one in self.controllers.values())

    def all_alive(self) -> bool:
        """Say whether every process runs on a host that has power."""
        agents = all(host.agent is not None for host in self.every_host() if host.powered)
        return self.falling == 0 and agents and all(one.controller is not None for one in self.controllers.values())
