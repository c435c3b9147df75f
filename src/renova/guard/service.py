"""The guard of a host: renews its lease, whoever lives at the other end, and says where the lease ends.

`main` and the simulation make one a host and run it. It promises: the deadline never lies later than what the
controllers believe; a lease below the highest that this host ever had is not entered; an agent that crashes, hangs or
is upgraded shortens nothing; and, armed, that nothing of the host executes while the lease does not hold (`keeper`).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from renova.guard.disarming import Disarming
from renova.guard.home import Home
from renova.guard.keeper import Keeper
from renova.guard.lease import Lease
from renova.guard.neighbours import Neighbours
from renova.guard.page import Page, PageKeeper
from renova.guard.witnessed import Witnessed
from renova.model.chance import Chance
from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow
from renova.model.host import GuardClass
from renova.uplink.connection import Dialer
from renova.uplink.controllers import AddressBook, KnownControllers, MemoryBook
from renova.uplink.keeping import keep_connected
from renova.uplink.local import (
    MISSED_S,
    Beat,
    Held,
    Over,
    Registered,
    Seen,
    decode_from_reader,
    decode_to_guard,
)
from renova.uplink.pauses import Pauses
from renova.uplink.session import Session, Sessions
from renova.wire.frames import FromController, decode_from_controller, encode
from renova.wire.leases import Fenced, GuardHello, GuardWelcome, Renew, Renewed
from renova.wire.message import Message
from renova.wire.sessions import Controllers, Peers

log = structlog.get_logger()

WELCOME_S = 30.0  # a controller that does not welcome a guard for so long is dialled anew


class Guard:
    """The guard of the host `name`, whose boot is `boot`; `keeper` keeps its gate; None: it has none.

    `witnessed` says what the witness shows, to a host that has one.
    """

    def __init__(
        self,
        name: str,
        page: PageKeeper,
        clock: Clock,
        chance: Chance,
        dialers: Sequence[Dialer],
        *,
        boot: str,
        keeper: Keeper | Disarming | None = None,
        neighbours: Neighbours | None = None,
        witnessed: Witnessed | None = None,
        dialer_to: Callable[[str], Dialer] | None = None,  # for controllers that are told of; None: not dialled
        book: AddressBook | None = None,
    ) -> None:
        self._name = name
        self._boot = boot
        self._page = page
        self._clock = clock
        self._chance = chance
        self._keeper = keeper
        self._neighbours = neighbours
        self._controllers = KnownControllers(dialers, dialer_to, book or MemoryBook(), clock)
        self.lease = Lease(clock, boot, chance, witnessed)
        self._sessions: Sessions[Session] = Sessions()
        self._home = Home(self._sessions, self.lease, self._renewal)
        self._entering = asyncio.Lock()
        self._agents: list[_Agent] = []  # the last is the one that runs
        self._agent_home, self._beat_at = "", float("-inf")
        self._over: int | None = None  # the epoch of which the agent was told that it is over

    async def run(self) -> None:
        """Guard until cancelled. What is closed stays closed then."""
        page = await self._page.read()
        self.lease.enter(page.era, page.epoch)
        async with asyncio.TaskGroup() as group:
            if self._keeper is not None:
                group.create_task(self._keeper.serve(self.lease), name=f"gate-{self._name}")
            if self._neighbours is not None:
                group.create_task(self._neighbours.serve(self._holds), name=f"neighbours-{self._name}")
            group.create_task(self._home.serve(), name=f"home-{self._name}")
            group.create_task(self._controllers.serve(self._keep_connected), name=f"controllers-{self._name}")

    # Controllers.

    async def _keep_connected(self, dialer: Dialer) -> None:
        pauses = Pauses(self._clock, self._chance)
        await keep_connected(dialer, self._controllers, self._sessions, _call, self._converse, pauses)

    async def _converse(self, session: Session) -> None:
        try:
            lease = self.lease
            await session.send(GuardHello(name=self._name, boot=self._boot, era=lease.era, epoch=lease.epoch))
            frames = session.channel.frames()
            try:
                async with asyncio.timeout(WELCOME_S):
                    first = await anext(frames, None)
            except TimeoutError as error:
                raise NotNow("the controller does not welcome this host's guard") from error
            if first is None:
                raise Closed("the controller ended the connection without a welcome")
            welcome = decode_from_controller(first)
            if not isinstance(welcome, GuardWelcome):
                raise Broken(f"the controller began with {type(welcome).__name__} instead of a guard's welcome")
            await self._welcomed(session, welcome)
            async for frame in frames:
                await self._heard(session, decode_from_controller(frame))
        finally:
            self._sessions.remove(session)
            await session.close()
            self._home.lost(session)

    async def _welcomed(self, session: Session, welcome: GuardWelcome) -> None:
        session.welcomed, session.controller = True, welcome.controller
        self._home.renew_s = welcome.renew
        if self._keeper is not None:
            self._keeper.allowed(welcome.times)
        self._take_peers(welcome.peers)
        self._sessions.add(session)
        self._home.begin_anew()
        await self._controllers.tell(welcome.controllers)

    async def _heard(self, session: Session, message: FromController) -> None:
        match message:
            case Renewed():
                if self._home.heard(message):
                    self._over = None
                    self._changed()
            case Fenced():
                await self._fenced(message)
            case Peers():
                self._take_peers(message.addresses)
            case Controllers():
                await self._controllers.tell(message.addresses)
            case _:
                raise Broken(f"the controller sent {type(message).__name__} to a guard")

    def _renewal(self) -> Renew:
        guard, stops_in = GuardClass.NONE, 0.0
        if self._keeper is not None:
            guard, stops_in = self._keeper.strength, self._keeper.stops_in
        here = self._clock.monotonic() - self._beat_at < MISSED_S
        return self.lease.renewal(guard, self._agent_home if here else "", stops_in)

    async def _fenced(self, fenced: Fenced) -> None:
        """The lease is over, or was never this one; go on under the one that the host has now, if there is one."""
        if fenced.epoch >= self.lease.epoch and self.lease.holds():
            log.warning("lease over", epoch=self.lease.epoch)
        if fenced.epoch >= self.lease.epoch:
            self.lease.lapse()
            self._changed()
            self._tell_over()
        if fenced.next_epoch:
            await self._enter(fenced.next_era, fenced.next_epoch)

    async def _enter(self, era: int, epoch: int) -> None:
        """Go on under this lease if it is a newer one; first the note, so that no older one is ever entered again."""
        async with self._entering:
            if (era, epoch) <= (self.lease.era, self.lease.epoch):
                return
            try:
                await self._page.write(Page(era, epoch))
            except NotNow as error:
                log.error("lease not entered", era=era, epoch=epoch, reason=str(error))
                return
            log.info("guard enters a lease", era=era, epoch=epoch)
            self.lease.enter(era, epoch)
            self._changed()
            self._home.begin_anew()

    # What follows from the lease.

    def _holds(self) -> bool:
        return self.lease.holds()

    def _changed(self) -> None:
        """Have the gate and the agent follow the lease."""
        if self._keeper is not None:
            self._keeper.look()
        self._tell(Held(era=self.lease.era, epoch=self.lease.epoch, deadline=self.lease.deadline))

    def _take_peers(self, addresses: Sequence[str]) -> None:
        if self._neighbours is not None:
            self._neighbours.take(addresses)

    # The agent.

    async def serve_agent(self, channel: Channel) -> None:
        """Serve a channel that the agent of this host has opened, until it ends."""
        agent = _Agent()
        telling = asyncio.get_running_loop().create_task(agent.hear_over(channel), name=f"agent-{self._name}")
        self._agents.append(agent)
        self._over = None
        self._changed()
        try:
            async for frame in channel.frames():
                match decode_to_guard(frame):
                    case Beat(home=home):
                        self._beat_at = self._clock.monotonic()
                        if home != self._agent_home:
                            self._agent_home = home
                            self._home.wake()
                    case Registered(era=era, epoch=epoch):
                        await self._enter(era, epoch)
        except Broken as error:
            log.error("agent not understood", reason=str(error))
        finally:
            telling.cancel()
            self._agents.remove(agent)
            if not self._agents and self._agent_home:
                log.warning("agent gone")
                self._agent_home = ""
                self._home.wake()  # so that nothing is given to this host meanwhile
            await channel.close()

    # The reader of the witness.

    async def serve_reader(self, channel: Channel) -> None:
        """Serve a channel that the reader of this host has opened, until it ends."""
        looking = asyncio.get_running_loop().create_task(self._look(channel), name=f"witness-{self._name}")
        try:
            async for frame in channel.frames():
                self._seen(decode_from_reader(frame))
        except Broken as error:
            log.error("reader not understood", reason=str(error))
        finally:
            looking.cancel()
            await channel.close()

    async def _look(self, channel: Channel) -> None:
        """Ask as often as the lease is renewed; a look that hangs is waited for, and moves nothing meanwhile."""
        witnessed = self.lease.witnessed
        if witnessed is None:
            return
        with suppress(Closed):
            asked = False  # whoever read for us before is gone, with what it was asked
            while True:
                if self.lease.epoch and not (asked and witnessed.waits):
                    await channel.send(encode(witnessed.look(self.lease.era, self.lease.epoch)))
                    asked = True
                await asyncio.sleep(self._home.renew_s)

    def _seen(self, seen: Seen) -> None:
        witnessed = self.lease.witnessed
        if witnessed is None:
            return
        witnessed.seen(seen)
        if witnessed.revoked and self.lease.holds():
            log.warning("lease over: the witness shows that it was revoked", epoch=self.lease.epoch)
            self.lease.lapse()
            self._changed()
            self._tell_over()
        elif self._keeper is not None:
            self._keeper.look()

    def _tell_over(self) -> None:
        """Have the agent end what it does under this lease, and register anew: once, it may take a while."""
        if self.lease.epoch and self._over != self.lease.epoch:
            self._over = self.lease.epoch
            self._tell(Over(epoch=self.lease.epoch))

    def _tell(self, message: Message) -> None:
        for agent in self._agents:
            agent.tell(message)


class _Agent:
    """A process of the agent, and what it has to hear: the newest of each kind, for it may be stopped for long."""

    def __init__(self) -> None:
        self._news: dict[type[Message], Message] = {}
        self._woken = asyncio.Event()

    def tell(self, message: Message) -> None:
        self._news[type(message)] = message
        self._woken.set()

    async def hear_over(self, channel: Channel) -> None:
        """Have it hear all over this channel, until that ends."""
        with suppress(Closed):
            while True:
                await self._woken.wait()
                self._woken.clear()
                while self._news:
                    await channel.send(encode(self._news.pop(next(iter(self._news)))))


async def _call(dialer: Dialer) -> Session:
    return Session(await dialer.dial(), dialer.address)
