"""Who is told of events in a simulated cloud."""

import asyncio
from collections.abc import Callable

from renova.model.chance import Chance
from renova.model.errors import NotNow
from renova.partners.notifications import CloudEvent


class Receiver:
    """Takes events, unless a fault keeps it from that; it outlives every controller."""

    def __init__(self, chance: Chance, heard: Callable[[CloudEvent], None]) -> None:
        self.away = 0  # how many faults keep it away
        self.loses_answer: Callable[[], bool] | None = None  # asked of each event that it has taken
        self._chance = chance
        self._heard = heard

    async def deliver(self, event: CloudEvent) -> None:
        await asyncio.sleep(self._chance.uniform(0.001, 0.05))
        if self.away:
            raise NotNow("the receiver is away")
        self._heard(event)
        if self.loses_answer is not None and self.loses_answer():
            raise NotNow("the receiver's answer was lost")

    async def close(self) -> None: ...
