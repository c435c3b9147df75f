"""Who is told of events in a simulated cloud, and what must hold of what it is told.

Each event reaches the receiver at least once, a server's in their order; none leaves the outbox before, and none tells
of what was not committed. Every changed state of a server has an event, written in the same transaction.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable

from renova.model.chance import Chance
from renova.model.errors import NotNow
from renova.partners.notifications import CloudEvent
from renova.simulation.ledger import Change, Row

GOES_AWAY, ANSWER_LOST = 0.02, 0.05  # the shares of deliveries at which it happens
AWAY_S = (0.5, 10.0)
STATES = ("vm_state", "task_state")


class Receiver:
    """Takes events, but is away now and then, and not each of its answers arrives; it outlives every controller."""

    def __init__(self, chance: Chance, heard: Callable[[CloudEvent], None]) -> None:
        self._chance = chance
        self._heard = heard
        self._away_until = 0.0

    async def deliver(self, event: CloudEvent) -> None:
        await asyncio.sleep(self._chance.uniform(0.001, 0.05))
        now, draw = asyncio.get_running_loop().time(), self._chance.uniform(0, 1)
        if draw < GOES_AWAY:
            self._away_until = now + self._chance.uniform(*AWAY_S)
        if now < self._away_until:
            raise NotNow("the receiver is away")
        self._heard(event)
        if draw > 1 - ANSWER_LOST:
            raise NotNow("the receiver's answer was lost")

    async def close(self) -> None: ...


class Announcements:
    """Checks what a receiver hears against what was committed."""

    def __init__(self, demand: Callable[[bool, str, str, str], None]) -> None:
        self._demand_of = demand
        self._written: set[str] = set()  # events that were ever committed
        self._lost: set[str] = set()  # those of them that were lost with their commits
        self._heard: set[str] = set()
        self._newest: dict[str, int] = {}  # of a server: the number of the newest event that was heard

    def heard(self, event: CloudEvent) -> None:
        """Check an event that has reached the receiver."""
        server, number = event.subject, int(event.sequence)
        self._demand(event.id in self._written, f"{event.type} of {{}} is told, and was never committed", server)
        if event.id not in self._heard:
            self._heard.add(event.id)
            if event.id in self._lost:
                return  # it was on its way: what its number was is given again
            newest = self._newest.get(server, 0)
            self._demand(number > newest, f"event {number} of {{}} is told after event {newest}", server)
            self._newest[server] = number

    def committed(self, changes: Collection[Change]) -> None:
        """Check what a controller has just committed."""
        noticed = set()
        for change in changes:
            if change.table == "notices" and change.new is not None:
                noticed.add(change.new["server"])
                self._written.add(change.new["id"])
            elif change.table == "notices" and change.old is not None:
                gone = change.old
                what = f"event {gone['number']} of {{}} leaves the outbox, and nobody was told"
                self._demand(gone["id"] in self._heard, what, gone["server"])
        for change in changes:
            if change.table == "servers" and change.new is not None and _states(change.old) != _states(change.new):
                server = change.new["id"]
                self._demand(server in noticed, f"{{}} is {_states(change.new)}, and there is no event of it", server)

    def lost_commits(self, kept: Iterable[Row]) -> None:
        """Go on from a database that has lost commits, and kept these notices: it gives the others' numbers again."""
        self._newest.clear()
        self._lost = self._written - {row["id"] for row in kept}

    def _demand(self, true: bool, account: str, server: str) -> None:
        self._demand_of(true, "told", account, server)


def _states(row: Row | None) -> tuple[str | None, ...] | None:
    return None if row is None else tuple(row[name] for name in STATES)
