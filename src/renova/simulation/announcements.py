"""What must hold of what a receiver is told of events in a simulated cloud.

Each event reaches the receiver at least once, a server's in their order; none leaves the outbox before, and none tells
of what was not committed. Every changed state of a server has an event, written in the same transaction.
"""

from collections.abc import Callable, Collection, Iterable

from renova.partners.notifications import CloudEvent
from renova.simulation.ledger import Change, Row

STATES = ("vm_state", "task_state")


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
