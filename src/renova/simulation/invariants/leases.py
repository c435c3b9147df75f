"""Hosts' leases, and the proofs that a host is dead.

A host believes in its lease for no longer than it was renewed (renewed), and not when it is proven dead (revoked).
Who is proven off executes nothing (proof_true), and nobody is taken for silent too early (no_rush). Epochs rise, and
counters: one that a host has heard of is not counted again, unless the cluster is on hold for it (monotone).
"""

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from renova.model.host import ProofKind
from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change, Row

BY_LEASE = (ProofKind.LEASE_REVOKED, ProofKind.STORAGE_CUT)  # proofs of hosts whose guards must have stopped all
BY_SILENCE = (
    ProofKind.OPERATOR,
    ProofKind.HEARTBEAT_AGE,
    *BY_LEASE,
)  # proofs that rest on a lease that has lapsed
ON_THEIR_WAY = 1  # renewals that a host may have sent before it heard of what was lost then, and that come late
DRIFT = 0.02  # by how much a host's clock may be faster or slower than true time, and a little more


class Leases:
    """`now` gives the run's time, `lease_left` for how many seconds a host still believes in its lease.

    `reached` gives the era, the epoch and the counter of its lease that a host has heard of.

    `lied` says whether a host's power controller has said that it is off when it was not, `stopped` whether a host's
    clocks were stopped from outside, as those of a virtual machine can be: then its lease means nothing to it.
    """

    def __init__(
        self,
        view: View,
        *,
        now: Callable[[], float],
        lease_left: Callable[[str], float],
        reached: Callable[[str], tuple[int, int, int]],
        lied: Callable[[str], bool],
        stopped: Callable[[str], bool],
    ) -> None:
        self._view = view
        self._now = now
        self._lease_left = lease_left
        self._reached = reached
        self._lied = lied
        self._stopped = stopped
        self._epochs: dict[str, int] = {}
        self._boots: dict[tuple[str, int], str] = {}  # of host and epoch: a new boot has a new epoch
        self._renewed: dict[str, tuple[float, float]] = {}  # of a host: when its lease was last renewed, for how long
        self._behind: dict[str, int] = {}  # renewals in a row of a host that were counted below what it has heard of
        self._revoked: dict[str, int] = {}  # hosts by name that are proven dead, and the epoch since
        self.proofs = Counter[str]()  # that hosts are dead, or cut off, by kind
        self.revoked_by_lease: set[str] = set()  # likewise, by no more than an armed guard that must have stopped them

    def changed(self, change: Change) -> None:
        """Check a lease that was renewed, or begun by a host that registers."""
        if change.new is None or change.new["host"] not in self._view.names:
            return
        demand = self._view.checks.demand
        host, epoch, boot = change.new["host"], change.new["epoch"], change.new["boot"]
        known, name = self._epochs.get(host, 0), self._view.names[host]
        if not self._view.believed.lost_commits:
            demand(epoch >= known, "monotone", f"the lease of {name} goes from epoch {known} to {epoch}")
            mine = self._boots.setdefault((host, epoch), boot)
            # A proof raises the epoch of the row as it is; whoever registers then has it for its own.
            revoked = self._revoked.get(name) == epoch
            demand(mine == boot or revoked, "monotone", f"two boots of {name} have epoch {epoch}")
        self._epochs[host] = max(epoch, known)
        if change.old is not None and change.new["counter"] > change.old["counter"]:
            self._renewed[name] = (self._now(), change.new["ttl"])
            _, known, heard = self._reached(name)
            behind = known == epoch and heard > change.new["counter"]
            self._behind[name] = self._behind.get(name, 0) + 1 if behind else 0
        if change.old is None:
            self._revoked.pop(name, None)  # it has registered
            self.revoked_by_lease.discard(name)
            self._boots[host, epoch] = boot

    def proven(self, change: Change) -> None:
        """Check a proof that a host is dead."""
        if change.new is None or change.old is not None:
            return
        row, view = change.new, self._view
        name = view.names.get(row["host"])
        if name is None:
            return
        host, kind = view.hosts[name], ProofKind(row["kind"])
        self.proofs[kind] += 1
        view.history.note("WORLD", "proof", host=name, kind=kind, epoch=row["epoch"])
        running, alive = host.hypervisor.executing(), host.hypervisor.in_memory()
        if kind == ProofKind.OPERATOR and alive:
            self._believe(name, f"an operator said that {name} was off, where {len(alive)} guests execute")
        if kind == ProofKind.HEARTBEAT_AGE and alive:
            self._believe(name, f"silence was taken for death, but {len(alive)} guests execute on {name}")
        if kind in BY_LEASE and not self._stopped(name):
            self.revoked_by_lease.add(name)
            view.checks.demand(
                not running, "revoked", f"the lease of {name} is revoked while {len(running)} guests execute"
            )
        if kind == ProofKind.POWER_OFF and self._lied(name):
            self._believe(name, f"the power controller of {name} said that it was off when it was not")
        if kind == ProofKind.POWER_OFF and name not in view.believed.lied_of:
            view.checks.demand(
                not running, "proof_true", f"{name} is proven off while {len(running)} guests execute there"
            )
        readings = msgspec.json.decode(row["readings"]) if row["readings"] else {}
        if kind is not ProofKind.NEW_BOOT:
            self._revoked[name] = row["epoch"]
        if kind in BY_SILENCE and readings.get("at_once") != "yes" and not self._stopped(name):
            left = self._lease_left(name)
            view.checks.demand(
                left <= 0, "no_rush", f"{name} is taken for silent while its own lease holds for {left:.1f} s"
            )

    def granted_until(self, host: str) -> float:
        """Return until when the host has a lease by the newest renewal that was ever committed; now: it had none."""
        at, ttl = self._renewed.get(host, (self._now(), 0.0))
        return at + ttl

    def look(self) -> None:
        """Check that no host believes in a lease that was renewed for less, or revoked for its silence.

        Nor may it have heard of a renewal that a database which has lost commits is to count anew, and nobody notices.
        """
        now = self._now()
        for name, (at, ttl) in self._renewed.items():
            left, held = self._lease_left(name), ttl - (now - at) * (1 - DRIFT)
            self._view.checks.demand(
                left <= max(held, 0.0) or self._stopped(name),
                "renewed",
                f"{name} believes in its lease for another {left:.1f} s, and it was renewed for {held:.1f} s",
            )
        if self._view.hold is not None:
            self._behind.clear()
        for name, behind in self._behind.items():
            self._view.checks.demand(
                behind <= ON_THEIR_WAY,
                "monotone",
                f"{behind} renewals of {name} are counted below what it has heard of: lost commits went unnoticed",
            )
        for name in self._revoked:
            left = self._lease_left(name)
            self._view.checks.demand(
                left <= 0 or self._lied(name) or self._stopped(name) or self._view.in_doubt,
                "revoked",
                f"{name} is proven dead, and believes in its lease for another {left:.1f} s",
            )

    def begin_again(self, rows: Iterable[Row]) -> None:
        """Go on from what a database holds that has lost commits."""
        self._boots, self._revoked, self._behind = {}, {}, {}
        self.revoked_by_lease.clear()
        self._epochs = {row["host"]: row["epoch"] for row in rows}

    def _believe(self, host: str, what: str) -> None:
        """Note that a proof rests on what is not so: under that policy, it is believed."""
        self._view.believed.lied_of.add(host)
        self._view.believed.broken.append(what)
        self._view.history.note("WORLD", "assumption broken", what=what)
