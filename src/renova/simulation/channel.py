"""Connections between hosts and controllers, in memory, with faults that can be switched.

A `Line` is the path between one host and one controller: the host dials it, each call is a `Link` with two ends.
Like TCP, a link keeps the order, holds what a cut delays, and loses frames only with the whole connection. `drop` and
`fate` go further than TCP can, for what must not be relied on. The product does rely on TCP for two things: a question
is answered, or its connection ends; and frames of one connection do not overtake each other in general. So
`simulation.faults` lets renewals, acknowledgements, commands and answers alone be lost, doubled and overtaken, and ends
the connection after a loss of the latter two. What comes late may even come by the next connection.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from renova.model.channel import Channel, Closed
from renova.model.errors import NotNow
from renova.simulation.processes import Process, outside

OPEN_S = 10.0  # until a connection that nobody answers is given up
KEEPALIVE_S = 15.0  # a real connection notices a cut after its ping and the patience for the answer


# After how many seconds each copy of the frame arrives: none, one, or several; None: it keeps its turn.
Fate: TypeAlias = Callable[[bytes], Sequence[float] | None]


class Way:
    """One direction of a line, as it is now; shared by all links of the line."""

    def __init__(self) -> None:
        self.cut = False
        self.drop: Callable[[bytes], bool] = lambda _frame: False  # frames for which it says so are lost
        self.fate: Fate | None = None  # asked for each frame, if set
        self.reach: Callable[[bool, bytes], bool] | None = (
            None  # before or after a frame leaves; True: its sender is dead
        )
        self.delay_s = 0.0  # on top of the line's latency
        self.passed = 0  # frames that were sent into it


@dataclass(frozen=True)
class _Ping:
    """On its way to the other end, or `back`."""

    answered: "asyncio.Future[None]"
    back: bool = False

    def answer(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)


class End:
    """One end of a link: a `Channel`."""

    def __init__(self, link: "Link", out: Way) -> None:
        self._link = link
        self._out = out
        self._held: deque[bytes | _Ping] = deque()  # sent, and not yet arrived at the other end
        self._arrived: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._pings: set[asyncio.Future[None]] = set()  # that are not answered yet
        self.context = contextvars.copy_context()  # of the process at this end
        self._other: End = self
        self._ended = False  # here: nothing more is sent
        self._over = False  # nothing more arrives

    async def send(self, frame: bytes) -> None:
        if self._ended or self._over:
            raise Closed("the connection ended")
        way = self._out
        if way.reach is not None and way.reach(True, frame):
            await asyncio.get_running_loop().create_future()
        self._leave(way, frame)
        if way.reach is not None and way.reach(False, frame):
            await asyncio.get_running_loop().create_future()

    def _leave(self, way: Way, frame: bytes) -> None:
        way.passed += 1
        if way.drop(frame):
            return
        fate = way.fate(frame) if way.fate is not None else None
        if fate is None:
            self._put(frame)
        else:
            for seconds in fate:
                self._link.after(seconds, lambda: self._deliver_late(frame))

    def _put(self, sent: "bytes | _Ping") -> None:
        self._held.append(sent)
        self._link.later(self._deliver_one, self._out.delay_s)

    async def frames(self) -> AsyncIterator[bytes]:
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            if self._over:
                return
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def ping(self) -> None:
        if self._ended or self._over:
            raise Closed("the connection ended")
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings.add(answered)
        try:
            self._put(_Ping(answered))
            await answered
        finally:
            self._pings.discard(answered)

    async def close(self) -> None:
        """Hang up: what was sent still arrives, then the other end hears of it."""
        if not self._ended:
            self._ended = True
            self.end()
            self._link.later(self._deliver_end)

    def join(self, other: "End") -> None:
        self._other = other

    def deliver_held(self) -> None:
        """Let arrive what a cut has held."""
        while self._held and not self._out.cut:
            self._other.arrive(self._held.popleft())
        if self._ended:
            self._deliver_end()

    @property
    def over(self) -> bool:
        return self._over

    def arrive(self, sent: "bytes | _Ping") -> None:
        if self._over:
            return
        if isinstance(sent, bytes):
            self._arrived.append(sent)
            self._wake()
        elif sent.back:
            sent.answer()
        else:
            # Who is frozen answers after the thaw, who is dead never.
            asyncio.get_running_loop().call_soon(self._put, replace(sent, back=True), context=self.context.copy())

    def end(self) -> None:
        """Nothing more arrives here."""
        self._over = True
        self._wake()
        for ping in self._pings:
            if not ping.done():
                ping.set_exception(Closed("the connection ended"))

    def _deliver_one(self) -> None:
        if self._held and not self._out.cut:
            self._other.arrive(self._held.popleft())

    def _deliver_late(self, frame: bytes) -> None:
        """Deliver a copy out of its turn, over the next connection of the line if this one is over by then."""
        if self._out.cut:
            self._held.append(frame)  # lost without the connection it would be by no TCP
            return
        newest = self._link.newest()
        side = self._other if newest is self._link else newest.side_of(self._out)
        side.arrive(frame)

    def _deliver_end(self) -> None:
        if not self._held and not self._out.cut:
            self._other.end()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


class Link:
    """One connection; `host` and `controller` are its ends."""

    def __init__(self, to_controller: Way, to_host: Way, latency_s: float = 0.0, line: "Line | None" = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._latency_s = latency_s
        self._due = 0.0  # when the last frame arrives: none overtakes it
        self._line = line
        self._to_controller = to_controller
        self.host = End(self, to_controller)
        self.controller = End(self, to_host)
        self.host.join(self.controller)
        self.controller.join(self.host)

    def later(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        """Have `call` run once the latency has passed; what was sent arrives though its sender be killed."""
        seconds = self._latency_s + delay_s
        now = self._loop.time()
        if not seconds and self._due <= now:
            self._loop.call_soon(call, context=outside())
        else:
            self._due = max(self._due, now + seconds)
            self._loop.call_at(self._due, call, context=outside())

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Have `call` run out of its turn."""
        self._loop.call_later(self._latency_s + seconds, call, context=outside())

    def newest(self) -> "Link":
        """Return the line's connection that came last, should this one be over."""
        return self._line.links[-1] if self.over and self._line is not None and self._line.links else self

    def side_of(self, way: Way) -> End:
        """Return the end at which what goes that way arrives."""
        return self.controller if way is self._to_controller else self.host

    @property
    def over(self) -> bool:
        """Whether it has ended at both ends."""
        return self.host.over and self.controller.over

    def heal(self) -> None:
        self.host.deliver_held()
        self.controller.deliver_held()

    def reset(self) -> None:
        """End it at both ends at once; what was on its way is lost."""
        self.host.end()
        self.controller.end()


def pair() -> tuple[End, End]:
    """Return the two ends of a connection without faults."""
    link = Link(Way(), Way())
    return link.host, link.controller


class Line:
    """The path between one host and one controller: the host's `Dialer`, with its faults.

    `accept` is the controller's end: it serves one connection and returns when that has ended. `listener` is the
    process that does so; None when nobody listens. `beside` goes through the same cable: cut, healed and reset with it.
    """

    def __init__(
        self,
        accept: Callable[[Channel], Coroutine[Any, Any, None]],
        address: str = "controller",
        *,
        latency_s: float = 0.0,
        keepalive_s: float = KEEPALIVE_S,
        listener: Callable[[], Process | None] | None = None,
    ) -> None:
        self.address = address
        self.to_controller = Way()
        self.to_host = Way()
        self.links: list[Link] = []
        self.dialled = 0
        self._accept = accept
        self._latency_s = latency_s
        self._keepalive_s = keepalive_s
        self._listener = listener
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts = 0
        self.beside: Line | None = None

    async def dial(self) -> End:
        self.dialled += 1
        if self.to_controller.cut or self.to_host.cut:
            raise NotNow(f"{self.address} cannot be reached")
        process = self._listener() if self._listener else None
        if self._listener and process is None:
            raise NotNow(f"{self.address} refuses the connection")
        if process is not None and process.frozen:
            await asyncio.sleep(OPEN_S)  # the kernel takes the call, and nobody answers
            raise NotNow(f"{self.address} does not answer")
        link = Link(self.to_controller, self.to_host, self._latency_s, self)
        self.links = [*(each for each in self.links if not each.over), link]
        context = process.context() if process else outside()
        link.controller.context = context
        serving = self._serve(link)
        task = asyncio.get_running_loop().create_task(serving, name=f"accept-{self.address}", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return link.host

    def cut(self, *, to_controller: bool = True, to_host: bool = True) -> None:
        """Let nothing through, either way or both, until `heal`; connections break once their pings go unanswered."""
        self.to_controller.cut |= to_controller
        self.to_host.cut |= to_host
        self._cuts += 1
        asyncio.get_running_loop().call_later(self._keepalive_s, self._give_up, self._cuts, context=outside())
        if self.beside is not None:
            self.beside.cut(to_controller=to_controller, to_host=to_host)

    def heal(self) -> None:
        """Let everything through again, what was held first."""
        self.to_controller.cut = self.to_host.cut = False
        self._cuts += 1
        for link in self.links:
            link.heal()
        if self.beside is not None:
            self.beside.heal()

    def reset(self) -> None:
        """End all connections at once; what was on its way is lost."""
        self.hang_up()
        if self.beside is not None:
            self.beside.hang_up()

    def hang_up(self) -> None:
        """End those of this line only: the process at its end is gone."""
        links, self.links = self.links, []
        for link in links:
            link.reset()

    async def _serve(self, link: Link) -> None:
        try:
            await self._accept(link.controller)
        finally:
            await link.controller.close()  # which the host hears of later, or once a cut is healed

    def _give_up(self, cuts: int) -> None:
        if cuts == self._cuts:
            self.hang_up()
