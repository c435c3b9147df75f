"""Pauses between tries: doubling, with jitter, so that a thousand hosts do not come back in the same moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import NotNow, whole

log = structlog.get_logger()
T = TypeVar("T")

FIRST_S, LONGEST_S = 0.1, 2.0


class Pauses:
    """The pauses of somebody who tries again."""

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self._next_s = FIRST_S

    async def pause(self) -> None:
        """Wait, longer each time."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_S)
        await self._clock.sleep(pause_s * self._chance.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Begin anew with the shortest: a try succeeded."""
        self._next_s = FIRST_S


async def patiently(trouble: str, attempt: Callable[[], Awaitable[T]], pauses: Pauses) -> T:
    """Try until it is done, and say what is not there yet: that ends no process of a host."""
    said = ""
    while True:
        try:
            return await attempt()
        except NotNow as error:
            if whole(error) != said:
                said = whole(error)
                log.warning(trouble, reason=said)
        await pauses.pause()
