"""What hosts have to clean up: a host is up only when it owes nothing of before (clean)."""

from collections.abc import Iterable

from renova.model.host import HostState
from renova.model.ids import ServerId
from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change, Row


class Debts:
    """Of each host and server: guests below which incarnation are to go."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._below: dict[tuple[str, ServerId], int] = {}

    def below(self, host: str, server: ServerId) -> int:
        """Return below which incarnation the host owes the end of the server's guests; 0: it owes none."""
        return self._below.get((host, server), 0)

    def changed(self, change: Change) -> None:
        row = change.new or change.old or {}
        self._below[row["host"], row["server"]] = row["below"] if change.new else 0

    def host_changed(self, change: Change) -> None:
        """Check that a host which comes back is clean."""
        if change.new is None or change.old is None or change.new["state"] != HostState.UP:
            return
        host = change.new["id"]
        owes = [server for (debtor, server), below in self._below.items() if debtor == host and below]
        returns = change.old["state"] in (HostState.DEAD, HostState.RETURNING)
        self._view.checks.demand(
            not (returns and owes) or self._view.believed.lost_commits,
            "clean",
            f"{self._view.names.get(host)} is up, and has yet to clean up {len(owes)} servers",
        )

    def begin_again(self, rows: Iterable[Row]) -> None:
        """Go on from what a database holds that has lost commits."""
        self._below = {(row["host"], row["server"]): row["below"] for row in rows}
