"""One connection to one controller, as the agent uses it: messages instead of frames, and what waits for an answer.

`service` makes a session for every connection it dials and decides what the messages mean.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias, TypeVar

from renova.model.channel import Closed
from renova.model.errors import Broken, Stale
from renova.model.guest import GuestChanged
from renova.model.ids import ImageId
from renova.uplink.connection import DialledChannel
from renova.uplink.session import Session, Sessions
from renova.wire.duties import Duty
from renova.wire.frames import FromController, decode_from_controller
from renova.wire.images import ImageBytes, ImagePiece, ImageTaken, WantImage
from renova.wire.message import Message
from renova.wire.sessions import Report, Reported

_Reply: TypeAlias = ImagePiece | ImageTaken | Reported
R = TypeVar("R", ImagePiece, ImageTaken, Reported)


class AgentSession(Session):
    """A connection by which the agent is commanded. `id` comes with the welcome; commands must carry it."""

    def __init__(self, channel: DialledChannel, address: str) -> None:
        super().__init__(channel, address)
        self.id = ""
        self.lease = (0, 0)  # era and epoch under which it was welcomed
        self.duties: set[Duty] = set()  # that are being done for who is at its other end
        self._commanded = 0
        self._asked = 0
        self._waiting: dict[int, tuple[type[_Reply], asyncio.Future[Any]]] = {}

    def must_go_on(self) -> None:
        """Raise `Stale` when it has ended: what came by it is not to be begun any more."""
        if self.ended:
            raise Stale("the connection of the command ended")

    def takes(self, number: int, connection: str) -> bool:
        """Note the number of a command that arrived; False for one that is not above all before: doubled, or overtaken.

        What is over must not be done again, be it of the operation that still goes on. One of a former connection is
        refused for that; its number is none of these.
        """
        if connection != self.id:
            return True
        if number <= self._commanded:
            return False
        self._commanded = number
        return True

    async def messages(self) -> AsyncGenerator[FromController, None]:
        """Give what the controller says, until the connection ends; `Broken` for what is no message."""
        async for frame in self.channel.frames():
            message = decode_from_controller(frame)
            if isinstance(message, _Reply):
                self._answered(message)
            else:
                yield message

    async def close(self) -> None:
        """End it; whoever waits for an answer hears `Closed`."""
        self.ended = True
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Closed(f"the connection to {self.address} ended"))
        await super().close()

    async def piece(self, image: ImageId, offset: int) -> ImagePiece:
        """Ask for the image's next bytes from `offset` on, and wait for them."""
        return await self._ask(ImagePiece, lambda number: WantImage(id=number, image=image, offset=offset))

    async def give(self, image: ImageId, offset: int, data: bytes, sha256: str) -> ImageTaken:
        """Send the image's bytes from `offset` on, and wait until they are taken or refused."""
        return await self._ask(
            ImageTaken, lambda number: ImageBytes(id=number, image=image, offset=offset, data=data, sha256=sha256)
        )

    async def report(self, changes: tuple[GuestChanged, ...]) -> None:
        """Report the changes, and wait until they are taken."""
        await self._ask(Reported, lambda number: Report(id=number, changes=changes))

    async def _ask(self, kind: type[R], make: Callable[[int], Message]) -> R:
        self._asked += 1
        number = self._asked
        waiting: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting[number] = kind, waiting
        try:
            await self.send(make(number))
            return await waiting
        finally:
            del self._waiting[number]

    def _answered(self, message: _Reply) -> None:
        if message.id not in self._waiting:
            return  # nobody waits for it any more
        kind, waiting = self._waiting[message.id]
        if not isinstance(message, kind):
            raise Broken(f"the controller answered with {type(message).__name__} instead of {kind.__name__}")
        if not waiting.done():
            waiting.set_result(message)


class AgentSessions(Sessions[AgentSession]):
    """Those by which the agent is commanded now."""

    def named(self, session: str) -> AgentSession | None:
        """Return the open session of this id."""
        return next((each for each in self.usable() if each.id == session), None)
