"""Recoveries of servers whose hosts died: one for each server and proof of such a death, from its plan to its end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from renova.model.ids import HostId, ServerId
from renova.model.recovery import AGAIN, OPEN, Recovery, RecoveryState
from renova.store.database import Tx
from renova.store.residents import ON_HOSTS
from renova.store.rights import rights
from renova.store.schema import Document, Number, Stamp, metadata, only_where
from renova.store.servers import servers

recoveries = Table(
    "recoveries",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("server", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("host", String(36), nullable=False, index=True),
    Column("host_name", String(255), nullable=False),
    Column("proof", Number, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("place", Number, nullable=False),
    Column("priority", Number, nullable=False),
    Column("after", Document(tuple[ServerId, ...]), nullable=False),
    Column("target", String(255)),
    Column("reached", String(255)),
    Column("disks", String(8)),
    Column("attempts", Number, nullable=False),
    Column("migration", Number),
    Column("detect_s", Float),
    Column("prove_s", Float),
    Column("proven_at", Stamp, nullable=False),
    Column("planned_at", Stamp, nullable=False),
    Column("begun_at", Stamp),
    Column("ended_at", Stamp),
    Column("again_at", Stamp),
    Column("predicted_begun_s", Float),
    Column("predicted_up_s", Float),
    UniqueConstraint("server", "proof", name="one_recovery_a_proof"),
    Index("recoveries_unsettled", "place", **only_where(text("state in ('waiting', 'moving', 'failed', 'left')"))),
)

# States are written out: SQLite plans a statement anew for each value that says whether a partial index may serve.
_UNSETTLED = (
    select(recoveries)
    .where(text("state in ('waiting', 'moving', 'failed', 'left')"))
    .order_by(recoveries.c.place, recoveries.c.id)
)
_COUNTS = select(recoveries.c.state, func.count().label("number")).group_by(recoveries.c.state)
_ADD = insert(recoveries)
_CHANGE = update(recoveries).where(recoveries.c.id == bindparam("recovery"))
_MOVE = _CHANGE.where(recoveries.c.state == bindparam("expected"))
_GET = select(recoveries).where(recoveries.c.id == bindparam("recovery"))
_UNPLANNED = (
    select(servers.c.id)
    .select_from(servers.outerjoin(rights, rights.c.server == servers.c.id))
    .where(servers.c.id.in_(ON_HOSTS), servers.c.deleted.is_(False))
    .where(
        ~exists().where(
            recoveries.c.server == servers.c.id,
            recoveries.c.proof.in_(bindparam("proofs", expanding=True)),
            or_(recoveries.c.host == servers.c.host, recoveries.c.host == rights.c.host),
        )
    )
)
_OF_PROOFS = select(recoveries).where(recoveries.c.proof.in_(bindparam("proofs", expanding=True)))

assert {*OPEN, *AGAIN} == {"waiting", "moving", "failed", "left"}, "as the statements say"


def _recovery(row: Any) -> Recovery:
    values = dict(row._mapping)
    values["state"] = RecoveryState(values["state"])
    return Recovery(**values)


def add(tx: Tx, **values: Any) -> None:
    """Add a recovery; `values` are the fields of `Recovery` but its id."""
    tx.execute(_ADD, values)


def change(tx: Tx, recovery: int, **values: Any) -> None:
    tx.execute(_CHANGE, {"recovery": recovery, **values})


def move(tx: Tx, known: Recovery, state: RecoveryState, **values: Any) -> bool:
    """Have the recovery in another state, if it is in the one that it is known to be in."""
    which = {"recovery": known.id, "expected": known.state}
    return tx.execute(_MOVE, {**which, "state": state, **values}).rowcount == 1


def look_again(tx: Tx, proof: int) -> None:
    """Have those that failed, and rest on this proof, be planned for again at once: there is more room now."""
    failed = update(recoveries).where(recoveries.c.proof == proof, recoveries.c.state == RecoveryState.FAILED)
    tx.execute(failed.values(again_at=tx.now))


def get(tx: Tx, recovery: int) -> Recovery | None:
    row = tx.execute(_GET, {"recovery": recovery}).first()
    return _recovery(row) if row else None


def unsettled(tx: Tx) -> list[Recovery]:
    """List those that are not at their end, in the order of their plan."""
    return [_recovery(row) for row in tx.execute(_UNSETTLED)]


def unplanned(tx: Tx, hosts: Sequence[HostId], proofs: Sequence[int]) -> frozenset[ServerId]:
    """Return the servers of these hosts that have no recovery which rests on one of these proofs."""
    return frozenset(tx.execute(_UNPLANNED, {"ids": list(hosts), "proofs": list(proofs)}).scalars())


def of_proofs(tx: Tx, proofs: Sequence[int]) -> list[Recovery]:
    """List all that rest on these proofs."""
    return [_recovery(row) for row in tx.execute(_OF_PROOFS, {"proofs": list(proofs)})]


def counts(tx: Tx) -> dict[RecoveryState, int]:
    """Count recoveries by their state."""
    return {RecoveryState(row.state): int(row.number) for row in tx.execute(_COUNTS)}


def find(
    tx: Tx,
    *,
    states: Sequence[RecoveryState] = (),
    server: ServerId | None = None,
    name: str | None = None,
    host: HostId | None = None,
    limit: int = 1000,
) -> list[Recovery]:
    """List recoveries, the newest first."""
    where: list[ColumnElement[bool]] = []
    if states:
        where.append(recoveries.c.state.in_(states))
    if server is not None:
        where.append(recoveries.c.server == server)
    if name is not None:
        where.append(recoveries.c.name == name)
    if host is not None:
        where.append(recoveries.c.host == host)
    query = select(recoveries).where(*where).order_by(recoveries.c.id.desc()).limit(limit)
    return [_recovery(row) for row in tx.execute(query)]
