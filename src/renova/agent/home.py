"""Home: the one connection over which the agent reports its guests; the controllers know by it who reaches this host.

Every controller that has welcomed the host may command it. One of the connections is home, until it ends or leaves a
ping or a report unanswered: then the next one in turn is. The guard renews the host's lease over a home of its own.
"""

import asyncio
from collections.abc import Callable

import structlog

from renova.agent.session import AgentSession, AgentSessions
from renova.uplink.pings import PING_EVERY_S, answers

log = structlog.get_logger()


class Home:
    """Chooses among the welcomed `sessions`; `moved` is called when another one is home, or none."""

    def __init__(self, sessions: AgentSessions) -> None:
        self.moved: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._session: AgentSession | None = None
        self._left: set[AgentSession] = set()  # that left something unanswered, since it was home
        self._chosen = asyncio.Event()
        self._lost = asyncio.Event()

    @property
    def controller(self) -> str:
        """Who is at its other end; "" while there is none."""
        return self._session.controller if self._session is not None and not self._session.ended else ""

    async def session(self) -> AgentSession:
        """Return the connection that is home; wait while there is none."""
        while self._session is None or self._session.ended:
            self._chosen.clear()
            await self._chosen.wait()
        return self._session

    def lost(self, session: AgentSession) -> None:
        """Have another home if this connection, which has ended, was it."""
        self._left.discard(session)
        if session is self._session:
            self._lost.set()

    def leave(self, session: AgentSession) -> None:
        """Have another home than this one, if there is one: it left something unanswered."""
        if session is self._session and not self._sessions.all_in([session]):
            self._left.add(session)
            self._lost.set()

    async def serve(self) -> None:
        """Have a home, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._choose())
            group.create_task(self._watch())

    async def _choose(self) -> None:
        home: AgentSession | None = None
        while True:
            home = await self._sessions.one(after=home)
            if home in self._left and not self._sessions.all_in(self._left):
                continue
            self._left.discard(home)
            self._lost.clear()
            if home is not self._session:
                former = self._session and self._session.address
                log.info("host has a home", controller=home.address, former=former)
                self._session = home
            self._chosen.set()
            self.moved()
            while not (home.ended or home in self._left):
                await self._lost.wait()
                self._lost.clear()
            if home.ended:
                self.moved()

    async def _watch(self) -> None:
        """Find out before long when home stands still, as long as there is another one to go to."""
        while True:
            home = await self.session()
            await asyncio.sleep(PING_EVERY_S)
            if self._sessions.all_in([home]) or await answers(home):
                continue
            if home is self._session and not home.ended:
                log.warning("home does not answer", controller=home.address)
                self.leave(home)
