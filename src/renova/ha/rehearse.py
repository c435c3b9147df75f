"""If these hosts died now: the plan that recovery would make, and what it comes to. Pure, and nothing is changed."""

from collections.abc import Set

import msgspec

from renova.ha.picture import FleetView
from renova.ha.plan import Disks, Outcome, Plan, plan
from renova.ha.waves import Limits, StageTimes
from renova.model.ids import HostId


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A plan in figures."""

    servers: int
    placed: int
    unplaceable: int
    left: int
    stopped: int
    disks_kept: int  # servers whose local disks their new host shares
    disks_lost: int  # servers whose local disks are made anew
    waves: int
    first_up_s: float | None  # since the hosts died; None where no server is to run
    all_done_s: float | None


class Rehearsal(msgspec.Struct, frozen=True):
    """What would become of the servers of these hosts."""

    plan: Plan
    summary: Summary


def rehearse(fleet: FleetView, dead: Set[HostId], limits: Limits, times: StageTimes) -> Rehearsal:
    """Say what recovery would do, if these hosts died now: by the very plan that it would make."""
    made = plan(fleet, dead, limits, times)
    return Rehearsal(made, summary(fleet, made))


def summary(fleet: FleetView, made: Plan) -> Summary:
    """Return the plan's figures."""
    placed = made.of(Outcome.PLACED)
    done = [(step.done_s, fleet.known[step.server].runs) for step in placed if step.done_s is not None]
    return Summary(
        servers=len(made.steps),
        placed=len(placed),
        unplaceable=len(made.of(Outcome.UNPLACEABLE)),
        left=len(made.of(Outcome.LEFT)),
        stopped=len(made.of(Outcome.STOPPED)),
        disks_kept=sum(step.disks is Disks.KEPT for step in placed),
        disks_lost=sum(step.disks is Disks.LOST for step in placed),
        waves=max((step.wave for step in placed if step.wave is not None), default=0),
        first_up_s=min((at for at, runs in done if runs), default=None),
        all_done_s=max((at for at, _ in done), default=None),
    )
