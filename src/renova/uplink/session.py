"""One connection to one controller, from hello to its end, and the set of those that were welcomed."""

import asyncio
from collections.abc import Collection
from typing import Generic, TypeVar

from renova.model.channel import Closed
from renova.uplink.connection import DialledChannel
from renova.wire.frames import encode
from renova.wire.message import Message


class Session:
    """A connection as the host's process has it. What is said of the controller comes with the welcome."""

    def __init__(self, channel: DialledChannel, address: str) -> None:
        self.address = address
        self.welcomed = False
        self.controller = ""  # whoever welcomed: the same one may be reached by several addresses
        self.ended = False
        self.channel = channel

    async def send(self, message: Message) -> None:
        """Send a message; `Closed` when the connection has ended."""
        if self.ended:
            raise Closed(f"the connection to {self.address} ended")
        try:
            await self.channel.send(encode(message))
        except Closed:
            self.ended = True
            raise

    async def ping(self) -> None:
        """Return once the controller has shown that it runs; `Closed` when the connection ends first."""
        await self.channel.ping()

    async def close(self) -> None:
        self.ended = True
        await self.channel.close()


S = TypeVar("S", bound=Session)


class Sessions(Generic[S]):
    """The sessions that were welcomed and go on."""

    def __init__(self) -> None:
        self._open: list[S] = []
        self._more = asyncio.Event()

    def add(self, session: S) -> None:
        self._open.append(session)
        self._more.set()

    def remove(self, session: S) -> None:
        if session in self._open:
            self._open.remove(session)

    def reach(self, controller: str) -> bool:
        """Say whether a session with this controller goes on."""
        return any(each.controller == controller for each in self.usable())

    def all_in(self, sessions: Collection[S]) -> bool:
        """Say whether there is no other session than these."""
        return all(each in sessions for each in self.usable())

    async def one(self, after: S | None = None) -> S:
        """Return a session, the next one after `after` in turn; wait while there is none."""
        while True:
            usable = self.usable()
            if usable:
                at = usable.index(after) + 1 if after in usable else 0
                return usable[at % len(usable)]
            self._more.clear()
            await self._more.wait()

    def usable(self) -> list[S]:
        return [session for session in self._open if not session.ended]
