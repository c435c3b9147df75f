"""The cloud as a whole: eras follow one another (monotone), and while it is on hold other invariants rest."""

from collections.abc import Sequence

from renova.simulation.invariants.rights import Rights
from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change, Row


class Cluster:
    """The cluster's only row as it was last committed."""

    def __init__(self, view: View, rights: Rights) -> None:
        self._view = view
        self._rights = rights
        self._era = 0

    def changed(self, row: Row) -> None:
        view = self._view
        view.checks.demand(
            row["era"] >= self._era or view.believed.lost_commits,
            "monotone",
            f"era {self._era} is followed by {row['era']}",
        )
        if row["hold"] != view.hold:
            view.history.note("WORLD", "hold" if row["hold"] else "hold ends", era=row["era"], why=row["hold"])
        if view.hold is not None and row["hold"] is None:
            view.believed.lost_commits = False  # found out, and mended
            self._rights.hold_ends()
        self._era, view.hold = row["era"], row["hold"]

    def begin_again(self, rows: Sequence[Row]) -> None:
        """Go on from what a database holds that has lost commits."""
        row: Row = rows[0] if rows else {"era": 1, "hold": None}
        self._era, self._view.hold = row["era"], row["hold"]


def ends_hold(change: Change) -> bool:
    if change.table != "cluster" or change.old is None or change.new is None:
        return False
    return change.old["hold"] is not None and change.new["hold"] is None
