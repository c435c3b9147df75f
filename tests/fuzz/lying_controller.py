"""A controller that lies: its certificate is good, and it says to a real agent whatever it likes.

One episode: an agent that two controllers have welcomed. The honest one is its home and runs a guest there; the other
one sends what is no message, what is late or not its to say (`STALE`), or anything at all (`ANYTHING`). The agent
lives in any case, leaks nothing and comes back to the honest one. What is malformed or stale changes nothing.
"""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import structlog

from renova.model.channel import Channel, Closed
from renova.model.errors import Broken
from renova.simulation.loop import run_virtual
from renova.wire.acts import Prepare, Start
from renova.wire.commands import Command, Order
from renova.wire.frames import FromController, decode_from_agent, decode_from_controller, encode
from renova.wire.images import ImagePiece, ImageTaken
from renova.wire.leases import Fenced, Renewed
from renova.wire.sessions import Reported, Welcome
from renova.wire.storage import StorageCommand, StorageOrder
from tests.agent.host import SERVER, Controller, Host, guest, order, until
from tests.fuzz.lying_host import Played
from tests.fuzz.wire_values import Known, Messages, encoded

NOT_ITS_TO_SAY = (Renewed, Reported, ImagePiece, ImageTaken)  # answers: to what nobody has asked, they say nothing
ORDERS: dict[type[Any], type[Any]] = {Command: Order, StorageCommand: StorageOrder}
ERA, EPOCH = 3, 7


def play(random: Random, messages: int, *, anything: bool) -> Played:
    """Tell one episode."""
    with structlog.testing.capture_logs():
        return run_virtual(_Episode(random, anything=anything).tell(messages), limit_s=10_000_000)


class _Episode:
    def __init__(self, random: Random, *, anything: bool) -> None:
        self._random = random
        self._anything = anything
        self._known = Known(["host", "name-of-host", SERVER], [ERA, EPOCH, ERA + 1, EPOCH + 1])
        self._says = Messages(FromController, random, self._known)
        self._played = Played()
        self._channel: Channel | None = None
        self._sessions = 0

    async def tell(self, messages: int) -> Played:
        honest = Controller(era=ERA, epoch=EPOCH, name="honest")
        host = self._host = Host(honest, Controller(), seed=self._random.randrange(1000))
        host.lines[1]._accept = self._accept
        host.lines[1].cut()
        host.start()
        await honest.leased()
        for act in (Prepare(guest()), Start(guest())):
            assert (await honest.send(order(number=5, epoch=2), act)).error is None
        await asyncio.sleep(10)
        before = self._state()
        calm = len(asyncio.all_tasks())
        host.lines[1].heal()
        for _ in range(messages):
            await self._lie()
            if host._running is None or host._running.done():
                self._played.faults.append(f"the agent ended: {host._running}")
                return self._played
        host.lines[1].cut()
        host.lines[1].reset()
        await asyncio.sleep(120)
        left = len(asyncio.all_tasks()) - calm
        if left > 3:
            self._played.faults.append(f"{left} tasks are left")
        if self._anything:
            await self._come_back(honest)
        else:
            if self._state() != before:
                self._played.faults.append(f"what was stale or malformed changed the host: {before} {self._state()}")
            if len(honest.hellos) != 1:
                self._played.faults.append("the honest controller was left")
            await self._obeys(honest, number=6)
        await host.end()
        return self._played

    def _state(self) -> str:
        """Return what is on the host, and what it remembers."""
        return str(
            (self._host.state, self._host.journal._host, self._host.journal._servers, self._host.journal._things)
        )

    async def _come_back(self, honest: Controller) -> None:
        """Have the honest controller go on where the liar has led the host: its database has begun a new era."""
        page = self._host.journal._host
        assert page is not None
        honest.era, honest.epoch = page.era + 1, page.epoch + 1
        self._host.lines[0].reset()
        try:
            await until(lambda: honest.channel is not None and honest.hellos[-1].epoch >= page.epoch, 200)
        except TimeoutError:
            self._played.faults.append("the agent does not come back to the honest controller")
            return
        await asyncio.sleep(5)
        burnt = self._host.journal._servers[SERVER].burnt if SERVER in self._host.journal._servers else 0
        highest = max(
            burnt, self._host.journal._servers[SERVER].incarnation, *self._host.hypervisor.executing().values(), 0
        )
        if highest < 2**53:
            await self._obeys(honest, number=1, incarnation=highest + 1)

    async def _obeys(self, honest: Controller, number: int, incarnation: int = 1) -> None:
        for act in (Prepare(guest(incarnation)), Start(guest(incarnation))):
            try:
                async with asyncio.timeout(300):
                    answer = await honest.insist(order(incarnation, number, epoch=3), act)
            except TimeoutError:
                self._played.faults.append(f"{type(act).__name__} of the honest controller is not answered")
                return
            if answer.error is not None:
                self._played.faults.append(f"the honest controller is not obeyed: {answer.error}")

    # The liar.

    async def _accept(self, channel: Channel) -> None:
        self._channel = channel
        with suppress(Closed):
            async for frame in channel.frames():
                message = decode_from_agent(frame)
                if type(message).__name__ == "Hello" and not (self._anything and self._random.random() < 0.2):
                    self._sessions += 1
                    session = f"lie-{self._sessions}"
                    self._known.texts.append(session)
                    await channel.send(encode(self._welcome(session)))
                if hasattr(message, "id"):
                    self._known.numbers.append(message.id)
        if self._channel is channel:
            self._channel = None

    def _welcome(self, session: str) -> Welcome:
        return Welcome(host="host-id", session=session, era=ERA, epoch=EPOCH, ttl=20.0, renew=2.0, duties=(), peers=())

    async def _lie(self) -> None:
        frame, kind = self._any() if self._anything else self._stale()
        deadline = 100
        while self._channel is None and deadline:
            await asyncio.sleep(0.1)
            deadline -= 1
        if self._channel is None:
            return
        self._played.messages += 1
        self._played.sent[kind] = self._played.sent.get(kind, 0) + 1
        self._played.malformed += _is_malformed(frame)
        with suppress(Closed):
            await self._channel.send(frame)
        await asyncio.sleep(self._random.choice((0.0, 0.0, 0.01, 0.3, 3.0)))

    def _any(self) -> tuple[bytes, str]:
        kind = self._random.choice(self._says.kinds)
        message = self._says.one(kind)
        if self._random.random() < 0.2:
            message = self._says.spoilt(message)
        return (self._says.frame(message) if self._random.random() < 0.3 else encoded(message)), kind.__name__

    def _stale(self) -> tuple[bytes, str]:
        """Return a frame that must change nothing: no message, an answer, or an order that is not to be obeyed."""
        random = self._random
        if random.random() < 0.3:
            while True:
                kind = random.choice(self._says.kinds)
                frame = self._says.frame(self._says.spoilt(self._says.one(kind)))
                if _is_malformed(frame):
                    return frame, kind.__name__
        if random.random() < 0.2:
            kind = random.choice(NOT_ITS_TO_SAY)
            return encoded(self._says.one(kind)), kind.__name__
        if random.random() < 0.1:
            return encode(Fenced(epoch=random.randrange(EPOCH))), "Fenced"
        kind = random.choice(tuple(ORDERS))
        message = self._says.one(kind)
        mine = {"era": ERA, "host_epoch": EPOCH, "session": f"lie-{self._sessions}"}
        late = random.choice(
            (
                {"era": random.randrange(ERA)},
                {"host_epoch": random.randrange(EPOCH)},
                {"session": "lie-0"},
                {"era": ERA + 1},
            )
        )
        if kind is Command:
            old = random.choice(({"incarnation": 0}, {"number": 4}, {"number": 5, "epoch": 1}, late))
            known = {"server": SERVER, "incarnation": 1, "number": 5, "epoch": 2}
            message["order"] = known | mine | old
        else:
            message["order"] = self._says.one(StorageOrder) | mine | late
        return encoded(message), kind.__name__


def _is_malformed(frame: bytes) -> bool:
    try:
        decode_from_controller(frame)
    except Broken:
        return True
    return False
