"""Home: the one connection over which this host renews its lease and reports its guests.

Every controller that has welcomed the host may command it; one of these connections is home. It stays so until it
ends, leaves a ping unanswered (its controller is frozen or cut off) or a renewal unacknowledged (likewise, or its
database is away from it): then the next one in turn is home at once. So a lease outlives any controller.

Pings are only for leaving home: they cost no database anything, and move no deadline. A controller that was slow once
is not dialled anew, keeps its connection, and may be home again.
"""

import asyncio
from contextlib import suppress

import structlog

from renova.agent.lease import Lease
from renova.agent.session import Session, Sessions
from renova.model.channel import Closed
from renova.wire import Renewed

log = structlog.get_logger()

# Of the time between renewals: how long one may stay unacknowledged before it is sent over the next connection.
PATIENCE = 0.5
# Seconds between a ping's answer and the next ping, and for its answer: a home that froze is left after their sum at
# most, which with the next home's first renewal stays below 2 s.
PING_EVERY_S, PONG_S = 0.75, 1.0


class Home:
    """Chooses among the welcomed `sessions`, and renews the `lease`."""

    def __init__(self, sessions: Sessions, lease: Lease) -> None:
        self.renew_s = 2.0  # between renewals, until a welcome says how often
        self._sessions = sessions
        self._lease = lease
        self._session: Session | None = None
        self._silent: set[Session] = set()  # that left something unanswered, since a renewal was acknowledged
        self._moved = asyncio.Event()
        self._woken = asyncio.Event()

    async def session(self) -> Session:
        """Return the connection that is home; wait while there is none."""
        while self._session is None or self._session.ended:
            self._moved.clear()
            await self._moved.wait()
        return self._session

    def wake(self) -> None:
        """Renew at once: a connection was welcomed, perhaps under a new lease."""
        self._woken.set()

    def lost(self, session: Session) -> None:
        """Have another home if this connection, which has ended, was it."""
        if session is self._session:
            self.wake()

    def heard(self, renewed: Renewed) -> None:
        """Take a controller's answer to a renewal."""
        trails = self._lease.trails(renewed)
        if self._lease.acknowledged(renewed) or trails:
            self.wake()

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
            home = await self.session()
            await asyncio.sleep(PING_EVERY_S)
            if self._sessions.all_in([home]) or await _answers(home):
                continue
            if home is self._session and not home.ended:
                log.warning("home does not answer", controller=home.address)
                self._silent.add(home)
                self.wake()

    async def _renewed(self, home: Session) -> bool:
        """Renew the lease over this connection; say whether that was acknowledged in time."""
        with suppress(TimeoutError, Closed):
            async with asyncio.timeout(PATIENCE * self.renew_s):
                while not home.ended and home not in self._silent:
                    self._woken.clear()
                    await home.send(self._lease.renewal())
                    await self._woken.wait()
                    if self._lease.heard:
                        return True
                    # Else it only told how far the counter is: the next renewal, with that, will count.
        return False

    async def _rest(self, home: Session, seconds: float) -> None:
        if home.ended or home in self._silent:
            return
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _move(self, home: Session) -> None:
        if home is not self._session:
            log.info("host has a home", controller=home.address, former=self._session and self._session.address)
            self._session = home
        self._moved.set()


async def _answers(home: Session) -> bool:
    with suppress(TimeoutError, Closed):
        async with asyncio.timeout(PONG_S):
            await home.ping()
            return True
    return False
