"""Migrations: servers that change hosts. Their status moves by compare-and-swap only."""

from collections.abc import Sequence
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
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
)

ACTIVE = ("accepted", "pre-migrating")

# Made once: making a statement costs five times as much as running it.
_ADD = insert(migrations).returning(migrations.c.id)
_MOVE = update(migrations).where(
    migrations.c.id == bindparam("wanted"), migrations.c.status.in_(bindparam("expected", expanding=True))
)
_ACTIVE = select(migrations).where(migrations.c.server == bindparam("server"), migrations.c.status.in_(ACTIVE))
_UNFINISHED = (
    select(migrations.c.id)
    .where(migrations.c.source == bindparam("source"), migrations.c.status == "done")
    .order_by(migrations.c.id)
)


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
    created_at: str
    updated_at: str | None


def add(tx: Tx, **values: Any) -> int:
    return int(tx.execute(_ADD, {"created_at": tx.now, **values}).scalar_one())


def get(tx: Tx, migration: int) -> Migration | None:
    row = tx.execute(select(migrations).where(migrations.c.id == migration)).first()
    return Migration(**row._mapping) if row else None


def move(tx: Tx, migration: int, expected: Sequence[str], status: str, **values: Any) -> bool:
    """Give the migration a new status if it has one of those expected."""
    which = {"wanted": migration, "expected": expected}
    return tx.execute(_MOVE, {**which, "status": status, "updated_at": tx.now, **values}).rowcount == 1


def active(tx: Tx, server: ServerId) -> Migration | None:
    """Return the server's evacuation that is under way, if any."""
    row = tx.execute(_ACTIVE, {"server": server}).first()
    return Migration(**row._mapping) if row else None


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
    return [Migration(**row._mapping) for row in tx.execute(query.limit(limit) if limit is not None else query)]
