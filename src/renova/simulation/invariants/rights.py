"""Who may execute a server: its right rises with each grant (monotone), and nobody else executes it (right)."""

from collections.abc import Iterable, Iterator

from renova.model.ids import ServerId
from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants.debts import Debts
from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change, Row


class Rights:
    """The right to each server as it was last committed: a host, and an incarnation."""

    def __init__(self, view: View, debts: Debts) -> None:
        self._view = view
        self._debts = debts
        self._rights: dict[ServerId, tuple[str | None, int]] = {}  # host and incarnation
        self._granted: dict[ServerId, int] = {}  # the highest incarnation ever granted
        self._left: dict[tuple[str, ServerId], int] = {}  # guests that hosts had of servers that a loss has forgotten

    def check(self, host: SimulatedHost, server: ServerId, number: int) -> None:
        """Check that the host may execute the server as this incarnation."""
        view = self._view
        if view.in_doubt or host.name in view.believed.lied_of or view.just_woken(host.name):
            return
        holder, newest = self._rights.get(server, (None, 0))
        # A server that was deleted while its host was away runs on until that host hears of it; nobody else runs it.
        forgotten = holder is None and number < self._debts.below(host.id, server)
        # One of whose server a restored database has never heard is left where it was; it may stand still and go on.
        left = server not in self._rights and self._left.get((host.name, server)) == number
        view.checks.demand(
            forgotten or left or (holder == host.id and number <= newest),
            "right",
            f"{{}} executes on {host.name} as incarnation {number}, but the right is {view.name(holder)}'s, "
            f"incarnation {newest}",
            server,
        )

    def changed(self, change: Change) -> ServerId:
        """Check a right that was granted or ended; return whose it is."""
        view, demand = self._view, self._view.checks.demand
        row = change.new or change.old or {}
        server = ServerId(row["server"])
        if change.new is None:
            self._rights.pop(server, None)
            return server
        holder, number = change.new["host"], change.new["incarnation"]
        former = self._rights.get(server, (None, 0))
        self._rights[server] = (holder, number)
        if view.in_doubt:
            self._granted[server] = max(number, self._granted.get(server, 0))
            return server
        highest = self._granted.get(server, 0)
        if holder is None and view.believed.ever_lost:
            # Ending a right that a restored database has gives nobody anything: only that number must not go back.
            demand(number >= former[1], "monotone", f"the right to {{}} goes from {former[1]} to {number}", server)
            return server
        moved = holder is not None and holder != former[0]
        demand(
            number > highest if moved else number >= highest,
            "monotone",
            f"{{}} is given to {view.name(holder)} as incarnation {number} after {highest}",
            server,
        )
        seen = max((host.journal.page(server).incarnation for host in view.hosts.values()), default=0)
        demand(number >= seen, "monotone", f"{{}} is granted as {number}, but hosts have seen {seen}", server)
        self._granted[server] = max(number, highest)
        return server

    def hold_ends(self) -> None:
        """Note the guests of whose servers the database has never heard: they are left as they are."""
        self._left = dict(self._guests_of_nobody())

    def _guests_of_nobody(self) -> Iterator[tuple[tuple[str, ServerId], int]]:
        for name, host in self._view.hosts.items():
            for server in host.hypervisor.domains():
                number = host.hypervisor.defined(server)
                if number is not None and server not in self._view.servers and server not in self._rights:
                    yield (name, server), number

    def begin_again(self, rows: Iterable[Row]) -> None:
        """Go on from what a database holds that has lost commits."""
        self._rights = {ServerId(row["server"]): (row["host"], row["incarnation"]) for row in rows}
