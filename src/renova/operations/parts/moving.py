"""What a server holds while it moves between hosts that live, and how that is given up, by its move or who ends it."""

from renova.engine.operation import Failure
from renova.model.errors import Conflict, Invalid, NotNow
from renova.model.guest import LIVES
from renova.model.host import Host, HostState, Proof, Right
from renova.model.ids import HostId, ServerId
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.operations.parts.claim import Claim, give_claim_back
from renova.operations.parts.follow_guest import follow_guest
from renova.operations.parts.state import close_failed, fault
from renova.operations.submission import Asked
from renova.operations.work import Work
from renova.store import aggregates, cluster, hosts, migrations, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims

COLD = "migration"  # the type of its record, as Nova says it


def demand_another_host(tx: Tx, server: Server, name: str | None) -> None:
    """Raise `Invalid` unless the destination that is asked for, if any, is another host."""
    if name is not None and hosts.compute_host_named(tx, name) is None:
        raise Invalid(f"Compute host {name} could not be found.")
    if name is not None and name == server.host_name:
        raise Invalid("Cannot migrate to the host where the server exists.")


def demand_living_source(cloud: Cloud, tx: Tx, server: Server, action: str) -> Host:
    """Return the server's host, which lives and can let it go; else raise what is in the way."""
    source = hosts.get(tx, server.host) if server.host else None
    if source is None or source.state is not HostState.UP or source.forced_down:
        raise Conflict(f"Cannot '{action}' instance {server.id}: its host is not up. Evacuate it if that is dead.")
    if not cloud.hosts.up(source.id):
        if not cloud.hosts.settled:
            raise NotNow("this controller has just begun, and has not heard all hosts yet")
        raise Conflict(
            f"Cannot '{action}' instance {server.id}: {source.name} is not heard, and has to let it go first. Evacuate "
            "it if that is dead."
        )
    if (hold := cluster.get(tx).hold) is not None:
        raise Conflict(f"Cannot '{action}' instance {server.id}: the cluster is on hold: {hold}")
    return source


def note_move(
    cloud: Cloud,
    tx: Tx,
    asked: Asked,
    server: Server,
    source: Host,
    kind: str,
    status: str,
    *,
    to: str | None,
    proof: Proof | None = None,
) -> int:
    """Write down that the server moves off the host, to the one that is named, if any; returns the record's number."""
    return migrations.add(
        tx,
        uuid=cloud.chance.uuid(),
        server=server.id,
        type=kind,
        status=status,
        source=source.id,
        source_name=source.name,
        destination_name=to,
        user=asked.user,
        project=asked.project,
        proof=proof.id if proof else None,
    )


def note_destination(tx: Tx, migration: int, status: str, host: HostId, name: str) -> None:
    """Write down where the server is to go, if it moves still, and how far it is."""
    migrations.move(tx, migration, migrations.ACTIVE, status, destination=host, destination_name=name)


def note_claimed(tx: Tx, migration: int, status: str, taken: Claim) -> None:
    """Write down where the server goes, for that host was granted it, and how far it is."""
    host = hosts.get(tx, taken.host)
    where = {"destination": taken.host, "destination_name": taken.name}
    address = host.address if host else None
    migrations.move(tx, migration, migrations.ACTIVE, status, **where, destination_address=address)


def move_to(work: Work, tx: Tx, taken: Claim, **values: object) -> None:
    """Show the server on the host that was granted it, well and with nothing under way."""
    where = {"host": taken.host, "host_name": taken.name, "availability_zone": aggregates.zone_of(tx, taken.host)}
    servers.change(tx, work.held.server, **where, task_state=None, fault=None, **values)


def leave_where_it_was(work: Work, tx: Tx, source: HostId, failure: Failure, *, runs: bool) -> None:
    """End a move that failed, the server where it was. A guest that is off, and should not be, is brought up there."""
    free_held_room(work.cloud, tx, work.held.server, source)
    server, right = work.server_now(tx), rights.right(tx, work.held.server)
    if right is not None and right.host == source and runs and server.power_state not in LIVES:
        # It was not heard while this was taken back. When it is, it cleans up, and its guest is started anew.
        rights.owe(tx, source, server.id, right.incarnation + 1)
    servers.change(tx, server.id, task_state=None, fault=fault(tx, failure))
    close_failed(tx, work.held.action, failure)
    tx.then(lambda: work.cloud.hosts.on_up(source))


def right_at(tx: Tx, server: ServerId, source: HostId) -> Right | None:
    """Return the source's right to run the server, unless a proof has ended it, or it has to clean up after it."""
    right = rights.right(tx, server)
    lost = rights.ended_by(tx, server, source) is not None or rights.owes(tx, source, server)
    return right if right is not None and right.host == source and not lost else None


def right_to_leave(work: Work, tx: Tx, source: HostId) -> Right:
    """Return the right that a move from there is to end; `Conflict` where the server is elsewhere by now.

    A restored database may hold a move that was asked for before another one, which it has lost: the server was found
    where that had brought it. The source would confirm that it stops what it has not, and another right be ended.
    """
    right = work.right_here(tx)
    if right.host != source:
        raise Conflict("The server is not on the host any more that it was to leave.")
    return right


def release_former(tx: Tx, server: ServerId, former: Right) -> None:
    """Note that nobody may run the server: its host confirmed that this right is over."""
    right = rights.right(tx, server)
    if right is not None and (right.host, right.incarnation) == (former.host, former.incarnation):
        rights.release(tx, server)


def end_right_elsewhere(work: Work, tx: Tx, source: HostId, *, built: bool) -> None:
    """End the destination's right, unless it still has to confirm that nothing of the server is there.

    `built`: the guest may have been begun there.
    """
    right = rights.right(tx, work.held.server)
    if right is not None and right.host != source:
        give_claim_back(work, tx, right, built=built)


def take_again(tx: Tx, server: ServerId, source: HostId) -> None:
    """Grant the source the server anew, for the number it had may be burnt; `NotNow` while another may run it."""
    right, host = rights.right(tx, server), hosts.get(tx, source)
    if host is not None and host.state is HostState.UP and not host.forced_down and not hosts.is_cut_off(tx, source):
        try:
            rights.grant(tx, server, source)
        except Conflict as error:
            raise NotNow(str(error)) from error
    elif right is not None and right.host == source:
        # Nobody knows what of it is left there: it cleans up when it is heard again, and is given the server then.
        rights.owe(tx, source, server, right.incarnation + 1)


async def stay_at_home(work: Work, home: HostId) -> None:
    """Hold nothing elsewhere any more, and follow what the guest has done meanwhile: its reports did not count."""
    await work.note(lambda tx: free_held_room(work.cloud, tx, work.held.server, home))
    await follow_guest(work, home)


def turn_arrival_away(tx: Tx, server: ServerId) -> None:
    """Have the host that the server's guest is on its way to, if any, owe what arrives there; for who supersedes it.

    What arrives stands still, and nobody may let it go on: it only has to go.
    """
    migration, right = migrations.active(tx, server), rights.right(tx, server)
    if migration is None or migration.type != migrations.LIVE or migration.destination is None:
        return
    if (right is None or right.host != migration.destination) and hosts.get(tx, migration.destination) is not None:
        rights.owe(tx, migration.destination, server, rights.incarnation(tx, server) + 1)


def take_back_move(cloud: Cloud, tx: Tx, server: Server) -> None:
    """Have a move that is superseded hold nothing any more, and its record be final."""
    migration = migrations.active(tx, server.id)
    if migration is not None and migration.type in (COLD, migrations.LIVE):
        turn_arrival_away(tx, server.id)
        migrations.move(tx, migration.id, migrations.ACTIVE, "error")
        free_held_room(cloud, tx, server.id, server.host or migration.source)


def free_held_room(cloud: Cloud, tx: Tx, server: ServerId, home: HostId) -> None:
    """Have the server hold nothing but of its home; except where it may run, or something of it may be left."""
    right = rights.right(tx, server)
    for provider in sorted({HostId(allocation.provider) for allocation in allocations.held(tx, server)}):
        may_run = right is not None and right.host == provider
        if provider != home and not may_run and not rights.owes(tx, provider, server):
            claims.release(tx, server, provider)
    cloud.fleet.stale()
