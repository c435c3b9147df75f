"""What must hold in a simulated cloud after every event; whoever breaks one ends the run with `Violation`.

The numbers are looked at from outside, with what nobody inside can know: which guests execute on every host, what
hosts have on their disks, what was ever committed. Each check looks only at what has just changed. Names are those of
the safety protocol: one_run, one_writer, right, proof_true, monotone, one_step, stale_step, released,
one_export, kept, no_rush, revoked; and five of our own: one_teller, ended, capacity, clean, renewed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from renova.agent.journal import ServerPage
from renova.drivers.hypervisor.simulated import SimulatedDisk, Witness
from renova.model.guest import Guest
from renova.model.host import HostState, ProofKind
from renova.model.ids import ImageId, ServerId, VolumeId
from renova.model.server import TaskState
from renova.operations.create_image import CREATE_IMAGE, CreateImage
from renova.simulation.history import History
from renova.simulation.hosts import SimulatedHost, SimulatedStorageHost
from renova.simulation.ledger import Change, Ledger, Row

BY_SILENCE = (ProofKind.OPERATOR, ProofKind.HEARTBEAT_AGE)  # proofs that rest on a lease that has lapsed
FINAL = ("done", "failed", "superseded")
DRIFT = 0.02  # by how much a host's clock may be faster or slower than true time, and a little more


class _Told(NamedTuple):
    """An operation as it was last committed."""

    state: str
    executor: str
    epoch: int
    undoing: bool


class Violation(Exception):
    """An invariant does not hold: a bug, unless an assumption was broken on purpose."""

    def __init__(self, invariant: str, account: str) -> None:
        super().__init__(f"{invariant}: {account}")
        self.invariant = invariant


@dataclass
class Believed:
    """What was broken on purpose, so that a run may not hold it against the product."""

    lied_of: set[str] = field(default_factory=set)  # hosts of which a BMC or an operator said what is not so
    broken: list[str] = field(default_factory=list)  # what was said so, in sentences
    lost_commits: bool = False  # the database is not what it was, and the product has not found out yet
    ever_lost: bool = False  # it was so once
    deleted: set[ServerId] = field(default_factory=set)  # servers whose delete was ever committed, lost or not
    forgotten_images: set[ImageId] = field(default_factory=set)  # whose operations were lost with their commits


class Invariants:
    """Checks of one run; `now` gives its time, `lease_left` for how many seconds a host still believes in its lease.

    `lied` says whether a host's power controller has said that it is off when it was not, `stopped` whether a host's
    clocks were stopped from outside, as those of a virtual machine can be: then its lease means nothing to it.
    """

    def __init__(
        self,
        history: History,
        hosts: Mapping[str, SimulatedHost],
        storage_hosts: Mapping[str, SimulatedStorageHost],
        *,
        now: Callable[[], float],
        lease_left: Callable[[str], float],
        lied: Callable[[str], bool],
        stopped: Callable[[str], bool],
        broken: Callable[[Violation], None],
    ) -> None:
        self.history = history
        self.hosts = hosts
        self.storage_hosts = storage_hosts
        self.believed = Believed()
        self.checked = 0  # how many checks were made
        self._now = now
        self._lease_left = lease_left
        self._lied = lied
        self._stopped = stopped
        self._broken = broken  # told of each: whoever runs into one may be anybody's task, and may swallow it
        self.rights: dict[ServerId, tuple[str | None, int]] = {}  # host and incarnation
        self.debts: dict[tuple[str, ServerId], int] = {}  # of host and server: guests below this incarnation are to go
        self._granted: dict[ServerId, int] = {}  # the highest incarnation ever granted
        self._epochs: dict[str, int] = {}
        self._boots: dict[tuple[str, int], str] = {}  # of host and epoch: a new boot has a new epoch
        self._renewed: dict[str, tuple[float, float]] = {}  # of a host: when its lease was last renewed, for how long
        self._revoked: dict[str, int] = {}  # hosts by name that are proven dead, and the epoch since
        self._servers: dict[ServerId, Row] = {}
        self._left: dict[tuple[str, ServerId], int] = {}  # guests that hosts had of servers that a loss has forgotten
        self.era = 0
        self.hold: str | None = None
        self._operations: dict[int, _Told] = {}
        self.ordered_images: set[ImageId] = set()  # that an operation was to make
        self._enlisted: dict[str, str] = {}  # executor to the process that is it
        self._names: dict[str, str] = {}  # of hosts, by id
        self._written: dict[int, tuple[SimulatedDisk, int, int]] = {}  # disk, writes looked at, highest incarnation
        self._exports: dict[str, tuple[VolumeId, str]] = {}  # every name ever served
        self._pages: dict[tuple[str, str, ServerId], ServerPage] = {}
        self._given_up: dict[tuple[str, ServerId], int] = {}  # by a host's name and server: the highest incarnation

    # --- joining the world ---

    def watch_host(self, host: SimulatedHost) -> None:
        """Follow the guests of a host."""
        self._names[host.id] = host.name
        host.hypervisor.witness = _HostWitness(self, host)

    def fail(self, invariant: str, account: str) -> None:
        """Note the violation, and raise it where it was found."""
        violation = Violation(invariant, account)
        self.history.note("INVARIANT", f"{invariant} broken: {account}")
        self._broken(violation)
        raise violation

    def demand(self, true: bool, invariant: str, account: str, *about: str) -> None:
        self.checked += 1
        if not true:
            self.fail(invariant, account.format(*(self.history.name(each) for each in about)))

    # --- guests ---

    def executing(self, server: ServerId) -> list[tuple[str, int]]:
        """Return the hosts on which the server executes now, with the incarnation of each guest."""
        found = []
        for name, host in self.hosts.items():
            number = host.hypervisor.executes(server)
            if number is not None:
                found.append((name, number))
        return found

    def guest_changed(self, host: SimulatedHost, server: ServerId) -> None:
        number = host.hypervisor.executes(server)
        self.history.note(host.name, "guest runs" if number else "guest runs no more", server=server, inc=number)
        if number is None:
            return
        running = self.executing(server)
        if not self.believed.lied_of.intersection(name for name, _ in running):
            self.demand(len(running) <= 1, "one_run", f"{{}} executes on {_said(running)}", server)
        given_up = self._given_up.get((host.name, server), 0)
        self.demand(
            number > given_up,
            "released",
            f"{{}}, incarnation {number}, begins on {host.name} after {given_up} was given up there",
            server,
        )
        self._check_right(host, server, number)

    def _check_right(self, host: SimulatedHost, server: ServerId, number: int) -> None:
        if self.hold is not None or self.believed.lost_commits or host.name in self.believed.lied_of:
            return
        holder, newest = self.rights.get(server, (None, 0))
        whose = self._names.get(holder or "", "nobody")
        # A server that was deleted while its host was away runs on until that host hears of it; nobody else runs it.
        forgotten = holder is None and number < self.debts.get((host.id, server), 0)
        # One of whose server a restored database has never heard is left where it was; it may stand still and go on.
        left = server not in self.rights and self._left.get((host.name, server)) == number
        self.demand(
            forgotten or left or (holder == host.id and number <= newest),
            "right",
            f"{{}} executes on {host.name} as incarnation {number}, but the right is {whose}'s, incarnation {newest}",
            server,
        )

    def begun(self, host: SimulatedHost, call: str, server: ServerId, guest: Guest | None, running: list[str]) -> None:
        """Check what the host begins to do to a guest, beside the calls that run already."""
        self.demand(
            not running, "one_step", f"{call} of {{}} begins on {host.name} while {', '.join(running)} runs", server
        )
        if guest is None:
            return
        page = host.journal.page(server)
        self.demand(
            guest.incarnation == page.incarnation and guest.incarnation > page.burnt,
            "stale_step",
            f"{call} of {{}}, incarnation {guest.incarnation}, on {host.name}, whose journal has {page.incarnation}, "
            f"and {page.burnt} given up",
            server,
        )

    def undefined(self, host: SimulatedHost, server: ServerId) -> None:
        """Note what the host has given up: burnt in its journal, and now gone.

        Not when it is burnt: a start that libvirt was asked for before may still come to its end until then.
        """
        self._given_up[host.name, server] = host.journal.page(server).burnt

    def page_written(self, host: SimulatedHost, journal: str, server: ServerId, page: ServerPage) -> None:
        """Check that what a host has on its disk only rises, for as long as it is the same journal."""
        before = self._pages.get((host.name, journal, server))
        self._pages[host.name, journal, server] = page
        if before is None:
            return
        lower = (page.era, page.incarnation, page.burnt) < (before.era, before.incarnation, before.burnt)
        self.demand(
            not lower and page.incarnation >= before.incarnation and page.burnt >= before.burnt,
            "monotone",
            f"the journal of {host.name} goes back for {{}}: from {_page(before)} to {_page(page)}",
            server,
        )

    def look_at_writes(self) -> None:
        """Check that no disk took a write of an older incarnation after one of a newer."""
        seen = set()
        for host in self.hosts.values():
            if id(host.storage) in seen:
                continue
            seen.add(id(host.storage))
            for (server, generation), disk in host.storage.disks.items():
                _, looked, highest = self._written.get(id(disk), (disk, 0, 0))
                for write in disk.writes[looked:]:
                    number = write.incarnation
                    self.demand(
                        number >= highest or bool(self.believed.lied_of),
                        "one_writer",
                        f"disk {generation} of {{}} took a write of incarnation {number} after one of {highest}",
                        server,
                    )
                    highest = max(highest, number)
                self._written[id(disk)] = (disk, len(disk.writes), highest)

    def deleted(self, host: SimulatedHost, server: ServerId, generation: int) -> None:
        """Check that a host deletes no disk that is the newest of a server that goes on, at home on this storage."""
        row = self._servers.get(server)
        if row is None or row["deleted"] or row["launched_at"] is None or row["task_state"] == TaskState.DELETING:
            return
        home = self.hosts.get(self._names.get(row["host"] or "", ""))
        if home is None or home.storage is not host.storage or self.hold is not None or self.believed.lost_commits:
            return
        self.demand(
            generation != row["root_generation"] or host.hypervisor.setting_aside == server,
            "kept",
            f"{host.name} deletes disk {generation} of {{}}, the newest it has, on the storage of {home.name}",
            server,
        )

    # --- volumes ---

    def look_at_exports(self) -> None:
        """Check that each volume is served for writing under one name, and that no name is given twice."""
        for host in self.storage_hosts.values():
            for volume, exports in host.volumes.served.items():
                writable = sorted(export.name for export in exports.values() if export.writable)
                self.demand(
                    len(writable) <= 1, "one_export", f"volume {{}} is served under {len(writable)} names", volume
                )
                for export in exports.values():
                    mine = (volume, str(export.host))
                    known = self._exports.setdefault(export.name, mine)
                    self.demand(
                        known == mine, "one_export", f"the name of an export of {{}} was that of {known}", volume
                    )

    # --- the database ---

    def committed(self, who: str, changes: list[Change]) -> None:
        """Check what a process has just committed."""
        granted: list[ServerId] = []
        found = any(map(_ends_hold, changes))  # what runs somewhere then holds its room there, be it too much
        for change in changes:
            match change.table:
                case "rights":
                    granted.append(self._right_changed(change))
                case "servers":
                    row = change.new or change.old or {}
                    self._servers[row["id"]] = {**row, "deleted": change.new is None or row["deleted"]}
                    if self._servers[row["id"]]["deleted"] or row["task_state"] == TaskState.DELETING:
                        self.believed.deleted.add(row["id"])
                case "hosts":
                    self._host_changed(change)
                case "debts":
                    row = change.new or change.old or {}
                    self.debts[row["host"], row["server"]] = row["below"] if change.new else 0
                case "leases":
                    self._lease_changed(change)
                case "proofs":
                    self._proof_written(change)
                case "operations":
                    self._operation_changed(who, change)
                case "steps":
                    self._step_noted(who, change)
                case "executors" if change.new is not None and change.old is None:
                    self._enlisted[change.new["id"]] = who
                case "cluster" if change.new is not None:
                    self._cluster_changed(change.new)
                case "inventories" if change.new is not None and not found:
                    self._room_taken(change)
        for server in granted:
            for name, number in self.executing(server):
                self._check_right(self.hosts[name], server, number)

    def _right_changed(self, change: Change) -> ServerId:
        row = change.new or change.old or {}
        server = ServerId(row["server"])
        if change.new is None:
            self.rights.pop(server, None)
            return server
        holder, number = change.new["host"], change.new["incarnation"]
        former = self.rights.get(server, (None, 0))
        self.rights[server] = (holder, number)
        if self.hold is not None or self.believed.lost_commits:
            self._granted[server] = max(number, self._granted.get(server, 0))
            return server
        highest = self._granted.get(server, 0)
        if holder is None and self.believed.ever_lost:
            # Ending a right that a restored database has gives nobody anything: only that number must not go back.
            self.demand(number >= former[1], "monotone", f"the right to {{}} goes from {former[1]} to {number}", server)
            return server
        moved = holder is not None and holder != former[0]
        self.demand(
            number > highest if moved else number >= highest,
            "monotone",
            f"{{}} is given to {self._names.get(holder or '', 'nobody')} as incarnation {number} after {highest}",
            server,
        )
        seen = max((host.journal.page(server).incarnation for host in self.hosts.values()), default=0)
        self.demand(number >= seen, "monotone", f"{{}} is granted as {number}, but hosts have seen {seen}", server)
        self._granted[server] = max(number, highest)
        return server

    def _host_changed(self, change: Change) -> None:
        if change.new is None or change.old is None or change.new["state"] != HostState.UP:
            return
        host = change.new["id"]
        owes = [server for (debtor, server), below in self.debts.items() if debtor == host and below]
        returns = change.old["state"] in (HostState.DEAD, HostState.RETURNING)
        self.demand(
            not (returns and owes) or self.believed.lost_commits,
            "clean",
            f"{self._names.get(host)} is up, and has yet to clean up {len(owes)} servers",
        )

    def _lease_changed(self, change: Change) -> None:
        if change.new is None or change.new["host"] not in self._names:
            return
        host, epoch, boot = change.new["host"], change.new["epoch"], change.new["boot"]
        known, name = self._epochs.get(host, 0), self._names[host]
        if not self.believed.lost_commits:
            self.demand(epoch >= known, "monotone", f"the lease of {name} goes from epoch {known} to {epoch}")
            mine = self._boots.setdefault((host, epoch), boot)
            # A proof raises the epoch of the row as it is; whoever registers then has it for its own.
            revoked = self._revoked.get(name) == epoch
            self.demand(mine == boot or revoked, "monotone", f"two boots of {name} have epoch {epoch}")
        self._epochs[host] = max(epoch, known)
        if change.old is not None and change.new["counter"] > change.old["counter"]:
            self._renewed[name] = (self._now(), change.new["ttl"])
        if change.old is None:
            self._revoked.pop(name, None)  # it has registered
            self._boots[host, epoch] = boot

    def _proof_written(self, change: Change) -> None:
        if change.new is None or change.old is not None:
            return
        row = change.new
        name = self._names.get(row["host"])
        if name is None:
            return
        host, kind = self.hosts[name], ProofKind(row["kind"])
        self.history.note("WORLD", "proof", host=name, kind=kind, epoch=row["epoch"])
        running = sorted(host.hypervisor.executing())
        if kind == ProofKind.OPERATOR and running:
            self._believe(name, f"an operator said that {name} was off, where {len(running)} guests execute")
        if kind == ProofKind.HEARTBEAT_AGE and running:
            self._believe(name, f"silence was taken for death, but {len(running)} guests execute on {name}")
        if kind == ProofKind.POWER_OFF and self._lied(name):
            self._believe(name, f"the power controller of {name} said that it was off when it was not")
        if kind == ProofKind.POWER_OFF and name not in self.believed.lied_of:
            self.demand(not running, "proof_true", f"{name} is proven off while {len(running)} guests execute there")
        readings = msgspec.json.decode(row["readings"]) if row["readings"] else {}
        if kind is not ProofKind.NEW_BOOT:
            self._revoked[name] = row["epoch"]
        if kind in BY_SILENCE and readings.get("at_once") != "yes" and not self._stopped(name):
            left = self._lease_left(name)
            self.demand(left <= 0, "no_rush", f"{name} is taken for silent while its own lease holds for {left:.1f} s")

    def look_at_leases(self) -> None:
        """Check that no host believes in a lease that was renewed for less, or revoked for its silence."""
        now = self._now()
        for name, (at, ttl) in self._renewed.items():
            left, held = self._lease_left(name), ttl - (now - at) * (1 - DRIFT)
            self.demand(
                left <= max(held, 0.0) or self._stopped(name),
                "renewed",
                f"{name} believes in its lease for another {left:.1f} s, and it was renewed for {held:.1f} s",
            )
        for name in self._revoked:
            left = self._lease_left(name)
            self.demand(
                left <= 0
                or self._lied(name)
                or self._stopped(name)
                or self.hold is not None
                or self.believed.lost_commits,
                "revoked",
                f"{name} is proven dead, and believes in its lease for another {left:.1f} s",
            )

    def _believe(self, host: str, what: str) -> None:
        """Note that a proof rests on what is not so: under that policy, it is believed."""
        self.believed.lied_of.add(host)
        self.believed.broken.append(what)
        self.history.note("WORLD", "assumption broken", what=what)

    def _operation_changed(self, who: str, change: Change) -> None:
        if change.new is None:
            return
        row, former = change.new, self._operations.get(change.new["id"])
        self.ordered_images.update(_image_of(row))
        now = self._operations[row["id"]] = _told(row)
        if former is None or self.believed.lost_commits:
            return
        which = f"operation {row['id']} ({row['story']})"
        self.demand(
            former.state not in FINAL or now.state == former.state,
            "ended",
            f"{which} was {former.state}, and is {now.state}",
        )
        self.demand(
            now.executor in ("", former.executor) or now.epoch > former.epoch,
            "monotone",
            f"{which} goes from one teller to another under epoch {now.epoch}, after {former.epoch}",
        )
        if now.state != former.state and now.state in ("done", "failed"):
            self._demand_teller(who, former.executor, f"ends {which}")
        if now.undoing and not former.undoing:
            self._demand_teller(who, former.executor, f"begins to undo {which}")

    def _step_noted(self, who: str, change: Change) -> None:
        if change.new is None:
            return
        operation = change.new["operation"]
        if (told := self._operations.get(operation)) is not None:
            notes = f"notes {change.new['step'] or 'an undo'} of operation {operation}"
            self.demand(told.state == "active", "ended", f"{who} {notes}, which is {told.state}")
            self._demand_teller(who, told.executor, notes)

    def _demand_teller(self, who: str, executor: str, does: str) -> None:
        owner = self._enlisted.get(executor)
        if owner is not None and not self.believed.lost_commits:
            self.demand(owner == who, "one_teller", f"{who} {does}, which is {owner}'s")

    def _cluster_changed(self, row: dict[str, Any]) -> None:
        self.demand(
            row["era"] >= self.era or self.believed.lost_commits,
            "monotone",
            f"era {self.era} is followed by {row['era']}",
        )
        if row["hold"] != self.hold:
            self.history.note("WORLD", "hold" if row["hold"] else "hold ends", era=row["era"], why=row["hold"])
        if self.hold is not None and row["hold"] is None:
            self.believed.lost_commits = False  # found out, and mended
            self._left = dict(self._guests_of_nobody())
        self.era, self.hold = row["era"], row["hold"]

    def _guests_of_nobody(self) -> Iterator[tuple[tuple[str, ServerId], int]]:
        for name, host in self.hosts.items():
            for server in host.hypervisor.domains():
                number = host.hypervisor.defined(server)
                if number is not None and server not in self._servers and server not in self.rights:
                    yield (name, server), number

    def _room_taken(self, change: Change) -> None:
        row, before = change.new or {}, (change.old or {}).get("used", 0)
        if row["used"] > before:
            room = (row["total"] - row["reserved"]) * row["allocation_ratio"]
            name = self._names.get(row["provider"], row["provider"])
            self.demand(
                row["used"] <= room, "capacity", f"{row['used']} of {room:g} {row['resource_class']} are held of {name}"
            )

    def lost_commits(self, ledger: Ledger) -> None:
        """Go on from a database that has lost commits, or is an older one."""
        self.believed.lost_commits = self.believed.ever_lost = True
        rows = ledger.everything()
        ledger.take()
        self.rights = {ServerId(row["server"]): (row["host"], row["incarnation"]) for row in rows["rights"]}
        self._servers = {ServerId(row["id"]): row for row in rows["servers"]}
        self._boots, self._revoked = {}, {}
        self.debts = {(row["host"], row["server"]): row["below"] for row in rows["debts"]}
        self._operations = {row["id"]: _told(row) for row in rows["operations"]}
        known = {image for row in rows["operations"] for image in _image_of(row)}
        self.believed.forgotten_images |= self.ordered_images - known
        self._epochs = {row["host"]: row["epoch"] for row in rows["leases"]}
        cluster: Row = rows["cluster"][0] if rows["cluster"] else {"era": 1, "hold": None}
        self.era, self.hold = cluster["era"], cluster["hold"]


class _HostWitness(Witness):
    """Hears what happens on one host."""

    def __init__(self, invariants: Invariants, host: SimulatedHost) -> None:
        self._invariants = invariants
        self._host = host
        self._running: dict[ServerId, list[str]] = {}
        self._was: dict[ServerId, bool] = {}
        host.journal.written = self._page_written

    def _page_written(self, journal: str, server: ServerId, page: ServerPage) -> None:
        self._invariants.page_written(self._host, journal, server, page)

    def power(self, server: ServerId) -> None:
        runs = self._host.hypervisor.executes(server) is not None
        if runs != self._was.get(server, False):
            self._was[server] = runs
            self._invariants.guest_changed(self._host, server)

    def begins(self, call: str, server: ServerId, guest: Guest | None) -> None:
        running = self._running.setdefault(server, [])
        # Before it is noted: a violation is raised in here.
        self._invariants.begun(self._host, call, server, guest, running)
        running.append(call)

    def ends(self, call: str, server: ServerId) -> None:
        running = self._running.get(server, [])
        if call in running:
            running.remove(call)
        if call == "undefine":
            self._invariants.undefined(self._host, server)

    def connects(self) -> None:
        self._running.clear()

    def deletes(self, server: ServerId, generation: int) -> None:
        self._invariants.deleted(self._host, server, generation)


def _ends_hold(change: Change) -> bool:
    if change.table != "cluster" or change.old is None or change.new is None:
        return False
    return change.old["hold"] is not None and change.new["hold"] is None


def _image_of(operation: Row) -> Iterator[ImageId]:
    """Give the image that the operation is to make, if it is one that does, and has not ended."""
    if operation["story"] == CREATE_IMAGE.name and operation["want"]:
        yield msgspec.json.decode(operation["want"], type=CreateImage).image


def _said(running: list[tuple[str, int]]) -> str:
    return " and ".join(f"{name} (incarnation {number})" for name, number in running)


def _told(row: Row) -> _Told:
    return _Told(row["state"], row["executor"], row["epoch"], bool(row["undoing"]))


def _page(page: ServerPage) -> str:
    return f"era {page.era}, incarnation {page.incarnation}, given up {page.burnt}"
