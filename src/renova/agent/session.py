"""One connection to one controller, as the agent uses it: messages instead of frames, and what waits for an answer.

`service` makes a session for every connection it dials and decides what the messages mean.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from renova.model.channel import Channel, Closed
from renova.model.guest import GuestChanged
from renova.model.ids import ImageId, ServerId
from renova.wire import (
    FromAgent,
    FromController,
    ImageBytes,
    ImagePiece,
    ImageTaken,
    Report,
    WantImage,
    decode_from_controller,
    encode,
)


class Session:
    """A connection, from hello to its end. `id` comes with the welcome; commands must carry it."""

    def __init__(self, channel: Channel, address: str) -> None:
        self.address = address
        self.id = ""
        self.ended = False
        self._channel = channel
        self._changes: dict[ServerId, GuestChanged] = {}
        self._changed = asyncio.Event()
        self._asked = 0
        self._pieces: dict[int, asyncio.Future[ImagePiece]] = {}
        self._taken: dict[int, asyncio.Future[ImageTaken]] = {}

    async def send(self, message: FromAgent) -> None:
        """Send a message; `Closed` when the connection has ended."""
        if self.ended:
            raise Closed(f"the connection to {self.address} ended")
        try:
            await self._channel.send(encode(message))
        except Closed:
            self.ended = True
            raise

    async def messages(self) -> AsyncGenerator[FromController, None]:
        """Give what the controller says, until the connection ends; `Broken` for what is no message."""
        async for frame in self._channel.frames():
            message = decode_from_controller(frame)
            if isinstance(message, ImagePiece):
                piece = self._pieces.get(message.id)
                if piece is not None and not piece.done():
                    piece.set_result(message)
            elif isinstance(message, ImageTaken):
                taken = self._taken.get(message.id)
                if taken is not None and not taken.done():
                    taken.set_result(message)
            else:
                yield message

    async def close(self) -> None:
        """End it; whoever waits for a piece of an image, or for one to be taken, hears `Closed`."""
        self.ended = True
        closed = f"the connection to {self.address} ended"
        for piece in self._pieces.values():
            if not piece.done():
                piece.set_exception(Closed(closed))
        for taken in self._taken.values():
            if not taken.done():
                taken.set_exception(Closed(closed))
        await self._channel.close()

    async def piece(self, image: ImageId, offset: int) -> ImagePiece:
        """Ask for the image's next bytes from `offset` on, and wait for them."""
        self._asked += 1
        number = self._asked
        piece: asyncio.Future[ImagePiece] = asyncio.get_running_loop().create_future()
        self._pieces[number] = piece
        try:
            await self.send(WantImage(id=number, image=image, offset=offset))
            return await piece
        finally:
            del self._pieces[number]

    async def give(self, image: ImageId, offset: int, data: bytes, sha256: str) -> ImageTaken:
        """Send the image's bytes from `offset` on, and wait until they are taken or refused."""
        self._asked += 1
        number = self._asked
        taken: asyncio.Future[ImageTaken] = asyncio.get_running_loop().create_future()
        self._taken[number] = taken
        try:
            await self.send(ImageBytes(id=number, image=image, offset=offset, data=data, sha256=sha256))
            return await taken
        finally:
            del self._taken[number]

    def change(self, change: GuestChanged) -> None:
        """Have the change reported; only the latest of a guest is."""
        self._changes[change.server] = change
        self._changed.set()

    def look_again(self) -> None:
        """Some guest is no longer busy: its change may now be reported."""
        if self._changes:
            self._changed.set()

    async def report(self, busy: Callable[[ServerId], bool]) -> None:
        """Report changes of guests as they come, until cancelled; of `busy` ones only once they are not."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            ready = [server for server in self._changes if not busy(server)]
            if ready:
                await self.send(Report(changes=tuple(self._changes.pop(server) for server in ready)))


class Sessions:
    """The sessions that were welcomed and go on."""

    def __init__(self) -> None:
        self._open: list[Session] = []
        self._more = asyncio.Event()

    def add(self, session: Session) -> None:
        self._open.append(session)
        self._more.set()

    def remove(self, session: Session) -> None:
        if session in self._open:
            self._open.remove(session)

    def named(self, session: str) -> Session | None:
        """Return the open session of this id."""
        return next((each for each in self._open if each.id == session and not each.ended), None)

    async def one(self, after: Session | None = None) -> Session:
        """Return a session, the next one after `after` in turn; wait while there is none."""
        while True:
            usable = [session for session in self._open if not session.ended]
            if usable:
                at = usable.index(after) + 1 if after in usable else 0
                return usable[at % len(usable)]
            self._more.clear()
            await self._more.wait()
