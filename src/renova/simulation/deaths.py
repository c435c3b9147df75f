"""What must hold in a simulated cloud of hosts that are taken for dead, and of what that is taken for.

`brake`: no more of them at once than may be without anybody's word. `certified`: who takes a server from a host has a
proof of its death that is current at that moment, with readings (safety protocol, section 9). `maintained`: no server
of a host at which somebody is at work is recovered by itself.
"""

from collections.abc import Collection

from renova.ha.brake import limit
from renova.model.clock import later
from renova.model.host import ProofKind
from renova.model.recovery import RecoveryState
from renova.settings import BrakeSettings
from renova.simulation.invariants import Invariants
from renova.simulation.ledger import Change, Row

WORDS = (ProofKind.OPERATOR, ProofKind.NEW_BOOT)  # somebody's, or the host's own


class Deaths:
    """Checks proofs as they are committed, in a cloud of so many hosts."""

    def __init__(self, invariants: Invariants, settings: BrakeSettings, hosts: int) -> None:
        self._invariants = invariants
        self._settings = settings
        self._most = limit(hosts, settings)
        self._proven: dict[str, str] = {}  # by host: when that was last, on the database's clock
        self._lifted_until = ""
        self._condemned: dict[str, str] = {}  # by host: when its death was decided last that is not proven yet
        self._epochs: dict[str, int] = {}  # of hosts' leases
        self._proofs: dict[str, Row] = {}  # the newest of each host
        self._disabled: set[str] = set()  # hosts at which somebody is at work

    def committed(self, changes: Collection[Change]) -> None:
        """Check what a controller has just committed."""
        for change in changes:
            if change.table == "cluster" and change.new is not None:
                self._lifted_until = change.new["brake_lifted_until"] or ""
            elif change.table == "proofs" and change.old is None and change.new is not None:
                self._proofs[change.new["host"]] = change.new
                self._weigh(change.new)
            elif change.table == "hosts" and change.new is not None:
                if change.old is not None and change.old["condemned_at"] != change.new["condemned_at"]:
                    host, decided = change.new["id"], change.new["condemned_at"] or ""
                    # The first time, which is the earliest, unless the database's clock went back in between.
                    self._condemned[host] = min(self._condemned.get(host, decided), decided)
                (self._disabled.add if change.new["disabled"] else self._disabled.discard)(change.new["id"])
            elif (
                change.table == "recoveries" and change.new is not None and change.new["state"] == RecoveryState.MOVING
            ):
                self._look_at_recovery(change.new)
            elif change.table == "leases" and change.new is not None:
                self._epochs[change.new["host"]] = change.new["epoch"]
        for change in changes:  # after what was proven in the same transaction
            if change.table == "rights" and change.old is not None and change.new is not None:
                self._look_at_grant(change.old, change.new)

    def _look_at_recovery(self, recovery: Row) -> None:
        checks, lost = self._invariants.checks, self._invariants.view.believed.ever_lost
        away = lost or recovery["host"] not in self._disabled
        checks.demand(
            away,
            "maintained",
            "{} is recovered from {}, where somebody is at work",
            recovery["server"],
            recovery["host"],
        )

    def _weigh(self, proof: Row) -> None:
        """Check that no more hosts are proven dead by themselves than may be at once."""
        if proof["kind"] in WORDS:
            return
        now = proof["created_at"]
        self._proven[proof["host"]] = now
        # Those of a later time were proven before the database's clock went back.
        since, until = later(now, -self._settings.window), later(now, self._settings.window)
        at_once = [host for host, at in self._proven.items() if since <= at <= until]
        # What an operator released the brake for may be proven when that is over, if it was decided before.
        decided = max(self._condemned.pop(proof["host"], now), since)
        self._invariants.checks.demand(
            len(at_once) <= self._most or decided <= self._lifted_until,
            "brake",
            f"{len(at_once)} hosts are taken for dead within {self._settings.window:g} s, and {self._most} may be",
        )

    def _look_at_grant(self, old: Row, new: Row) -> None:
        """Check that a server is taken from a host by a proof that is current: its holder has not given it up."""
        former = old["host"]
        if former is None or new["host"] in (None, former) or self._invariants.view.hold is not None:
            return
        proof, epoch = self._proofs.get(former), self._epochs.get(former)
        if proof is None or epoch is None or self._invariants.view.believed.ever_lost:
            certified = self._invariants.view.believed.ever_lost
        else:
            certified = proof["epoch"] == epoch and proof["readings"] not in (None, "", "{}")
        self._invariants.checks.demand(
            certified,
            "certified",
            f"{{}} is taken from {{}}, whose lease is at epoch {epoch}, by {proof}",
            new["server"],
            former,
        )

    def lost_commits(self) -> None:
        """Go on from a database that does not know of what was decided."""
        self._proven.clear()
