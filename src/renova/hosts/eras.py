"""A database that lost commits: how it is noticed, and how a new era learns from the hosts what is true.

A restored backup, a failover that lost the tail or a reverted snapshot makes the database forget rights, incarnations
and epochs that hosts have seen. Whoever knows more than it does puts the cluster on hold. An operator then says that
this is the database to go on with (`renova database restored`): a new era begins, in which every host registers anew
with what it runs. The hold ends when each has done so, is proven dead, or was vouched for; and when each that knocks
with a certificate of ours, and is not known, was dismissed or has joined again.
"""

import msgspec
import structlog

from renova.model.errors import Conflict, NotFound, Refused
from renova.model.guest import FoundGuest, PowerState
from renova.model.host import Host, HostState
from renova.model.ids import HostId, ServerId
from renova.model.server import Server
from renova.store import cluster, found_guests, rights, servers, strangers, volumes
from renova.store import hosts as host_rows
from renova.store.database import Tx
from renova.store.placement import allocations, claims
from renova.store.strangers import Stranger
from renova.wire.sessions import Hello

log = structlog.get_logger()

# More grants of one server, and more versions of one volume, than any era has. Both begin at a multiple of it in each
# era: what an era granted that was lost as a whole, only hosts may know, and not all of them need to be there to say.
GAP = 1_000_000
MOST_ERAS = 1_000  # that operators may have begun in what was lost
_OFF = (PowerState.NOSTATE, PowerState.SHUTDOWN, PowerState.CRASHED)


class Believed(msgspec.Struct, frozen=True):
    """A server that was found otherwise than the database knew it."""

    server: ServerId
    moved: bool  # it lives on another host
    newer: bool  # it moved, or has gone on at home under a number that was granted in what was lost
    power: PowerState  # SHUTDOWN where what runs is stopped for being old
    guest: FoundGuest  # as the host has it where it lives


class Waiting(msgspec.Struct, frozen=True):
    """What keeps a new era's hold from ending."""

    hosts: tuple[str, ...]  # not accounted for
    contested: dict[ServerId, tuple[str, ...]]  # servers that run on several hosts, by name
    strangers: tuple[Stranger, ...] = ()  # that knock, and may run what was lost

    def __bool__(self) -> bool:
        return bool(self.hosts or self.contested or self.strangers)


def loss(tx: Tx, host: Host, hello: Hello) -> str | None:
    """Say what the host knows that the database does not; None when there is nothing.

    `Refused` when it says what no loss can explain: it lies, or its journal does, and nobody else is kept up by that.
    """
    standing = cluster.get(tx)
    reason = lease_loss(tx, host, hello.era, hello.epoch)
    if reason is not None or _has_yet_to_enter(standing, host, hello.era):
        return reason
    for guest in hello.guests:
        known = rights.incarnation(tx, guest.server)
        if guest.incarnation <= max(known, standing.floor):
            continue  # granted before this era: believed when the hold ends, no news later (decision 0023)
        if servers.get(tx, guest.server) is None:
            continue  # of a server that a restored database does not know, it may have any
        if guest.incarnation > max(known, standing.floor) + GAP:
            raise Refused(
                f"host {host.name} cannot have incarnation {guest.incarnation} of server {guest.server}: the database "
                f"is at incarnation {known}"
            )
        return (
            f"host {host.name} has incarnation {guest.incarnation} of server {guest.server}, the database is at "
            f"incarnation {known}"
        )
    return None


def lease_loss(tx: Tx, host: Host, seen_era: int, seen_epoch: int) -> str | None:
    """Say what is known at the host of eras and of its lease's epochs that the database does not know; as `loss`."""
    standing = cluster.get(tx)
    era = standing.era
    if seen_era > era + MOST_ERAS:
        raise Refused(f"host {host.name} cannot have seen era {seen_era}: the database is at era {era}")
    if seen_era > era:
        return f"host {host.name} has seen era {seen_era}, the database is at era {era}"
    if 0 < host.era < seen_era == era:
        return f"host {host.name} has been in era {era}, and the database has not seen it there"
    if _has_yet_to_enter(standing, host, seen_era):
        return None
    lease = host_rows.lease(tx, host.id)
    epoch = lease.epoch if lease else 0
    if seen_epoch > epoch + GAP:
        raise Refused(f"host {host.name} cannot have seen epoch {seen_epoch}: the database is at epoch {epoch}")
    if seen_epoch > epoch:
        return f"host {host.name} has seen epoch {seen_epoch} of its lease, the database is at epoch {epoch}"
    return None


def _has_yet_to_enter(standing: cluster.Cluster, host: Host, seen_era: int) -> bool:
    """Say whether it is asked all it knows when it enters this era, whatever became of its journal."""
    return 0 < seen_era < standing.era or (seen_era == 0 and standing.restoring and host.era < standing.era)


def hold(tx: Tx, reason: str, seen_era: int = 0) -> None:
    """Put the cluster on hold, if it is not yet. That of a new era no longer ends by itself then."""
    cluster.report(tx, seen_era)
    whole = f"the database has lost commits: {reason}. Nothing is given to hosts until `renova database restored`"
    if cluster.begin_hold(tx, whole):
        log.critical("cluster on hold", reason=reason)


def begin(tx: Tx, who: str) -> int:
    """Begin a new era with the database as it is, on hold until every host has been accounted for."""
    found_guests.forget(tx)
    strangers.recall(tx)
    host_rows.forget_guards(tx)  # one may have been disarmed since, or go by a witness of which nothing is known here
    for host in host_rows.every(tx):
        if host.state is HostState.DEAD:
            # It may have come back in what was lost: it is proven dead anew, or says hello.
            host_rows.change(tx, host.id, state=HostState.RETURNING)
    reason = f"a new era was begun by {who}: every host registers anew, is proven dead or vouched for"
    era = cluster.begin_era(tx, reason, GAP)
    volumes.raise_versions(tx, era * GAP)  # storage hosts may have seen higher ones than the database remembers
    log.warning("era begins", era=era, who=who)
    return era


def turn_away(tx: Tx, host: HostId, name: str) -> None:
    """Note, while the cluster is on hold, a host that is not known here, though our authority has signed for it.

    It may have joined in what was lost, and run what the database has elsewhere: nothing is given to anybody before
    somebody has looked. One that was removed long ago, and never told, looks the same.
    """
    if cluster.get(tx).hold is None:
        return
    called = name[:255] if name.isprintable() and name else host
    if strangers.note(tx, host, called):
        log.warning("host that knocks is not known", host=called, id=host)


def dismiss(tx: Tx, which: str, who: str) -> None:
    """Take an operator's word that a host which is not known, named by its name or its id, runs nothing of ours."""
    found = [each for each in strangers.waited_for(tx) if which in (each.name, each.host)]
    if not found:
        raise NotFound(f"No host {which} that is not known here is waited for: `renova status` names those that are.")
    if len(found) > 1:
        ids = " or ".join(each.host for each in found)
        raise Conflict(f"Several hosts call themselves {which}: name one by its id, {ids}.")
    strangers.dismiss(tx, found[0].host, who)
    log.warning("host that is not known dismissed", host=found[0].name, id=found[0].host, who=who)


def take_stock(tx: Tx, host: HostId, hello: Hello) -> None:
    """Note what the host has, as it registers in the era that is being begun; what arrives is still another's.

    Also guests of servers that were deleted since, by who knew nothing of them here: these are to go.
    """
    known = [
        guest
        for guest in hello.guests
        if not guest.arriving and servers.get(tx, guest.server, deleted=True) is not None
    ]
    found_guests.note(tx, host, known)
    strangers.joined(tx, hello.name)


def waiting(tx: Tx) -> Waiting:
    """Say what the hold still waits for."""
    era = cluster.get(tx).era
    every = {host.id: host for host in host_rows.every(tx)}
    missing = tuple(host.name for host in every.values() if host.era < era and not _gone(tx, host))
    contested = {}
    for server, found in found_guests.by_server(tx).items():
        running = [every[host].name for host, guest in found.items() if host in every and guest.power not in _OFF]
        if len(running) > 1 and servers.get(tx, server) is not None:
            contested[server] = tuple(running)
    return Waiting(missing, contested, tuple(strangers.waited_for(tx)))


def _gone(tx: Tx, host: Host) -> bool:
    return host.state is HostState.DEAD and host_rows.proof(tx, host.id) is not None


def choose(tx: Tx, server: ServerId, host_name: str) -> None:
    """Have the server go on where an operator says; the other hosts that run it are to clean it up."""
    contested = waiting(tx).contested
    if server not in contested:
        raise Conflict(f"Server {server} does not run on several hosts: `renova status` names those that do.")
    host = host_rows.by_name(tx, host_name)
    if host is None or host.name not in contested[server]:
        raise NotFound(f"Server {server} runs on {', '.join(contested[server])}, not on {host_name}.")
    found = found_guests.by_server(tx)[server]
    for other in found_guests.keep_only(tx, server, host.id):
        rights.owe(tx, other, server, found[other].incarnation + 1)
    log.warning("server stays where an operator chose", server=server, host=host.name)


def try_end(tx: Tx) -> list[Believed] | None:
    """End the hold of a new era if nothing is waited for; returns the servers that were found otherwise than known.

    None when the hold goes on. What was found becomes the truth: who runs a server has the right to.
    """
    standing = cluster.get(tx)
    if standing.hold is None or not standing.restoring or waiting(tx):
        return None
    every = [_believe(tx, server, found) for server, found in found_guests.by_server(tx).items()]
    believed = [each for each in every if each is not None]
    found_guests.forget(tx)
    strangers.forget(tx)
    cluster.end_hold(tx)
    log.warning("hold ends", era=standing.era, moved=sum(each.moved for each in believed))
    return believed


def _believe(tx: Tx, server_id: ServerId, found: dict[HostId, FoundGuest]) -> Believed | None:
    """Take the guests that were found for the truth about the server; None where that was known."""
    server = servers.get(tx, server_id)
    known, right = rights.incarnation(tx, server_id), rights.right(tx, server_id)
    number = max(known, *(guest.incarnation for guest in found.values()))
    if server is None:
        # Deleted in this hold, by who knew of no guest: they may not wait for their hosts' next hello.
        for host in found:
            rights.owe(tx, host, server_id, number + 1)
        return None
    running = [host for host, guest in found.items() if guest.power not in _OFF]
    newest = max(found, key=lambda host: found[host].incarnation)
    if not running and found[newest].incarnation <= known:
        return _at_home(server, found, known)
    owner = running[0] if running else newest
    home = host_rows.get(tx, owner)
    epoch = _found_in(tx, owner)
    if home is None or epoch is None:
        return None
    rights.put(tx, server_id, owner, number, epoch)
    if found[owner].incarnation < number:
        # A newer definition is elsewhere: what runs is stopped, and the server starts anew under a newer number. Until
        # that is done the right stays here, so that nobody is given the server without a proof that it has stopped.
        rights.owe(tx, owner, server_id, number + 1)
    if right is not None and right.host != owner:
        # An operation that rests on the former right would have its host start the server: it never saw a newer one.
        rights.owe(tx, right.host, server_id, number)
    power = found[owner].power if found[owner].incarnation == number else PowerState.SHUTDOWN
    # Even where an operation goes on: what it does next depends on whether there is a guest that runs.
    servers.change(tx, server_id, power_state=power)
    moved = server.host != owner
    believed = Believed(server_id, moved, moved or number > known, power, found[owner])
    if not moved:
        return believed if believed.newer or _tells_of_disks(server, found[owner]) else None
    log.warning("server found on another host", server=server_id, old=server.host_name, new=home.name)
    _claim(tx, server_id, owner)
    servers.change(tx, server_id, host=owner, host_name=home.name)
    return believed


def _found_in(tx: Tx, host: HostId) -> int | None:
    """Return the epoch of the host's lease in which its guests were found; None for one without a lease."""
    lease = host_rows.lease(tx, host)  # before the proof: one that is written in between has raised it
    if lease is None:
        return None
    proof = host_rows.proof(tx, host)
    # Who says hello is not dead any more, so it has died since, and that ends what was found: the proof is younger.
    return lease.epoch if proof is None else proof.epoch - 1


def _at_home(server: Server, found: dict[HostId, FoundGuest], known: int) -> Believed | None:
    """Believe of a guest that is off, and no newer than known, only which disks it has."""
    guest = found.get(server.host) if server.host else None
    if guest is None or guest.incarnation != known or not _tells_of_disks(server, guest):
        return None
    return Believed(server.id, moved=False, newer=False, power=guest.power, guest=guest)


def _tells_of_disks(server: Server, guest: FoundGuest) -> bool:
    """Say whether the guest's disks are news: others than the row's, or perhaps what a task was still to make."""
    return guest.generation not in (0, server.root_generation) or server.task_state is not None


def _claim(tx: Tx, server_id: ServerId, host: HostId) -> None:
    server = servers.get(tx, server_id)
    assert server is not None
    wanted = server.flavor.resources(volume_backed=server.image is None)
    try:
        claims.claim(tx, server_id, server.project, server.user, host, wanted)
    except Conflict as error:
        # It runs there all the same: nobody else gets that room, and who asks for the host's allocations sees why.
        log.error("found server does not fit its host", server=server_id, host=host, reason=str(error))
        claims.overdraw(tx, server_id, server.project, server.user, host, wanted)
    for held in allocations.held(tx, server_id):
        if held.provider != host:
            claims.release(tx, server_id, held.provider)
