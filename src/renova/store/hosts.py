"""Hosts, their leases, the proofs of their deaths, and the tokens by which new ones join."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    String,
    Table,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from renova.model.guest import HostFacts
from renova.model.host import GuardClass, Host, HostState, Lease, Proof, ProofKind, Role
from renova.model.ids import HostId
from renova.model.storage import StorageFacts
from renova.store import cluster, power_controllers, providers
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

hosts = Table(
    "hosts",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("address", String(64), nullable=False),
    Column("certificate", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("role", String(16), nullable=False, default=Role.COMPUTE),
    Column("storage", Document(StorageFacts)),
    Column("forced_down", Boolean, nullable=False, default=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("disabled_reason", String(255)),
    Column("disabled_by", String(255)),
    Column("disabled_at", Stamp),
    Column("forced_down_by", String(255)),
    Column("forced_down_at", Stamp),
    Column("boot", String(64), nullable=False, default=""),
    Column("resume", Boolean, nullable=False, default=False),
    Column("journal", String(64), nullable=False, default=""),
    Column("era", Number, nullable=False, default=0),
    Column("system", String(64), nullable=False, default="", server_default=""),
    Column("power_barred", String(255)),
    Column(
        "condemned_at", Stamp
    ),  # when it was last decided to take it for dead by itself, or to switch it off for that
    Column("facts", Document(HostFacts)),
    Column("last_seen", Stamp),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)

# Apart from hosts, so that renewals never wait for a transaction that holds a host's row.
leases = Table(
    "leases",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("epoch", Number, nullable=False),
    Column("counter", Number, nullable=False),
    Column("boot", String(64), nullable=False),
    Column("ttl", Float, nullable=False),
    Column("margin", Float, nullable=False),
    Column("guard", String(8), nullable=False),
    Column("home", String(36), nullable=False, default=""),
    Column("returns", Boolean, nullable=False, default=False, server_default=false()),
    Column("witness", String(64), nullable=False, default="", server_default=""),
    Column("revoked", Number, nullable=False, default=0, server_default="0"),
    Column("cut", Boolean, nullable=False, default=False, server_default=false()),
)

proofs = Table(
    "proofs",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("host", String(36), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("epoch", Number, nullable=False),
    Column("readings", Document(dict[str, str]), nullable=False),
    Column("who", String(255), nullable=False),
    Column("withdrawn", String(255)),
    Column("created_at", Stamp, nullable=False),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("expires_at", Stamp, nullable=False),
    Column("used_by", String(36)),  # a token is good once; the same host may repeat an enrolment whose answer was lost
    Column("created_at", Stamp, nullable=False),
)

# Made once: making a statement costs five times as much as running it.
_BY_ID = select(hosts).where(hosts.c.id == bindparam("host"))
_BY_NAME = select(hosts).where(hosts.c.name == bindparam("name"))
_EVERY = select(hosts).order_by(hosts.c.serial)
_SOME = select(hosts).where(hosts.c.id.in_(bindparam("ids", expanding=True)))
_OF_ROLE = select(hosts).where(hosts.c.role == bindparam("role")).order_by(hosts.c.serial)
IS_LOST = or_(hosts.c.state == HostState.DEAD, leases.c.cut)
_LOST = (
    select(hosts)
    .join(leases, leases.c.host == hosts.c.id)
    .where(hosts.c.role == Role.COMPUTE, IS_LOST)
    .order_by(hosts.c.serial)
)
_LOST_OF = (
    select(hosts.c.id)
    .join(leases, leases.c.host == hosts.c.id)
    .where(hosts.c.id.in_(bindparam("ids", expanding=True)), IS_LOST)
)
_ADDRESSES = (
    select(hosts.c.id, hosts.c.address)
    .where(hosts.c.address != "", hosts.c.role == Role.COMPUTE)
    .order_by(hosts.c.serial)
)
_ADD = insert(hosts)
_CHANGE = update(hosts).where(hosts.c.id == bindparam("host"))
_CONDEMNED_THEN = hosts.c.condemned_at.between(bindparam("since"), bindparam("until"))
_CONDEMNED = select(hosts.c.id).where(_CONDEMNED_THEN)
_TO_BE_HEARD = and_(
    hosts.c.state.in_((HostState.UP, HostState.RETURNING)), hosts.c.disabled.is_(False), hosts.c.forced_down.is_(False)
)
_MEMBERS = (
    select(func.count())
    .select_from(hosts.outerjoin(leases, leases.c.host == hosts.c.id))
    .where(or_(and_(_TO_BE_HEARD, leases.c.cut.is_not(True)), _CONDEMNED_THEN))
)
_LEASE = select(leases).where(leases.c.host == bindparam("host"))
_ALL_LEASES = select(leases).order_by(leases.c.host)
_END_LEASE = delete(leases).where(leases.c.host == bindparam("host"))
_BEGIN_LEASE = insert(leases)
_AT_LEAST = bindparam("at_least", type_=Float)
_RENEW = (
    update(leases)
    .where(
        leases.c.host == bindparam("of"), leases.c.epoch == bindparam("in_epoch"), leases.c.boot == bindparam("in_boot")
    )
    .values(
        counter=leases.c.counter + 1,
        home=bindparam("at"),
        guard=bindparam("of_class"),
        witness=bindparam("by_word"),
        margin=case((leases.c.margin < _AT_LEAST, _AT_LEAST), else_=leases.c.margin),
    )
    .returning(leases.c.counter)
)
_PROOF_NUMBERED = select(proofs).where(proofs.c.id == bindparam("number"))
_RETURNING = update(leases).where(leases.c.host == bindparam("of")).values(returns=bindparam("still"))
_CURRENT = (
    select(proofs)
    .join(leases, leases.c.host == proofs.c.host)
    .join(hosts, hosts.c.id == proofs.c.host)
    .where(
        proofs.c.host == bindparam("host"),
        proofs.c.epoch == leases.c.epoch,
        proofs.c.withdrawn.is_(None),
    )
    .order_by(proofs.c.id.desc())
)
_PROOF = _CURRENT.where(hosts.c.state == HostState.DEAD)
_CUT_PROOF = _CURRENT.where(hosts.c.state != HostState.DEAD, leases.c.cut)


def add(tx: Tx, host: HostId, name: str, address: str, certificate: str) -> None:
    values = {"id": host, "name": name, "address": address, "certificate": certificate, "state": HostState.ENROLLED}
    tx.execute(_ADD, {**values, "created_at": tx.now, "updated_at": tx.now})


def _host(row: Any) -> Host:
    values = dict(row._mapping)
    values["state"] = HostState(values["state"])
    values["role"] = Role(values["role"])
    return Host(**values)


def get(tx: Tx, host: HostId) -> Host | None:
    row = tx.execute(_BY_ID, {"host": host}).first()
    return _host(row) if row else None


def by_name(tx: Tx, name: str) -> Host | None:
    row = tx.execute(_BY_NAME, {"name": name}).first()
    return _host(row) if row else None


def name(tx: Tx, host: HostId) -> str:
    """Return the host's name, for people; its id when there is none."""
    found = get(tx, host)
    return found.name if found else host


def every(tx: Tx) -> list[Host]:
    return [_host(row) for row in tx.execute(_EVERY)]


def some(tx: Tx, ids: Sequence[str]) -> list[Host]:
    return [_host(row) for row in tx.execute(_SOME, {"ids": list(ids)})]


def computing(tx: Tx) -> list[Host]:
    """List the hosts that run guests: the only ones that Nova's and Placement's clients ever see."""
    return [_host(row) for row in tx.execute(_OF_ROLE, {"role": Role.COMPUTE})]


def storing(tx: Tx) -> list[Host]:
    """List the hosts that hold volumes."""
    return [_host(row) for row in tx.execute(_OF_ROLE, {"role": Role.STORAGE})]


def lost(tx: Tx) -> list[Host]:
    """List the hosts for guests that are taken for dead, or from which storage cuts off volumes (`cut_proof`)."""
    return [_host(row) for row in tx.execute(_LOST)]


def lost_of(tx: Tx, ids: Collection[HostId]) -> set[HostId]:
    """Return those of these hosts that `lost` would list."""
    return {HostId(host) for host in tx.execute(_LOST_OF, {"ids": sorted(ids)}).scalars()} if ids else set()


def compute_host(tx: Tx, host: HostId) -> Host | None:
    found = get(tx, host)
    return found if found and found.role is Role.COMPUTE else None


def compute_host_named(tx: Tx, name: str) -> Host | None:
    found = by_name(tx, name)
    return found if found and found.role is Role.COMPUTE else None


def addresses(tx: Tx) -> dict[HostId, str]:
    """Return the addresses on the underlay of all hosts that run guests."""
    return {HostId(row.id): row.address for row in tx.execute(_ADDRESSES)}


def change(tx: Tx, host: HostId, **values: Any) -> None:
    tx.execute(_CHANGE, {"host": host, "updated_at": tx.now, **values})
    if "state" in values:  # with the lease, too: renewals read no host's row
        tx.execute(_RETURNING, {"of": host, "still": values["state"] is not HostState.UP})
    providers.note(tx, host)


def remove(tx: Tx, host: HostId) -> None:
    tx.execute(delete(leases).where(leases.c.host == host))
    power_controllers.remove(tx, host)
    tx.execute(delete(hosts).where(hosts.c.id == host))


def lease(tx: Tx, host: HostId) -> Lease | None:
    row = tx.execute(_LEASE, {"host": host}).first()
    return _lease(row) if row else None


def all_leases(tx: Tx) -> list[Lease]:
    return [_lease(row) for row in tx.execute(_ALL_LEASES)]


def _lease(row: Any) -> Lease:
    values = dict(row._mapping)
    return Lease(**{**values, "guard": GuardClass(values["guard"])})


def begin_lease(tx: Tx, host: HostId, epoch: int, boot: str, ttl: float, margin: float) -> None:
    """Give the host a lease of this epoch; whatever it had before is over. Its guard says its class with renewals."""
    known = lease(tx, host)
    counter = 0
    if known is not None and known.epoch == epoch:
        # Within an epoch the counter never falls: a host that has heard of a higher one proves that commits were lost.
        counter = known.counter
    if known is not None and counter:
        # It was renewed, and holds until then, by the ttl that was acknowledged: who waits for its end waits for that.
        ttl, margin = known.ttl, max(known.margin, margin)
    tx.execute(_END_LEASE, {"host": host})
    values = {"host": host, "epoch": epoch, "counter": counter, "boot": boot, "ttl": ttl, "margin": margin}
    tx.execute(_BEGIN_LEASE, {**values, "guard": GuardClass.NONE})


def renew(
    tx: Tx,
    host: HostId,
    epoch: int,
    boot: str,
    home: str = "",
    guard: GuardClass = GuardClass.NONE,
    witness: str = "",
    margin: float = 0.0,
) -> int | None:
    """Renew the lease if epoch and boot are its own; return the new counter, or None: then it is not renewed.

    `home` is the executor over whose connection the host's agent can be commanded, "" while that is away; `witness`
    the word of the file by which its guard may go; `margin` is the lease's from now on, unless that is longer.
    """
    values = {"of": host, "in_epoch": epoch, "in_boot": boot, "at": home, "of_class": guard, "by_word": witness}
    values["at_least"] = margin
    row = tx.execute(_RENEW, values).first()
    return int(row[0]) if row else None


def seen(tx: Tx, host: HostId) -> None:
    """Note for people that the host was heard."""
    tx.execute(_CHANGE, {"host": host, "last_seen": tx.now})


def condemn(tx: Tx, host: HostId) -> None:
    """Note that the host is to be taken for dead, or switched off for that, without anybody's word."""
    tx.execute(_CHANGE, {"host": host, "condemned_at": tx.now})


def condemned(tx: Tx, since: str, until: str) -> set[HostId]:
    """Return the hosts for which that was decided between these times, whatever has become of them."""
    return {HostId(host) for host in tx.execute(_CONDEMNED, {"since": since, "until": until}).scalars()}


def members(tx: Tx, since: str, until: str) -> int:
    """Count the hosts that are to be heard, nobody being at work there, and those that were condemned then."""
    return int(tx.execute(_MEMBERS, {"since": since, "until": until}).scalar_one())


def prove_dead(tx: Tx, observed: Lease, kind: str, readings: dict[str, str], who: str) -> bool:
    """Declare the host dead, if its lease is still exactly as observed; False if it moved meanwhile.

    Every proof raises the epoch by this compare-and-swap (safety: a renewal between reading and writing wins), also
    where the guard has become weaker than was known.
    While the database is known to have lost commits, nobody is declared dead by it.
    """
    raised = _raise_epoch(tx, observed, witness="", revoked=0)
    if raised is None:
        return False
    note_proof(tx, observed.host, kind, raised, readings, who)
    change(tx, observed.host, state=HostState.DEAD)
    return True


def prove_cut(tx: Tx, observed: Lease, readings: dict[str, str], who: str) -> bool:
    """Let servers whose disks storage cuts off go elsewhere, as `prove_dead`; the host is not dead by this.

    What else runs there may run on: that takes a proof of its own. Nor does it account for a host while the cluster is
    on hold, so it is not written then.
    """
    if cluster.get(tx).hold is not None:
        return False
    raised = _raise_epoch(tx, observed, witness="", revoked=observed.epoch, cut=True)
    if raised is None:
        return False
    note_proof(tx, observed.host, ProofKind.STORAGE_CUT, raised, readings, who)
    return True


def revoke(tx: Tx, observed: Lease) -> bool:
    """End the lease, if it is still exactly as observed; False if it moved meanwhile. It proves nothing by itself.

    For a host whose guard may go by the witness: nobody renews it any more, and the witness is to show that before the
    end of the lease is the end of the guests.
    """
    return _raise_epoch(tx, observed, witness=observed.witness, revoked=observed.epoch) is not None


def _raise_epoch(tx: Tx, observed: Lease, *, witness: str, revoked: int, cut: bool = False) -> int | None:
    standing = cluster.get(tx)
    if standing.hold is not None and not standing.restoring:
        return None
    raised = tx.execute(
        update(leases)
        .where(
            leases.c.host == observed.host,
            leases.c.epoch == observed.epoch,
            leases.c.counter == observed.counter,
            leases.c.guard == observed.guard,
            leases.c.witness == observed.witness,
            leases.c.ttl == observed.ttl,
            leases.c.margin == observed.margin,
            leases.c.revoked == observed.revoked,
        )
        .values(epoch=leases.c.epoch + 1, counter=0, witness=witness, revoked=revoked, cut=cut)
        .returning(leases.c.epoch)
    ).first()
    return int(raised[0]) if raised else None


def forget_guards(tx: Tx) -> None:
    """Believe in no guard until it says anew of which class it is: a database that has lost commits may not know.

    Nor in what was cut off: the host may have come back in what was lost.
    """
    tx.execute(update(leases).values(guard=GuardClass.NONE))
    tx.execute(update(leases).where(leases.c.cut).values(cut=False, revoked=0))


def proof(tx: Tx, host: HostId) -> Proof | None:
    """Return the proof by which the host is dead now: not withdrawn, and nothing was granted to the host since."""
    row = tx.execute(_PROOF, {"host": host}).first()
    return Proof(**row._mapping) if row else None


def is_cut_off(tx: Tx, host: HostId) -> bool:
    """Say whether storage cuts off volumes from the host, which is not proven dead (`prove_cut`)."""
    known = lease(tx, host)
    return known is not None and known.cut


def cut_proof(tx: Tx, host: HostId) -> Proof | None:
    """Return the proof by which servers whose disks storage cuts off may leave the host, which is not proven dead."""
    row = tx.execute(_CUT_PROOF, {"host": host}).first()
    return Proof(**row._mapping) if row else None


def proof_of_some(tx: Tx, host: HostId) -> Proof | None:
    """Return the proof by which servers may leave the host, be it all of them or some."""
    return proof(tx, host) or cut_proof(tx, host)


def proof_numbered(tx: Tx, number: int) -> Proof | None:
    """Return the proof of this number, whatever it is worth now."""
    row = tx.execute(_PROOF_NUMBERED, {"number": number}).first()
    return Proof(**row._mapping) if row else None


def note_proof(tx: Tx, host: HostId, kind: str, epoch: int, readings: dict[str, str], who: str) -> None:
    """Keep a proof with all it rests on. It counts only while the host is dead by it (`proof`)."""
    values = {"host": host, "kind": kind, "epoch": epoch, "readings": readings, "who": who, "created_at": tx.now}
    tx.execute(insert(proofs).values(**values))


def withdraw(tx: Tx, proof: int, why: str) -> None:
    """Take a proof back: something was seen that cannot be, had it been true."""
    tx.execute(update(proofs).where(proofs.c.id == proof).values(withdrawn=why))


def proofs_of(tx: Tx, host: HostId | None = None, limit: int = 100) -> list[Proof]:
    """List proofs ever written, of one host or of all, the newest first."""
    query = select(proofs).order_by(proofs.c.id.desc()).limit(limit)
    rows = tx.execute(query if host is None else query.where(proofs.c.host == host))
    return [Proof(**row._mapping) for row in rows]


def add_join_token(tx: Tx, sha256: str, expires_at: str) -> None:
    tx.execute(insert(join_tokens).values(sha256=sha256, expires_at=expires_at, created_at=tx.now))


def use_join_token(tx: Tx, sha256: str, name: str) -> bool:
    """Spend the token for the host of this name; False when it is unknown, expired or spent by another."""
    row = tx.execute(select(join_tokens).where(join_tokens.c.sha256 == sha256)).first()
    if row is None or row.expires_at < tx.now or row.used_by not in (None, name):
        return False
    tx.execute(update(join_tokens).where(join_tokens.c.sha256 == sha256).values(used_by=name))
    return True
