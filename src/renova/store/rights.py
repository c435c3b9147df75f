"""Who may run a server, and what its former hosts still have to clean up.

A right is a host and an incarnation. It is given only by `grant`, which raises the incarnation and re-checks all it
rests on in its own transaction (docs/decisions/0004). One row a server.
"""

from typing import Any

import msgspec
from sqlalchemy import Column, String, Table, Text, and_, bindparam, delete, exists, insert, or_, select, update

from renova.model.errors import Conflict, OnHold
from renova.model.host import HostState, Proof, Right
from renova.model.ids import HostId, ServerId
from renova.model.local_disks import storage_cuts_off
from renova.model.server import Server, VmState
from renova.store import block_devices, cluster, hosts
from renova.store import servers as server_rows
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata
from renova.store.servers import servers

rights = Table(
    "rights",
    metadata,
    Column("server", String(36), primary_key=True),
    Column("host", String(36), index=True),  # null: released, nobody may run it
    Column("incarnation", Number, nullable=False),
    Column("host_epoch", Number, nullable=False),  # of the host's lease when it was granted
)

debts = Table(
    "debts",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("server", String(36), primary_key=True),
    Column("below", Number, nullable=False),  # guests of lower incarnations are to go
    Column("migration", Number),  # to be completed when this is paid
    Column("trouble", Text),  # what has kept the host from paying, as it says
    Column("created_at", Stamp, nullable=False),
)

# Made once: making a statement costs five times as much as running it.
_RIGHT = select(rights).where(rights.c.server == bindparam("server"))
_GRANT = insert(rights)
_CHANGE = update(rights).where(rights.c.server == bindparam("of"))
_DEBT = select(debts).where(debts.c.host == bindparam("host"), debts.c.server == bindparam("server"))
_DEBTS_OF = select(debts).where(debts.c.host == bindparam("host")).order_by(debts.c.server)
_DEBTORS = select(debts.c.host).distinct().order_by(debts.c.host)
_OWE = insert(debts)
_FLAGGED = (
    select(hosts.hosts.c.id)
    .join(hosts.leases, hosts.leases.c.host == hosts.hosts.c.id)
    .where(hosts.hosts.c.state == HostState.UP, hosts.hosts.c.resume, hosts.leases.c.cut.is_(False))
)
_RESUMED = (VmState.ACTIVE, VmState.PAUSED)  # states of servers that are brought back once nobody may run them
_HOME = hosts.hosts.alias("home")
_HOME_LEASE = hosts.leases.alias("home_lease")
_IDLE = (
    select(servers.c.host)
    .join_from(servers, rights, rights.c.server == servers.c.id)
    .join(_HOME, _HOME.c.id == servers.c.host)
    .join(_HOME_LEASE, _HOME_LEASE.c.host == servers.c.host)
    .where(
        _HOME.c.state == HostState.UP,
        _HOME_LEASE.c.cut.is_(False),  # else they may leave it, by the end of the right that it has
        servers.c.task_state.is_(None),
        servers.c.vm_state.in_(_RESUMED),
        servers.c.deleted.is_(False),
        ~exists().where(debts.c.host == servers.c.host, debts.c.server == servers.c.id),
    )
)
_LEFT = _IDLE.where(rights.c.host.is_(None))
# By proofs that may count (`ended_by`): on their way there when that host died, which cannot confirm its stop any more.
_LEFT_BY_DEAD = (
    _IDLE.join(hosts.hosts, hosts.hosts.c.id == rights.c.host)
    .join(hosts.leases, hosts.leases.c.host == rights.c.host)
    .join(hosts.proofs, hosts.proofs.c.host == rights.c.host)
    .where(
        or_(hosts.hosts.c.state == HostState.DEAD, and_(hosts.leases.c.cut, servers.c.image.is_(None))),
        hosts.proofs.c.epoch == hosts.leases.c.epoch,
        hosts.proofs.c.epoch > rights.c.host_epoch,
        hosts.proofs.c.withdrawn.is_(None),
    )
)


class Debt(msgspec.Struct, frozen=True):
    """A former host must clean up: guests of the server with an incarnation below `below`."""

    host: HostId
    server: ServerId
    below: int
    migration: int | None
    trouble: str | None = None  # what keeps the host from it, as it says


def right(tx: Tx, server: ServerId) -> Right | None:
    """Return who may run the server now, or None."""
    row = tx.execute(_RIGHT, {"server": server}).first()
    return Right(row.host, row.incarnation, row.host_epoch) if row and row.host else None


def incarnation(tx: Tx, server: ServerId) -> int:
    """Return the highest incarnation ever granted, 0 for none."""
    row = tx.execute(_RIGHT, {"server": server}).first()
    return row.incarnation if row else 0


def of_this_era(tx: Tx, right: Right) -> bool:
    """Say whether the right was granted in this era; in what was lost, one from before may have ended or moved on."""
    return right.incarnation > cluster.get(tx).floor


def every(tx: Tx) -> dict[ServerId, HostId]:
    """Return who may run which server."""
    rows = tx.execute(select(rights.c.server, rights.c.host).where(rights.c.host.is_not(None)))
    return {ServerId(row.server): HostId(row.host) for row in rows}


def of_host(tx: Tx, host: HostId) -> dict[ServerId, int]:
    rows = tx.execute(select(rights.c.server, rights.c.incarnation).where(rights.c.host == host))
    return {ServerId(row.server): row.incarnation for row in rows}


def grant(tx: Tx, server: ServerId, target: HostId, migration: int | None = None) -> Right:
    """Give the server to the target under a new incarnation; `Conflict` when anything it rests on does not hold now.

    The cluster must not be on hold (`OnHold`), the target must be up. A right that another host has must have ended:
    released, or its host is dead by a proof that is current and younger than that right, or such a proof says so of
    servers whose disks storage cuts off, and this is one. The former host then owes the clean-up of all lower
    incarnations.
    """
    standing = cluster.get(tx)
    if standing.hold is not None:
        raise OnHold(f"the cluster is on hold: {standing.hold}")
    host = hosts.get(tx, target)
    lease = hosts.lease(tx, target)
    if host is None or lease is None or lease.cut or host.state is not HostState.UP or host.forced_down:
        raise Conflict("the host is not up", details=f"host {host.name if host else target}")
    row = tx.execute(_RIGHT, {"server": server}).first()
    # Above the floor, too: what a lost commit granted must not be granted once more under the same number.
    number = max(row.incarnation if row else 0, standing.floor) + 1
    if row is not None and row.host is not None and row.host != target:
        if not has_ended(tx, server, Right(row.host, row.incarnation, row.host_epoch)):
            former = hosts.get(tx, row.host)
            raise Conflict(
                f"host {former.name if former else row.host} may still run the server: it has not confirmed its stop, "
                "and is not proven dead"
            )
        owe(tx, row.host, server, number, migration)
    values = {"host": target, "incarnation": number, "host_epoch": lease.epoch}
    if row is None:
        tx.execute(_GRANT, {"server": server, **values})
    else:
        tx.execute(_CHANGE, {"of": server, **values})
    return Right(target, number, lease.epoch)


def put(tx: Tx, server: ServerId, host: HostId | None, number: int, host_epoch: int) -> None:
    """Have the right as hosts were found to have it: only while the cluster is on hold, by `hosts.eras`."""
    values = {"host": host, "incarnation": number, "host_epoch": host_epoch}
    if tx.execute(_CHANGE, {"of": server, **values}).rowcount == 0:
        tx.execute(_GRANT, {"server": server, **values})


def release(tx: Tx, server: ServerId) -> None:
    """Note that nobody may run the server: its host confirmed that it stopped, or has nothing of it."""
    tx.execute(_CHANGE, {"of": server, "host": None})


def forget(tx: Tx, server: ServerId) -> None:
    """Drop the server's right; its number is not needed again, for a server's id is never reused."""
    tx.execute(delete(rights).where(rights.c.server == server))


def owe(tx: Tx, host: HostId, server: ServerId, below: int, migration: int | None = None) -> None:
    """Note that the host must clean up guests of the server with lower incarnations; a higher debt replaces a lower."""
    known = tx.execute(_DEBT, {"host": host, "server": server}).first()
    if known is not None:
        below, migration = max(below, known.below), migration or known.migration
        tx.execute(delete(debts).where(debts.c.host == host, debts.c.server == server))
    values = {"host": host, "server": server, "below": below, "migration": migration, "created_at": tx.now}
    tx.execute(_OWE, values)


def debtors(tx: Tx) -> list[HostId]:
    """List the hosts that have something to clean up."""
    return [HostId(host) for host in tx.execute(_DEBTORS).scalars()]


def to_resume(tx: Tx) -> list[HostId]:
    """List the hosts that have booted with servers to start again, or have some that nobody may run any more."""
    return sorted({HostId(host) for each in (_FLAGGED, _LEFT, _LEFT_BY_DEAD) for host in tx.execute(each).scalars()})


def has_ended(tx: Tx, server: ServerId, right: Right | None) -> bool:
    """Say whether nobody may run the server by this right any more: it was released, or a proof has ended it."""
    proof = ended_by(tx, server, right.host) if right is not None else None
    return right is None or (proof is not None and proof.epoch > right.host_epoch)


def ended_by(tx: Tx, server: ServerId, host: HostId) -> Proof | None:
    """Return the proof by which the host has nothing to say of the server any more; None while it may.

    It is dead, or its lease is revoked and whatever a guest of the server could write is cut off by storage before
    another reaches it (`hosts.prove_cut`).
    """
    proof = hosts.proof(tx, host)
    if proof is None and (cut := hosts.cut_proof(tx, host)) is not None:
        row = server_rows.get(tx, server)
        if row is not None and storage_cuts_off(row, block_devices.volumes_of(tx, server)):
            return cut
    return proof


def left_to_resume(tx: Tx, server: Server) -> bool:
    """Say whether nobody may run the server any more, and it is to be resumed when its host is up."""
    return server.task_state is None and server.vm_state in _RESUMED and has_ended(tx, server.id, right(tx, server.id))


def owes(tx: Tx, host: HostId, server: ServerId) -> bool:
    """Say whether the host has yet to clean up something of the server."""
    return tx.execute(_DEBT, {"host": host, "server": server}).first() is not None


def take_away(tx: Tx, host: HostId) -> None:
    """End all rights of a host that is dead for good: it is removed from the cloud, and will never be heard again."""
    tx.execute(update(rights).where(rights.c.host == host).values(host=None))


def debt(tx: Tx, host: HostId, server: ServerId) -> Debt | None:
    row = tx.execute(_DEBT, {"host": host, "server": server}).first()
    return None if row is None else _debt(row)


def debts_of(tx: Tx, host: HostId) -> list[Debt]:
    return [_debt(row) for row in tx.execute(_DEBTS_OF, {"host": host})]


def _debt(row: Any) -> Debt:
    return Debt(row.host, row.server, row.below, row.migration, row.trouble)


def trouble(tx: Tx, host: HostId, server: ServerId, reason: str) -> None:
    """Note what keeps the host from cleaning up, for people."""
    tx.execute(update(debts).where(debts.c.host == host, debts.c.server == server).values(trouble=reason))


def pay(tx: Tx, debt: Debt) -> None:
    """Note that the host has cleaned up."""
    tx.execute(delete(debts).where(debts.c.host == debt.host, debts.c.server == debt.server))


def forgive(tx: Tx, host: HostId) -> None:
    """Drop what the host owes: it is removed from the cloud, and will never be heard again."""
    tx.execute(delete(debts).where(debts.c.host == host))
