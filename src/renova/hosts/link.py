"""One registered host's connection to this controller: what is said over it, and who waits for an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from zlib import crc32

from renova.hosts.registration import Place
from renova.model.channel import Channel, Closed
from renova.wire.commands import Answer
from renova.wire.frames import encode
from renova.wire.message import Message

SAY_S = 15.0  # who takes nothing off its connection for so long is away, as one is whose pings go unanswered
PIECES = 8  # of images that are read and sent at a time: each is up to 1 MiB of memory, and agents ask for 4


async def say(channel: Channel, message: Message) -> None:
    """Send the message; `Closed` when the connection has ended, or has to be, as the host reads nothing of it."""
    try:
        async with asyncio.timeout(SAY_S):
            await channel.send(encode(message))
    except TimeoutError as error:
        await channel.close()
        raise Closed("the host takes nothing off its connection") from error


class Link:
    """A connection from its hello to its end; `as_of` (monotonic) is when its place had been given."""

    def __init__(self, channel: Channel, place: Place, session: str, certificate: str, as_of: float) -> None:
        self.channel = channel
        self.place = place
        self.session = session
        self.certificate = certificate
        self.as_of = as_of
        self.told_forced_down = place.host.forced_down
        self.reminding = False  # of what the host owes
        self._pieces = asyncio.Semaphore(PIECES)
        self._giving = asyncio.Lock()
        # Apart from other connections': the answer to a command that came late, by this one, answers nothing here.
        self._next = crc32(session.encode()) << 20
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def tell(self, message: Message) -> None:
        await say(self.channel, message)

    async def give(self, read: Callable[[], Awaitable[Message]]) -> None:
        """Tell what is read, a piece of an image: few of them at a time, however many the host wants."""
        async with self._pieces:
            piece = await read()
            # One after the other: whatever else is said waits for one of them to have left, and not for all.
            async with self._giving:
                await self.tell(piece)

    async def mention(self, message: Message) -> None:
        """Tell what a host whose connection has just ended learns from its next welcome anyway."""
        with suppress(Closed):
            await self.tell(message)

    async def part(self, message: Message) -> None:
        """Tell the message, and end the connection."""
        await self.mention(message)
        await self.channel.close()

    async def ask(self, make: Callable[[int], Message]) -> Answer:
        """Send what `make` makes of a fresh id, and return the answer; `Closed` when the connection ends first."""
        self._next += 1
        number = self._next
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await self.tell(make(number))
            return await future
        finally:
            self._waiting.pop(number, None)

    def answered(self, answer: Answer) -> None:
        future = self._waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)

    def end(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Closed("the connection to the host ended"))
