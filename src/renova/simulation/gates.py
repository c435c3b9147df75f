"""What must hold of armed hosts: nothing executes where the lease does not hold, and nobody is harmed for nothing.

Names are those of the safety protocol, section 9: gate, revoked, unharmed. And unstopped: where hosts have a witness, a
control plane that is away does not even have a guest stand still.
"""

from collections.abc import Callable, Mapping, Sequence

from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants import Invariants
from renova.simulation.invariants.leases import DRIFT
from renova.simulation.witness import SimulatedWitness

# In words of their kinds' names: faults that must cost no guest on an armed host its life.
HARMLESS = ("database", "commit", "controller", "agent", "wall clock")
AWAY = ("database away", "database silent", "controller killed", "controller frozen")  # these stop none, with a witness
NO_GUARD_S = 3.0  # for which guests may go on when their guard was killed


class Gates:
    """Looks at the armed ones of these hosts. `kinds`: the faults that strike; None: any.

    `stopped` says whether a host's clocks were stopped from outside: then its guard is none.
    """

    def __init__(
        self,
        invariants: Invariants,
        hosts: Mapping[str, SimulatedHost],
        *,
        now: Callable[[], float],
        stopped: Callable[[str], bool],
        stop_budget: float,
        kinds: Sequence[str] | None,
        witness: SimulatedWitness | None,
        ttl: float,
    ) -> None:
        self._invariants = invariants
        self._hosts = hosts
        self._now = now
        self._stopped = stopped
        self._stop_budget = stop_budget
        self._harmless = _only(kinds, HARMLESS)
        self._only_away = witness is not None and _only(kinds, AWAY)
        self._witness = witness
        self._ttl = ttl
        self._lapsed: dict[str, float] = {}  # by host: since when no guard there has held the lease
        self._stuck: set[str] = set()  # hosts whose gates have stuck since then

    def watch_host(self, host: SimulatedHost) -> None:
        """Hear when the guard of an armed host kills."""
        if host.gate is not None:
            host.gate.on_kill = lambda: self._killed(host)

    def look(self) -> None:
        for name, host in self._hosts.items():
            if host.gate is None:
                continue
            holds = host.guard is not None and host.guarding is not None and host.guarding.lease.holds()
            if holds or self._reads(host) or not host.powered:
                self._lapsed.pop(name, None)
                self._stuck.discard(name)
            else:
                self._lapsed.setdefault(name, self._now())
                if host.gate.sticks:
                    self._stuck.add(name)
            if self._only_away and self._goes_by_witness(host):
                self._invariants.checks.demand(
                    not host.hypervisor.frozen, "unstopped", f"the gate of {name} is closed, and it has a witness"
                )
            running = len(host.hypervisor.executing())
            if not running or self._stopped(name) or self._invariants.view.just_woken(name):
                continue
            lapsed_s = self._lapsed_s(name)
            # Where no guard is there to close it, the service manager does, once; a gate that stuck is the watchdog's.
            by_hook = host.guard is None and name not in self._stuck
            most = NO_GUARD_S if by_hook else self._stop_budget * (1 + DRIFT)
            self._invariants.checks.demand(
                lapsed_s <= most, "gate", f"{running} guests execute on {name}, {lapsed_s:.1f} s after its lease"
            )
            self._invariants.checks.demand(
                name not in self._invariants.leases.revoked_by_lease,
                "revoked",
                f"{running} guests execute on {name}, whose lease was revoked",
            )

    def _lapsed_s(self, name: str) -> float:
        """Return for how long the host has had no lease: as its guard believes, or as is so, should that be longer."""
        granted = self._invariants.leases.granted_until(name)
        if self._witness is not None:
            granted = max(granted, self._witness.read_at.get(name, float("-inf")) + self._ttl)
        return self._now() - min(self._lapsed.get(name, self._now()), granted)

    def _reads(self, host: SimulatedHost) -> bool:
        """Say whether the host's guard may keep its gate open by what was really read for it."""
        if self._witness is None or not self._goes_by_witness(host):
            return False
        return self._now() - self._witness.read_at.get(host.name, float("-inf")) < self._ttl * (1 + DRIFT)

    def _goes_by_witness(self, host: SimulatedHost) -> bool:
        witnessed = host.guarding.lease.witnessed if host.guard is not None and host.guarding is not None else None
        return witnessed is not None and witnessed.until > float("-inf")

    def _killed(self, host: SimulatedHost) -> None:
        self._invariants.view.history.note(host.name, "guests killed by the guard")
        self._invariants.checks.demand(
            not self._harmless, "unharmed", f"the guard of {host.name} kills guests, though only the control plane ails"
        )


def _only(kinds: Sequence[str] | None, words: Sequence[str]) -> bool:
    return kinds is not None and all(any(word in kind for word in words) for kind in kinds)
