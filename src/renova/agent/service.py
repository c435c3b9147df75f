"""The agent of a host: keeps a connection to every controller, and obeys what is not stale.

`main` and the simulation make one a host and run it. It promises: nothing is done for an order that is below what
this host has seen, whichever controller it comes from; what it has seen is on disk before it acts; no two acts of a
server run at a time; and when a lease ends, everything begun under it has ended before the next one is entered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace

from renova.agent.acts import Acts
from renova.agent.guard_line import GuardLine
from renova.agent.guests import Guests
from renova.agent.hangs import Hangs
from renova.agent.heart import Heartbeat
from renova.agent.home import Home
from renova.agent.images import Images
from renova.agent.journal import HostPage, Journal
from renova.agent.neighbours import Neighbours
from renova.agent.reports import Reports
from renova.agent.requests import Requests
from renova.agent.session import AgentSession, AgentSessions
from renova.agent.stores import Stores
from renova.agent.uploads import Uploads
from renova.drivers.heartbeat import Heartbeats
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.network import Network
from renova.drivers.volume import Storage
from renova.model.chance import Chance
from renova.model.channel import Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow
from renova.settings import AgentSettings
from renova.uplink.connection import Dialer, LocalDialer
from renova.uplink.controllers import AddressBook, KnownControllers, MemoryBook
from renova.uplink.keeping import keep_connected
from renova.uplink.pauses import Pauses, patiently
from renova.wire.commands import Command
from renova.wire.duties import Clean
from renova.wire.frames import FromController
from renova.wire.images import Tidy
from renova.wire.leases import Fenced
from renova.wire.questions import Read
from renova.wire.sessions import Controllers, Hello, Peers, Standing, Welcome
from renova.wire.storage import StorageCommand

log = structlog.get_logger()
T = TypeVar("T")

WELCOME_S = 30.0  # a controller that does not welcome a host for so long is dialled anew
SWEEP_S = 3600.0  # between looks for disks that were set aside long enough ago
DAY_S = 86400.0


class Agent:
    """The agent of the host `settings.name`, whose underlay address is `address` and whose boot is `boot`."""

    def __init__(
        self,
        settings: AgentSettings,
        hypervisor: Hypervisor,
        network: Network,
        journal: Journal,
        clock: Clock,
        chance: Chance,
        dialers: Sequence[Dialer],
        guard: LocalDialer,
        *,
        boot: str,
        address: str,
        storage: Storage | None = None,
        heartbeats: Heartbeats | None = None,  # on the storage of its guests; None: it has none
        dialer_to: Callable[[str], Dialer] | None = None,  # for controllers that are told of; None: not dialled
        book: AddressBook | None = None,
    ) -> None:
        self._name = settings.name
        self._address = address
        self._boot = boot
        self._system = settings.system_uuid
        self._hypervisor = hypervisor
        self._journal = journal
        self._clock = clock
        self._chance = chance
        self._controllers = KnownControllers(dialers, dialer_to, book or MemoryBook(), clock)
        self._page = HostPage("")  # read when it runs
        self._sessions = AgentSessions()  # welcomed ones
        self._connections: list[AgentSession] = []  # all
        self._home = Home(self._sessions)
        self._guard = GuardLine(guard, clock, self._pauses(), self._home, self._lease_over)
        images = Images(self._sessions, clock)
        self._forced_down = False
        self._keep_asides_s = settings.aside_days * DAY_S
        self._storage = storage  # of a storage host
        self._stores = Stores(journal, storage, images) if storage is not None else None
        self._guests = Guests(
            journal,
            Acts(hypervisor, network, images, Uploads(self._sessions), self._may_start, settings.builds_at_once),
            self._idle,
        )
        self._heartbeat = Heartbeat(heartbeats, clock) if heartbeats is not None else None
        self._reports = Reports(self._home, self._guests.is_busy, clock, chance)
        self._hangs = Hangs(hypervisor, self._reports.change, clock)
        self._requests = Requests(
            hypervisor,
            network,
            self._guests,
            self._hangs,
            self._stores,
            self._heartbeat,
            lambda: self._page,
            self._pauses,
        )
        self._welcoming = asyncio.Lock()
        self._ending = asyncio.Lock()  # held while acts of a revoked lease are ended
        self._answering: set[asyncio.Task[None]] = set()
        self._neighbours = Neighbours(network, address, self._pauses())

    async def run(self) -> None:
        """Serve until cancelled; then end what runs. Guests are left as they are."""
        self._page = await self._patiently("journal not opened", self._journal.open)
        try:
            booted = replace(self._page, boot=self._boot)
            await self._patiently("journal not written", lambda: self._note(booted))
            await self._patiently("hypervisor not reached", lambda: self._hypervisor.connect(self._reports.change))
            if (storage := self._storage) is not None:
                await self._patiently("storage not opened", lambda: storage.open(self._exports_lost))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._guard.serve(), name=f"guard-line-{self._name}")
                group.create_task(self._home.serve(), name=f"home-{self._name}")
                group.create_task(self._reports.serve(), name=f"reports-{self._name}")
                group.create_task(self._hangs.serve(), name=f"hangs-{self._name}")
                group.create_task(self._neighbours.serve(), name=f"peers-{self._name}")
                if self._heartbeat is not None:
                    group.create_task(self._heartbeat.serve(), name=f"heartbeat-{self._name}")
                group.create_task(self._sweep(), name=f"sweep-{self._name}")
                group.create_task(self._controllers.serve(self._keep_connected), name=f"controllers-{self._name}")
        finally:
            await self._halt("the agent stops")
            await _end_tasks(self._answering)
            if self._storage is not None:
                await self._storage.close()
            await self._hypervisor.close()
            await self._journal.close()

    # Connections.

    async def _keep_connected(self, dialer: Dialer) -> None:
        await keep_connected(dialer, self._controllers, self._sessions, self._call, self._converse, self._pauses())

    async def _call(self, dialer: Dialer) -> AgentSession:
        await self._hypervisor.facts()  # a host that can say nothing of itself need not call
        async with self._ending:
            pass  # what was begun under a lease that was revoked has ended: the hello tells of all that is here
        return AgentSession(await dialer.dial(), dialer.address)

    async def _converse(self, session: AgentSession) -> None:
        """Serve one connection from hello to its end."""
        self._connections.append(session)
        children: set[asyncio.Task[None]] = set()
        try:
            await session.send(await self._hello())
            async with aclosing(session.messages()) as messages:
                try:
                    async with asyncio.timeout(WELCOME_S):
                        welcome = await anext(messages, None)
                except TimeoutError as error:
                    raise NotNow("the controller does not welcome this host") from error
                if welcome is None:
                    raise Closed("the controller ended the connection without a welcome")
                if not isinstance(welcome, Welcome):
                    raise Broken(f"the controller began with {type(welcome).__name__} instead of a welcome")
                await self._enter(session, welcome)
                for duty in welcome.duties:
                    _spawn(children, self._requests.duty(session, duty), f"duty-{duty.server}")
                async for message in messages:
                    await self._heard(session, message, children)
        finally:
            self._connections.remove(session)
            self._sessions.remove(session)
            self._home.lost(session)
            await session.close()
            await _end_tasks(children)

    async def _hello(self) -> Hello:
        return Hello(
            name=self._name,
            address=self._address,
            boot=self._boot,
            journal=self._page.journal,
            era=self._page.era,
            epoch=self._page.epoch,
            facts=await self._hypervisor.facts(),
            guests=tuple(self._hangs.seen(guest) for guest in await self._hypervisor.guests()),
            role="compute" if self._storage is None else "storage",
            storage=None if self._storage is None else await self._storage.facts(),
            system=self._system,
        )

    async def _enter(self, session: AgentSession, welcome: Welcome) -> None:
        """Take the place that the welcome gives. Under a new lease, first end what was begun under the old."""
        async with self._welcoming:
            known = self._page
            if welcome.era < known.era or welcome.epoch < known.epoch:
                raise NotNow(
                    f"the controller is at era {welcome.era}, epoch {welcome.epoch}, but this host has seen era "
                    f"{known.era}, epoch {known.epoch}: its database has lost something"
                )
            if (welcome.era, welcome.epoch) != (known.era, known.epoch):
                log.info("host enters a lease", host=welcome.host, era=welcome.era, epoch=welcome.epoch)
                await self._note(replace(known, era=welcome.era, epoch=welcome.epoch))
                self._end_older((welcome.era, welcome.epoch))
                await self._halt("the host has a new lease")
            session.welcomed, session.id, session.controller = True, welcome.session, welcome.controller
            session.lease = (welcome.era, welcome.epoch)
            self._forced_down = welcome.forced_down
            self._sessions.add(session)
            self._guard.registered(welcome.era, welcome.epoch)
            self._neighbours.take(welcome.peers)
            self._hangs.count_after(welcome.hang_after)
        await self._controllers.tell(welcome.controllers)

    def _end_older(self, lease: tuple[int, int]) -> None:
        """End the connections that were welcomed under a lease before this one.

        Whoever is at their other end speaks for the old one, and would be refused for ever: by a new hello it learns of
        the new one.
        """
        for session in self._connections:
            if session.id and session.lease < lease:
                _spawn(self._answering, session.close(), "close")

    async def _heard(self, session: AgentSession, message: FromController, children: "set[asyncio.Task[None]]") -> None:
        match message:
            case Command():
                _spawn(self._answering, self._requests.command(session, message), f"command-{message.order.server}")
            case StorageCommand():
                _spawn(
                    self._answering, self._requests.storage_command(session, message), f"command-{message.order.thing}"
                )
            case Read():
                _spawn(self._answering, self._requests.question(session, message), f"read-{message.id}")
            case Tidy():
                _spawn(self._answering, self._requests.tidy(session, message), f"tidy-{message.id}")
            case Clean():
                _spawn(children, self._requests.duty(session, message.duty), f"duty-{message.duty.server}")
            case Peers():
                self._neighbours.take(message.addresses)
            case Controllers():
                await self._controllers.tell(message.addresses)
            case Fenced():
                await self._be_fenced(message)
            case Standing():
                self._take_standing(message)
            case _:
                raise Broken(f"the controller sent {type(message).__name__} out of turn")

    def _take_standing(self, standing: Standing) -> None:
        if standing.forced_down != self._forced_down:
            self._forced_down = standing.forced_down
            log.warning("host forced down" if standing.forced_down else "host no longer forced down")

    def _may_start(self) -> None:
        """Raise `NotNow` while this host must not start guests."""
        self._guard.must_hold(self._page.era, self._page.epoch)
        if self._forced_down:
            raise NotNow("an operator has forced this host down: it starts no guest")

    def _lease_over(self, epoch: int) -> None:
        """Act on the end of the lease, which the guard has heard of first."""
        _spawn(self._answering, self._be_fenced(Fenced(epoch=epoch)), "fenced")

    async def _be_fenced(self, fenced: Fenced) -> None:
        if fenced.epoch < self._page.epoch:
            return  # a controller that is behind speaks of a lease that this host has left
        log.warning("host fenced", epoch=fenced.epoch)
        # Every controller has to welcome this host anew: a late command of the old lease finds no connection. In this
        # order: once the acts are being ended, no connection may bring another one.
        closing = [session.close() for session in self._connections]
        async with self._ending:
            await asyncio.gather(*closing, self._halt("the host's lease was revoked"))

    async def _halt(self, reason: str) -> None:
        """End whatever acts, to be tried again; return when it has ended."""
        await self._guests.halt(reason)
        if self._stores is not None:
            await self._stores.halt(reason)

    def _exports_lost(self) -> None:
        """Have every controller say anew what is to be served: by a new connection, whose hello they answer so."""
        log.warning("exports lost")
        for session in self._connections:
            _spawn(self._answering, session.close(), "close")

    # What goes on by itself.

    async def _sweep(self) -> None:
        """Delete for good, now and then, what was set aside long enough ago."""
        while True:
            try:
                for aside in await self._hypervisor.drop_asides(self._keep_asides_s):
                    log.info("disks that were set aside deleted", server=aside.server, since=aside.at)
            except Exception:  # kept longer than need be, which harms nobody
                log.error("disks that were set aside not deleted", exc_info=True)
            await self._clock.sleep(SWEEP_S)

    def _idle(self) -> None:
        self._reports.look_again()

    async def _patiently(self, trouble: str, attempt: Callable[[], Awaitable[T]]) -> T:
        return await patiently(trouble, attempt, self._pauses())

    def _pauses(self) -> Pauses:
        return Pauses(self._clock, self._chance)

    async def _note(self, page: HostPage) -> None:
        if page != self._page:
            await self._journal.write_host(page)
            self._page = page


def _spawn(tasks: "set[asyncio.Task[None]]", work: Coroutine[Any, Any, None], name: str) -> None:
    task = asyncio.get_running_loop().create_task(work, name=name)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _end_tasks(tasks: "set[asyncio.Task[None]]") -> None:
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
