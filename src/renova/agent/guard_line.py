"""The agent's end of its line to the guard of its host: what is known of the lease, and who must hear of its end.

The agent asks here before it starts a guest (`must_hold`). Without a guard that runs it starts none: nothing would
renew the host's lease, and nothing would stop the guest where it ends.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from renova.agent.home import Home
from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow
from renova.uplink.connection import LocalDialer
from renova.uplink.local import BEAT_S, Beat, Held, Over, Registered, decode_from_guard
from renova.uplink.pauses import Pauses
from renova.wire.frames import encode
from renova.wire.message import Message

log = structlog.get_logger()


class GuardLine:
    """Keeps a channel to the guard, which is told who is `home`; `over` is told of an epoch that has ended."""

    def __init__(
        self,
        dialer: LocalDialer,
        clock: Clock,
        pauses: Pauses,
        home: Home,
        over: Callable[[int], None],
    ) -> None:
        self._dialer = dialer
        self._clock = clock
        self._pauses = pauses
        self._home = home
        home.moved = self._beat_now
        self._over = over
        self._held: Held | None = None  # None: no guard is there
        self._registered: Registered | None = None  # what the guard is to hear, and hears with each new channel
        self._news = asyncio.Event()

    def must_hold(self, era: int, epoch: int) -> None:
        """Raise `NotNow` unless the guard holds the lease of this era and epoch: then no guest may be started."""
        held = self._held
        if held is None:
            raise NotNow("this host's guard does not run, so it has no lease: start `renova guard`")
        if (held.era, held.epoch) != (era, epoch) or self._clock.boottime() >= held.deadline:
            raise NotNow("the host's lease has lapsed")

    def registered(self, era: int, epoch: int) -> None:
        """Have the guard know at once under which lease this host was welcomed."""
        self._registered = Registered(era=era, epoch=epoch)
        self._news.set()

    def _beat_now(self) -> None:
        self._news.set()

    async def serve(self) -> None:
        """Keep the channel until cancelled."""
        last_reason = ""
        while True:
            try:
                channel = await self._dialer.dial()
                self._pauses.reset()
                last_reason = ""
                await self._converse(channel)
                log.warning("guard lost")
            except NotNow as error:
                if str(error) != last_reason:
                    log.warning("guard not reached", reason=str(error))
                last_reason = str(error)
            except Broken as error:
                log.error("guard not understood", reason=str(error))
            await self._pauses.pause()

    async def _converse(self, channel: Channel) -> None:
        beating = asyncio.get_running_loop().create_task(self._beat(channel), name="beats")
        try:
            async for frame in channel.frames():
                match decode_from_guard(frame):
                    case Held() as held:
                        self._held = held
                    case Over(epoch=epoch):
                        self._over(epoch)
        finally:
            self._held = None
            beating.cancel()
            await asyncio.wait([beating])
            await channel.close()

    async def _beat(self, channel: Channel) -> None:
        told: Registered | None = None
        with suppress(Closed):
            while True:
                self._news.clear()
                if self._registered is not None and self._registered is not told:
                    told = self._registered
                    await _say(channel, told)
                await _say(channel, Beat(home=self._home.controller))
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_S):
                        await self._news.wait()


async def _say(channel: Channel, message: Message) -> None:
    await channel.send(encode(message))
