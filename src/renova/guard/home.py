"""Home: the one connection over which the guard renews the host's lease.

It stays home until it ends, leaves a ping unanswered (its controller is frozen or cut off) or a renewal unacknowledged
(likewise, or its database is away from it): then the next one in turn is home at once. So a lease outlives any
controller.

Pings are only for leaving home: they cost no database anything, and move no deadline. A controller that was slow once
is not dialled anew, keeps its connection, and may be home again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from renova.guard.lease import Lease
from renova.model.channel import Closed
from renova.uplink.pings import PING_EVERY_S, answers
from renova.uplink.session import Session, Sessions
from renova.wire.leases import Renew, Renewed

log = structlog.get_logger()

# Of the time between renewals: how long one may stay unacknowledged before it is sent over the next connection.
PATIENCE = 0.5


class Home:
    """Chooses among the welcomed `sessions`, and sends each `renewal` of the `lease` as it is made."""

    def __init__(self, sessions: Sessions[Session], lease: Lease, renewal: Callable[[], Renew]) -> None:
        self.renew_s = 2.0  # between renewals, until a welcome says how often
        self._sessions = sessions
        self._lease = lease
        self._renewal = renewal
        self._session: Session | None = None
        self._silent: set[Session] = set()  # that left something unanswered, since a renewal was acknowledged
        self._moved = asyncio.Event()
        self._woken = asyncio.Event()  # another renewal is wanted soon
        self._over = asyncio.Event()  # the wait for an answer is

    async def _home(self) -> Session:
        """Return the connection that is home; wait while there is none."""
        while self._session is None or self._session.ended:
            self._moved.clear()
            await self._moved.wait()
        return self._session

    def wake(self) -> None:
        """Renew soon: something new is to be said with a renewal."""
        self._woken.set()

    def begin_anew(self) -> None:
        """Renew at once, though an answer is awaited: a connection was welcomed, or a lease entered."""
        self._woken.set()
        self._over.set()

    def lost(self, session: Session) -> None:
        """Have another home if this connection, which has ended, was it."""
        if session is self._session:
            self.begin_anew()

    def heard(self, renewed: Renewed) -> bool:
        """Take a controller's answer to a renewal; say whether the lease was renewed."""
        trails = self._lease.trails(renewed)
        acknowledged = self._lease.acknowledged(renewed)
        if self._lease.heard or trails:
            self._over.set()
        return acknowledged

    async def serve(self) -> None:
        """Have a home and renew the lease over it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._watch())

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        home: Session | None = None
        while True:
            if home is None or home.ended or home in self._silent:
                home = await self._sessions.one(after=home)
                self._move(home)
            next_s = loop.time() + self.renew_s
            if await self._renewed(home):
                self._silent.clear()
            elif home.ended:
                continue
            else:
                self._silent.add(home)
                if not self._sessions.all_in(self._silent):
                    continue
                self._silent.clear()  # nobody acknowledges: go round again, but no faster than usually
            await self._rest(home, next_s - loop.time())

    async def _watch(self) -> None:
        """Find out before long when home stands still, as long as there is another one to go to."""
        while True:
            home = await self._home()
            await asyncio.sleep(PING_EVERY_S)
            if self._sessions.all_in([home]) or await answers(home):
                continue
            if home is self._session and not home.ended:
                log.warning("home does not answer", controller=home.address)
                self._silent.add(home)
                self.begin_anew()

    async def _renewed(self, home: Session) -> bool:
        """Renew the lease over this connection; say whether that was acknowledged in time."""
        with suppress(TimeoutError, Closed):
            async with asyncio.timeout(PATIENCE * self.renew_s):
                while not home.ended and home not in self._silent:
                    self._woken.clear()
                    self._over.clear()
                    await home.send(self._renewal())
                    await self._over.wait()
                    if self._lease.heard:
                        return True
                    # Else it only told how far the counter is: the next renewal, with that, will count.
        return False

    async def _rest(self, home: Session, seconds: float) -> None:
        if home.ended or home in self._silent:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _move(self, home: Session) -> None:
        if home is not self._session:
            log.info("host has a home", controller=home.address, former=self._session and self._session.address)
            self._session = home
        self._moved.set()
