"""What must hold in a simulated cloud after every event; whoever breaks one ends the run with `checks.Violation`.

The numbers are looked at from outside, with what nobody inside can know: which guests execute on every host, what
hosts have on their disks, what was ever committed. Each check looks only at what has just changed. Names are those of
the safety protocol: one_run, one_writer, right, proof_true, monotone, one_step, stale_step, released,
one_export, kept, no_rush, revoked; and five of our own: one_teller, ended, capacity, clean, renewed. `brake`,
`certified` and `maintained` are looked at by `deaths`.
"""

from collections.abc import Callable, Mapping

from renova.model.ids import ServerId
from renova.simulation.history import History
from renova.simulation.hosts import SimulatedHost, SimulatedStorageHost
from renova.simulation.invariants.capacity import room_taken
from renova.simulation.invariants.checks import Checks, Violation
from renova.simulation.invariants.cluster import Cluster, ends_hold
from renova.simulation.invariants.debts import Debts
from renova.simulation.invariants.disks import Disks
from renova.simulation.invariants.exports import Exports
from renova.simulation.invariants.guests import Guests
from renova.simulation.invariants.leases import Leases
from renova.simulation.invariants.operations import Operations
from renova.simulation.invariants.rights import Rights
from renova.simulation.invariants.view import View
from renova.simulation.invariants.witness import HostWitness
from renova.simulation.ledger import Change, Ledger


class Invariants:
    """All of one run, each told of what concerns it; for `now` to `stopped` see `Leases`."""

    def __init__(
        self,
        history: History,
        hosts: Mapping[str, SimulatedHost],
        storage_hosts: Mapping[str, SimulatedStorageHost],
        *,
        now: Callable[[], float],
        lease_left: Callable[[str], float],
        reached: Callable[[str], tuple[int, int, int]],
        lied: Callable[[str], bool],
        stopped: Callable[[str], bool],
        just_woken: Callable[[str], bool],
        broken: Callable[[Violation], None],
    ) -> None:
        self.checks = Checks(history, broken)
        self.view = View(history, self.checks, hosts, just_woken)
        self.operations = Operations(self.view)
        self._debts = Debts(self.view)
        self._rights = Rights(self.view, self._debts)
        self._guests = Guests(self.view, self._rights)
        self._disks = Disks(self.view)
        self._exports = Exports(self.checks, storage_hosts)
        self.leases = Leases(self.view, now=now, lease_left=lease_left, reached=reached, lied=lied, stopped=stopped)
        self._cluster = Cluster(self.view, self._rights)

    def watch_host(self, host: SimulatedHost) -> None:
        """Follow the guests of a host."""
        self.view.names[host.id] = host.name
        host.hypervisor.witness = HostWitness(host, self._guests, self._disks)

    def look(self) -> None:
        """Check what tells nobody when it changes: writes, exports, and leases as time passes."""
        self._disks.look()
        self._exports.look()
        self.leases.look()

    def committed(self, who: str, changes: list[Change]) -> None:
        """Check what a process has just committed."""
        granted: list[ServerId] = []
        found = any(map(ends_hold, changes))  # what runs somewhere then holds its room there, be it too much
        for change in changes:
            match change.table:
                case "rights":
                    granted.append(self._rights.changed(change))
                case "servers":
                    self.view.server_changed(change)
                case "hosts":
                    self._debts.host_changed(change)
                case "debts":
                    self._debts.changed(change)
                case "leases":
                    self.leases.changed(change)
                case "proofs":
                    self.leases.proven(change)
                case "operations":
                    self.operations.changed(who, change)
                case "steps":
                    self.operations.step_noted(who, change)
                case "executors" if change.new is not None and change.old is None:
                    self.operations.enlisted(who, change.new["id"])
                case "cluster" if change.new is not None:
                    self._cluster.changed(change.new)
                case "inventories" if change.new is not None and not found:
                    room_taken(self.view, change)
        for server in granted:
            self._guests.granted(server)

    def lost_commits(self, ledger: Ledger) -> None:
        """Go on from a database that has lost commits, or is an older one."""
        self.view.believed.lost_commits = self.view.believed.ever_lost = True
        rows = ledger.everything()
        ledger.take()
        self.view.servers = {ServerId(row["id"]): row for row in rows["servers"]}
        self._rights.begin_again(rows["rights"])
        self._debts.begin_again(rows["debts"])
        self.leases.begin_again(rows["leases"])
        self.operations.begin_again(rows["operations"])
        self._cluster.begin_again(rows["cluster"])
