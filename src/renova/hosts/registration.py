"""How a host gets its place: enrolment with a join token, hello, what it must clean up, and when it is up.

A host is given a new lease epoch whenever it may have forgotten something (a new boot, a lost journal) or was
declared dead; it is `returning` until it has confirmed every duty, and only then up.
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace

from renova.hosts import eras
from renova.hosts.capabilities import traits
from renova.model.clock import stamp
from renova.model.errors import Conflict, Invalid
from renova.model.guest import LIVES, FoundGuest, HostFacts, PowerState
from renova.model.host import Host, HostState, Lease, Proof, ProofKind, Role
from renova.model.ids import HostId, ServerId
from renova.model.server import TaskState
from renova.settings import LeaseTimes
from renova.store import aggregates, cluster, migrations, rights, servers
from renova.store import hosts as host_rows
from renova.store.database import Tx
from renova.store.placement import claims, host_provider, inventories
from renova.store.placement.inventories import Inventory
from renova.wire.duties import Duty
from renova.wire.sessions import Hello

log = structlog.get_logger()

RESERVED_MEMORY_MB = 512  # Nova's default for the host itself (spec: scheduling, section 7)
CPU_RATIO = 4.0
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class Place:
    """What a host that said hello is told, and how it stands."""

    host: Host
    era: int
    lease: Lease
    duties: tuple[Duty, ...]
    state: HostState
    hold: str | None = None  # why the cluster was on hold then
    booted: bool = False  # it has booted since it was last here: none of its guests runs


def spend_token(tx: Tx, secret: str, name: str) -> None:
    """Spend a join token for the host of this name; `Invalid` says what to do instead."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if not host_rows.use_join_token(tx, digest, name):
        raise Invalid("the join token is unknown, expired or was used for another host; make a new one")


def give_token(tx: Tx, secret: str, hours: float) -> None:
    """Make the secret good for enrolling one host; only its hash is kept."""
    expires = datetime.fromisoformat(f"{tx.now}+00:00") + timedelta(hours=hours)
    host_rows.add_join_token(tx, hashlib.sha256(secret.encode()).hexdigest(), stamp(expires))


def enrol(tx: Tx, host: HostId, name: str, certificate: str) -> HostId:
    """Have a host of this name with this certificate; an enrolled one keeps its id and gets the new certificate."""
    # Machines name themselves, and their names become arguments of the operator's power command.
    if not _HOST_NAME.fullmatch(name):
        raise Invalid(f"{name!r} cannot be a host's name; set another with RENOVA_NAME on the host")
    known = host_rows.by_name(tx, name)
    if known is not None:
        if known.state is not HostState.ENROLLED:
            raise Invalid(
                f"a host named {name} is enrolled already; remove its compute service first, or use another name"
            )
        host_rows.change(tx, known.id, certificate=certificate)
        return known.id
    host_rows.add(tx, host, name, "", certificate)
    return host


def welcome(tx: Tx, host_id: HostId, hello: Hello, times: LeaseTimes) -> Place:
    """Register a host that said hello. `Conflict` when it must not act: it knows more than this database does."""
    host = host_rows.get(tx, host_id)
    if host is None:
        raise Conflict("this host is not enrolled here any more")
    if hello.name != host.name:
        # A renamed machine, or a copy of another one: nothing is cleaned up, given or taken on a guess.
        raise Conflict(f"this host is enrolled as {host.name}, and calls itself {hello.name!r}: hosts are not renamed")
    if host.state is not HostState.ENROLLED and host.role != hello.role:
        raise Conflict(f"this host is a {host.role} host here; remove it, and enrol it anew as another")
    _check_address(hello.address)
    role = Role(hello.role)
    if (reason := eras.loss(tx, host, hello)) is not None:
        raise Conflict(f"{reason}: the database lost commits, and nothing may be started until that is mended")
    standing = cluster.get(tx)
    era = standing.era
    known = host_rows.lease(tx, host_id)
    forgot = known is None or known.boot != hello.boot or host.journal != hello.journal
    dead = host.state is HostState.DEAD
    fenced = known is not None and hello.epoch != known.epoch
    enters = 0 < hello.era < era
    proof = host_rows.proof_of_some(tx, host_id)
    if known is None or forgot or fenced or dead or enters:
        # A proof has raised the epoch already; a new boot or journal raises it here. A host that enters a new era may
        # have seen higher ones than the database knows.
        epoch = 1 if known is None else known.epoch + (1 if forgot and not dead else 0)
        if enters:
            epoch = max(epoch, hello.epoch + 1)
        host_rows.begin_lease(tx, host_id, epoch=epoch, boot=hello.boot, ttl=times.ttl, margin=times.margin)
    lease = host_rows.lease(tx, host_id)
    assert lease is not None
    _weigh_proof(tx, host, proof, known, hello, lease.epoch)
    newcomer = known is None or forgot or fenced or dead or host.state is not HostState.UP
    if standing.hold is None:
        for found in hello.guests:
            _weigh_guest(tx, host, found, lease)
        debts = rights.debts_of(tx, host_id)
        state = HostState.RETURNING if debts and newcomer else HostState.UP
    else:
        # Nothing is cleaned up by a database that may be wrong. When the hold ends, the host says hello once more.
        debts, state = [], HostState.RETURNING if newcomer else HostState.UP
    if standing.restoring:
        eras.take_stock(tx, host_id, hello)
    # Kept with the boot, and until it is done: a controller that dies in between must not forget it.
    booted = known is not None and known.boot != hello.boot
    resume = role is Role.COMPUTE and (host.resume or booted)  # a storage host is told all whenever it comes
    if booted:
        _note_powers(tx, host_id, hello)
    if host.facts is not None and host.facts.storage_id not in ("", hello.facts.storage_id):
        # The host was told to take it (decision 0042): what is left on the other one is not found any more.
        log.warning("host on other storage", host=host.name, old=host.facts.storage_id, new=hello.facts.storage_id)
    host_rows.change(
        tx,
        host_id,
        state=state,
        role=role,
        storage=hello.storage,
        address=hello.address,
        boot=hello.boot,
        resume=resume,
        journal=hello.journal,
        era=era,
        facts=hello.facts,
        system=hello.system,
        last_seen=tx.now,
    )
    duties = tuple(duty(tx, debt) for debt in debts)
    if role is Role.COMPUTE:
        offered = inventory(host_id, hello.facts, inventories.inventory(tx, host_id))
        host_provider.provide(tx, host_id, host.name, offered, traits(hello.facts, disabled=host.disabled))
        aggregates.mirror(tx, host_id)
    if state is not host.state:
        log.info("host changed", host=host.name, old=host.state, new=state, epoch=lease.epoch, duties=len(duties))
    return Place(replace(host, role=role), era, lease, duties, state, hold=standing.hold, booted=resume)


def _check_address(text: str) -> None:
    """Raise `Invalid` for what cannot be a host's address: all other hosts are told to send to it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is no address of this host on the network that joins the hosts") from error
    if "%" in text:
        raise Invalid(f"{text} is an address on one link of this host only: others need one without a scope")
    if address.is_unspecified or address.is_multicast:
        raise Invalid(f"{text} is the address of no one host")


def _weigh_proof(tx: Tx, host: Host, proof: Proof | None, known: Lease | None, hello: Hello, epoch: int) -> None:
    """Hold what the host says against the proof by which it was dead: the same boot heard again belies most."""
    if known is None:
        return
    if known.boot != hello.boot:
        readings = {"former_boot": known.boot, "boot": hello.boot}
        host_rows.note_proof(tx, host.id, ProofKind.NEW_BOOT, epoch, readings, "the host")
    elif proof is not None and proof.kind in (ProofKind.LEASE_REVOKED, ProofKind.STORAGE_CUT):
        # They said that the guests had stopped, or could not write, not that the host had: that is as true as it was.
        done = "stopped" if proof.kind == ProofKind.LEASE_REVOKED else "cut off from what they shared"
        host_rows.withdraw(tx, proof.id, f"the host came back at {tx.now}, its guests having been {done}")
        log.info("host back after its lease was revoked", host=host.name, epoch=proof.epoch)
    elif proof is not None:
        host_rows.withdraw(tx, proof.id, f"the host was heard again at {tx.now}, and has not booted since")
        log.error("proof contradicted", host=host.name, proof=proof.kind, epoch=proof.epoch)
        if proof.kind == ProofKind.POWER_OFF:
            # Whoever reads its power reads another machine's, or lies: it is not believed again.
            why = f"its power was read as off, but it was heard at {tx.now} in the same boot"
            host_rows.change(tx, host.id, power_barred=why)


def _note_powers(tx: Tx, host: HostId, hello: Hello) -> None:
    """Note whose guests run now that the host has booted: none, unless it did so in what a database has lost."""
    found = {guest.server: guest.power for guest in hello.guests}
    for server in servers.standings(tx, host):
        power = found.get(server.id, PowerState.SHUTDOWN)
        if power is not server.power_state and (power in LIVES or server.power_state in LIVES):
            servers.change(tx, server.id, power_state=power)


def inventory(host: HostId, facts: HostFacts, known: Sequence[Inventory] = ()) -> list[Inventory]:
    """Return what a host offers to placement (spec: scheduling, section 7). A ratio that an operator has set stays."""
    ratios = {item.resource_class: item.allocation_ratio for item in known}
    reserved = min(RESERVED_MEMORY_MB, facts.memory_mb - 1)
    return [
        Inventory(host, name, total, kept, ratios.get(name, ratio), max_unit=total)
        for name, total, kept, ratio in (
            ("VCPU", facts.vcpus, 0, CPU_RATIO),
            ("MEMORY_MB", facts.memory_mb, reserved, 1.0),
            ("DISK_GB", facts.local_gb, 0, 1.0),
        )
        if total > 0
    ]


def _weigh_guest(tx: Tx, host: Host, found: FoundGuest, lease: Lease) -> None:
    """Have the host clean up the guest if it has no right to run it; know of one that it was given in what was lost."""
    right = rights.right(tx, found.server)
    if rights.incarnation(tx, found.server) == 0 and not _is_deleted(tx, found.server):
        # Nothing is destroyed on a guess: the operator is told, and decides.
        log.warning("guest of no known server", host=host.name, guest=found.server)
    elif (below := outdated(tx, host.id, found)) is not None:
        rights.owe(tx, host.id, found.server, below)
    elif right is not None and found.incarnation > right.incarnation:
        # The host was not there when the hold of this era ended, and nobody else has been given the server since.
        log.warning("newer guest than known", host=host.name, guest=found.server, incarnation=found.incarnation)
        rights.put(tx, found.server, host.id, found.incarnation, lease.epoch)


def _is_deleted(tx: Tx, server_id: ServerId) -> bool:
    """Say whether the server was deleted: maybe when a restored database did not know yet that it had been started."""
    server = servers.get(tx, server_id, deleted=True)
    return server is not None and server.deleted


def outdated(tx: Tx, host: HostId, found: FoundGuest) -> int | None:
    """Return below which number the host is to have nothing of a known server; None where its guest may stay.

    A guest that was given to it in what was lost is outdated, too, where the server has gone on elsewhere: above its
    own number, so that it goes whatever the database knew, and below all that this era grants (decision 0023).
    One that is arriving stands still until it is granted, and stays for as long as it is on its way.
    """
    if found.arriving and migrations.arrives(tx, found.server, host):
        return None
    right = rights.right(tx, found.server)
    if right is None or right.host != host:
        newest = rights.incarnation(tx, found.server)
        return max(newest if right else newest + 1, found.incarnation + 1)
    return right.incarnation if found.incarnation < right.incarnation else None


def duty(tx: Tx, debt: rights.Debt) -> Duty:
    """Say how a debt is to be paid: disks go only if the server is gone or lives on storage that is not this host's.

    Those of a server that lives elsewhere are set aside: they may hold the newest of what its user wrote.
    """
    server = servers.get(tx, debt.server)
    # One that is being deleted is as good as gone: once this is paid, nobody would come back for its disks.
    if server is None or server.launched_at is None or server.task_state is TaskState.DELETING:
        return Duty(debt.server, debt.below, disks=True)
    right = rights.right(tx, debt.server)
    # While it is being evacuated it has disks on two hosts, and either may turn out to be the one where it lives on.
    homes = {server.host, right.host if right else None} - {debt.host, None}
    # Where the server still lives here, its evacuation is under way or failed: this may be the only disk it has.
    moved = server.host is not None and server.host != debt.host
    own = _storage_of(tx, debt.host)
    local = own != "" and all(_storage_of(tx, home) not in ("", own) for home in homes)
    return Duty(debt.server, debt.below, disks=moved and local, aside=moved and local)


def duties_of(tx: Tx, host: HostId) -> list[Duty]:
    """List what the host has to clean up, as it is known now: when it was welcomed its storage may not have been."""
    return [duty(tx, debt) for debt in rights.debts_of(tx, host)]


def _storage_of(tx: Tx, host_id: HostId | None) -> str:
    """Return the identity of the host's storage, "" where nobody knows it."""
    host = host_rows.get(tx, host_id) if host_id else None
    return host.facts.storage_id if host and host.facts else ""


def left_at(tx: Tx, server_id: ServerId) -> HostId | None:
    """Return the host where the server lives, if nobody has the right to run it: it may be brought up there again."""
    server = servers.get(tx, server_id)
    return server.host if server is not None and rights.right(tx, server_id) is None else None


def cleaned(tx: Tx, host_id: HostId, duty_done: Duty) -> HostState | None:
    """Note that the host has done a duty: what it held for the server is free, the evacuation is completed.

    What it does not owe is no news: it says so over every connection, and it may have a newer guest of it by now. Nor
    is the debt paid by one that was told to keep disks which are to go since: it is called in again.
    Returns the host's state now: it is up when that was its last duty. None when the host was removed.
    """
    host = host_rows.get(tx, host_id)
    if host is None:
        return None
    debt = _paid(tx, host_id, duty_done)
    if debt is None:
        return host.state
    right = rights.right(tx, duty_done.server)
    if right is not None and right.host == host_id and right.incarnation < duty_done.below:
        # It was the last to have had the server, and has nothing of it now: the server is nobody's.
        rights.release(tx, duty_done.server)
    server = servers.get(tx, duty_done.server)
    if server is not None and server.host == host_id and server.launched_at is None:
        # A create that failed while this host was away: now it is certain that nothing of it is left here.
        servers.change(tx, server.id, host=None, host_name=None)
        server = None
    granted_here = right is not None and right.host == host_id and right.incarnation >= duty_done.below
    if (server is None or server.host != host_id) and not granted_here:
        # A server that still lives here keeps what it holds: its evacuation failed, and it will run here again.
        claims.release(tx, duty_done.server, host_id)
    if debt.migration is not None:
        migrations.move(tx, debt.migration, ("done",), "completed")
    if host.state is not HostState.RETURNING or rights.debts_of(tx, host_id):
        return host.state
    host_rows.change(tx, host_id, state=HostState.UP)
    log.info("host changed", host=host.name, old=host.state, new=HostState.UP)
    return HostState.UP


def _paid(tx: Tx, host: HostId, done: Duty) -> rights.Debt | None:
    """Take what the host has done off what it owes; None where it did not owe just this."""
    debt = rights.debt(tx, host, done.server)
    if debt is None or debt.below != done.below:
        return None
    if duty(tx, debt).disks and not done.disks:
        return None
    rights.pay(tx, debt)
    return debt
