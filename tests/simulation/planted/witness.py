"""Bugs of how revoked leases are shown to guards, by the witness; all of them our own."""

from typing import Any

from msgspec.structs import replace

from renova.guard.witnessed import Witnessed
from renova.ha.revoking import Revoking
from renova.simulation.cloud import NO_BRAKE
from renova.store import hosts as host_rows
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import ARMED

# Nobody pulls a brake here: hosts are isolated so often that it would leave no lease to be revoked.
WITNESSED: dict[str, Any] = {
    **ARMED,
    "witnessed": True,
    "brake": NO_BRAKE,
    "hosts": 5,
    "servers": 10,
    "minutes": 2.0,
    "rate": 0.2,
}


@bug("w", "a guard overlooks that the witness shows a revocation", "gate revoked one_run", "host isolated", **WITNESSED)
def overlooked(patch: Patch) -> None:
    seen = Witnessed.seen
    patch.setattr(Witnessed, "seen", lambda self, answer: seen(self, replace(answer, revoked=False)))


@bug(
    "x",
    "what the witness has only begun to show proves a death",
    "revoked one_run",
    "host isolated, reader of the witness",
    **WITNESSED,
)
def shown_for_ever(patch: Patch) -> None:
    shown_for = Revoking.shown_for

    def for_ever(self: Revoking, host: Any, lease: Any) -> float | None:
        return None if shown_for(self, host, lease) is None else float("inf")

    patch.setattr(Revoking, "shown_for", for_ever)


@bug(
    "y",
    "the lease's row does not say that its guard goes by the witness",
    "revoked one_run",
    "host isolated",
    **WITNESSED,
)
def row_without_word(patch: Patch) -> None:
    renew = host_rows.renew

    def silent(
        tx: Any, host: Any, epoch: int, boot: str, home: str, guard: Any, _word: str, margin: float
    ) -> int | None:
        return renew(tx, host, epoch, boot, home, guard, "", margin)

    patch.setattr(host_rows, "renew", silent)
