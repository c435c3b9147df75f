"""Migrations: servers that change hosts. Their status moves by compare-and-swap only."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, String, Table, bindparam, insert, select, update

from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

migrations = Table(
    "migrations",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("server", String(36), nullable=False, index=True),
    Column("type", String(32), nullable=False),
    Column("status", String(32), nullable=False),
    Column("source", String(36), nullable=False, index=True),
    Column("source_name", String(255), nullable=False),
    Column("destination", String(36)),
    Column("destination_name", String(255)),
    Column("destination_address", String(64)),
    Column("user", String(36), nullable=False),
    Column("project", String(36), nullable=False),
    Column("proof", Number),  # by which the source was known to be dead
    Column("wish", String(16)),  # what somebody wants of one that goes on
    Column("memory_total", Number),  # bytes, of a guest that leaves with its memory
    Column("memory_processed", Number),
    Column("memory_remaining", Number),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
)

# Nova's words; not all kinds have all.
ACTIVE = ("accepted", "queued", "preparing", "running", "pre-migrating", "migrating", "post-migrating")
FAILED = ("failed", "error", "cancelled")

LIVE = "live-migration"  # the type of one in which the guest goes on with its memory

# Made once: making a statement costs five times as much as running it.
_ADD = insert(migrations).returning(migrations.c.id)
_MOVE = update(migrations).where(
    migrations.c.id == bindparam("wanted"), migrations.c.status.in_(bindparam("expected", expanding=True))
)
_ACTIVE = select(migrations).where(migrations.c.server == bindparam("server"), migrations.c.status.in_(ACTIVE))
_FROM_SINCE = (
    select(migrations)
    .where(migrations.c.source == bindparam("source"), migrations.c.created_at >= bindparam("since"))
    .order_by(migrations.c.id)
)
_UNFINISHED = (
    select(migrations.c.id)
    .where(migrations.c.source == bindparam("source"), migrations.c.status == "done")
    .order_by(migrations.c.id)
)


class Wish(StrEnum):
    """What somebody wants of a migration that goes on."""

    COMPLETE = "complete"  # the guest stands still, so that the rest of its memory is copied at last
    ABORT = "abort"


class Migration(msgspec.Struct, frozen=True):
    """A server's way from one host to another."""

    id: int
    uuid: str
    server: ServerId
    type: str
    status: str
    source: HostId
    source_name: str
    destination: HostId | None
    destination_name: str | None
    destination_address: str | None
    user: UserId
    project: ProjectId
    proof: int | None
    wish: Wish | None
    memory_total: int | None
    memory_processed: int | None
    memory_remaining: int | None
    created_at: str
    updated_at: str | None


def _migration(row: Any) -> Migration:
    return Migration(**{**row._mapping, "wish": Wish(row.wish) if row.wish else None})


def add(tx: Tx, **values: Any) -> int:
    return int(tx.execute(_ADD, {"created_at": tx.now, **values}).scalar_one())


def get(tx: Tx, migration: int) -> Migration | None:
    row = tx.execute(select(migrations).where(migrations.c.id == migration)).first()
    return _migration(row) if row else None


def move(tx: Tx, migration: int, expected: Sequence[str], status: str, **values: Any) -> bool:
    """Give the migration a new status if it has one of those expected."""
    which = {"wanted": migration, "expected": expected}
    return tx.execute(_MOVE, {**which, "status": status, "updated_at": tx.now, **values}).rowcount == 1


def active(tx: Tx, server: ServerId) -> Migration | None:
    """Return the server's migration that is under way, of any type."""
    row = tx.execute(_ACTIVE, {"server": server}).first()
    return _migration(row) if row else None


def arrives(tx: Tx, server: ServerId, host: HostId) -> bool:
    """Say whether the server's guest is on its way to this host with its memory."""
    migration = active(tx, server)
    return migration is not None and migration.type == LIVE and migration.destination == host


def wish(tx: Tx, migration: int, wanted: Wish, expected: Sequence[str]) -> bool:
    """Note what is wanted of a migration that has one of the statuses expected; False if it has another."""
    which = {"wanted": migration, "expected": expected}
    return tx.execute(_MOVE, {**which, "wish": wanted}).rowcount == 1


def of_proof(tx: Tx, proof: int) -> list[Migration]:
    """List the evacuations from a host that was known to be dead by this proof, the newest first."""
    return find(tx, [migrations.c.proof == proof])


def from_since(tx: Tx, source: HostId, since: str) -> list[Migration]:
    """List the moves from this host that began since then, evacuations among them; the oldest first."""
    return [_migration(row) for row in tx.execute(_FROM_SINCE, {"source": source, "since": since})]


def unfinished_from(tx: Tx, source: HostId) -> int:
    """Count evacuations whose servers live elsewhere, but which the source has not cleaned up."""
    return len(tx.execute(_UNFINISHED, {"source": source}).all())


def given_up(tx: Tx, source: HostId) -> None:
    """Complete what this source has left to clean up: it is removed from the cloud."""
    for migration in tx.execute(_UNFINISHED, {"source": source}).scalars():
        move(tx, migration, ("done",), "completed")


def find(tx: Tx, where: Sequence[ColumnElement[bool]] = (), limit: int | None = None) -> list[Migration]:
    """List migrations, the newest first."""
    query = select(migrations).where(*where).order_by(migrations.c.created_at.desc(), migrations.c.id.desc())
    return [_migration(row) for row in tx.execute(query.limit(limit) if limit is not None else query)]
