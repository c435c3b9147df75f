"""What guests did by themselves, told to the controllers until one has taken it.

A change is forgotten only when the home connection's controller has said that it is in the database: whatever ends in
between, it is told anew, perhaps to another one. What is told twice harms nobody: a report says what is.
"""

import asyncio
from collections.abc import Callable
from itertools import islice

import structlog

from renova.agent.home import Home
from renova.model.chance import Chance
from renova.model.channel import Closed
from renova.model.clock import Clock
from renova.model.guest import GuestChanged
from renova.model.ids import ServerId
from renova.uplink.pauses import Pauses

log = structlog.get_logger()

AT_ONCE = 500  # changes in a report
TAKEN_S = 2.0  # without an answer, until the report is sent again


class Reports:
    """The changes that nobody has taken yet: of each guest only the latest, and of `busy` ones none."""

    def __init__(self, home: Home, busy: Callable[[ServerId], bool], clock: Clock, chance: Chance) -> None:
        self._home = home
        self._busy = busy
        self._clock = clock
        self._chance = chance
        self._untaken: dict[ServerId, GuestChanged] = {}
        self._woken = asyncio.Event()

    def change(self, change: GuestChanged) -> None:
        self._untaken[change.server] = change
        self._woken.set()

    def look_again(self) -> None:
        """Some guest is no longer busy: its change may now be reported."""
        if self._untaken:
            self._woken.set()

    async def serve(self) -> None:
        """Report until cancelled."""
        pauses = Pauses(self._clock, self._chance)
        while True:
            await self._woken.wait()
            self._woken.clear()
            idle = (change for change in self._untaken.values() if not self._busy(change.server))
            ready = tuple(islice(idle, AT_ONCE))
            if not ready:
                continue
            if await self._take(ready):
                for change in ready:
                    if self._untaken.get(change.server) is change:  # and nothing came since
                        del self._untaken[change.server]
                pauses.reset()
                if len(ready) == AT_ONCE:
                    self._woken.set()  # for those that did not fit
            else:
                self._woken.set()
                await pauses.pause()

    async def _take(self, changes: tuple[GuestChanged, ...]) -> bool:
        """Report the changes; say whether a controller has them now."""
        home = await self._home.session()
        try:
            async with asyncio.timeout(TAKEN_S):
                await home.report(changes)
        except (Closed, TimeoutError) as error:
            log.info("report not taken", controller=home.address, reason=str(error) or "no answer in time")
            self._home.leave(home)
            return False
        return True
