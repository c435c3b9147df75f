"""All guests of the host that have something to do: an actor each, as long as it is needed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from renova.agent.acts import Acts
from renova.agent.guest import GuestActor
from renova.agent.journal import Journal, ServerPage
from renova.model.ids import ServerId
from renova.wire.acts import Act
from renova.wire.commands import Order
from renova.wire.duties import Duty
from renova.wire.results import Result


class Guests:
    """Finds each order its guest's actor. `idle` is called whenever a guest is no longer busy."""

    def __init__(self, journal: Journal, acts: Acts, idle: Callable[[], None]) -> None:
        self._journal = journal
        self._acts = acts
        self._idle = idle
        self._actors: dict[ServerId, GuestActor] = {}

    async def obey(self, order: Order, act: Act, check: Callable[[ServerPage], None]) -> Result:
        """Perform the act, if `check` lets it pass, and return its result (`GuestActor.obey`)."""
        with self.busy_with(order.server) as actor:
            return await actor.obey(order, act, check)

    async def clean(self, duty: Duty) -> None:
        """Do the duty, or raise why it cannot be done now."""
        with self.busy_with(duty.server) as actor:
            await actor.clean(duty)

    async def halt(self, reason: str) -> None:
        """End all acts, to be tried again; return when they have ended."""
        await asyncio.gather(*[actor.halt(reason) for actor in self._actors.values()])

    def is_busy(self, server: ServerId) -> bool:
        return server in self._actors

    @contextmanager
    def busy_with(self, server: ServerId) -> Iterator[GuestActor]:
        """Keep the guest busy, and give its actor. There is one of a server: else two acts could run at a time."""
        actor = self._actors.get(server)
        if actor is None:
            actor = self._actors[server] = GuestActor(server, self._journal, self._acts)
        actor.users += 1
        try:
            yield actor
        finally:
            actor.users -= 1
            if not actor.users:
                del self._actors[server]
                self._idle()
