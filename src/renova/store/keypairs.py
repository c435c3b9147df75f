"""Users' public keys."""

import msgspec
from sqlalchemy import Column, String, Table, Text, UniqueConstraint, delete, func, insert, select

from renova.model.errors import Conflict
from renova.model.ids import UserId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

keypairs = Table(
    "keypairs",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("user", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("type", String(8), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(255), nullable=False),
    Column("created_at", Stamp, nullable=False),
    UniqueConstraint("user", "name"),
)


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair of a user; only its public half is kept."""

    serial: int = 0
    user: UserId
    name: str
    type: str  # "ssh" or "x509"
    public_key: str
    fingerprint: str
    created_at: str = ""


def add(tx: Tx, key: StoredKey) -> None:
    """Add the key; `Conflict` when the user has one of this name."""
    if get(tx, key.user, key.name):
        raise Conflict(f"Key pair '{key.name}' already exists.")
    tx.execute(
        insert(keypairs).values(
            user=key.user,
            name=key.name,
            type=key.type,
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            created_at=tx.now,
        )
    )


def get(tx: Tx, user: UserId, name: str) -> StoredKey | None:
    row = tx.execute(select(keypairs).where(keypairs.c.user == user, keypairs.c.name == name)).first()
    return StoredKey(**row._mapping) if row else None


def of_user(tx: Tx, user: UserId, after: str | None, limit: int | None) -> list[StoredKey]:
    """List the user's keys by name, from the one after the name given."""
    query = select(keypairs).where(keypairs.c.user == user).order_by(keypairs.c.name).limit(limit)
    if after is not None:
        query = query.where(keypairs.c.name > after)
    return [StoredKey(**row._mapping) for row in tx.execute(query)]


def count(tx: Tx, user: UserId) -> int:
    return int(tx.execute(select(func.count()).select_from(keypairs).where(keypairs.c.user == user)).scalar() or 0)


def remove(tx: Tx, user: UserId, name: str) -> bool:
    """Remove the key; servers keep it as it was. False when there is none."""
    return tx.execute(delete(keypairs).where(keypairs.c.user == user, keypairs.c.name == name)).rowcount == 1
