"""Who holds how much of which provider: consumers, and their allocations."""

import msgspec
from sqlalchemy import Column, Index, String, Table, and_, bindparam, delete, func, insert, select, update

from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata

allocations = Table(
    "allocations",
    metadata,
    Column("consumer", String(36), primary_key=True),
    Column("provider", String(36), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("amount", Number, nullable=False),
    Index("allocations_of_provider", "provider", "consumer"),  # both, so that counting holders reads no row
)

consumers = Table(
    "consumers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project", String(255), nullable=False, index=True),
    Column("user", String(255), nullable=False),
    Column("generation", Number, nullable=False),
    Column("type", String(255)),  # INSTANCE, MIGRATION, ...; null where nobody said
    Column("created_at", Stamp, nullable=False),
)

# Made once: making a statement costs five times as much as running it.
_IN_ORDER = (allocations.c.consumer, allocations.c.provider, allocations.c.resource_class)
HELD = select(allocations).where(allocations.c.consumer == bindparam("server")).order_by(*_IN_ORDER)
_HELD_OF = select(allocations).where(allocations.c.provider == bindparam("provider")).order_by(*_IN_ORDER)
_ALLOCATE = insert(allocations)
_AGAIN = update(consumers).where(consumers.c.id == bindparam("server")).values(generation=consumers.c.generation + 1)
_FIRST = insert(consumers)
_FORGET = delete(consumers).where(consumers.c.id == bindparam("server"))
_CONSUMER = select(
    consumers.c.id, consumers.c.project, consumers.c.user, consumers.c.generation, consumers.c.type
).where(consumers.c.id == bindparam("server"))


class Allocation(msgspec.Struct, frozen=True):
    """What a consumer holds of one resource class of one provider."""

    consumer: ServerId
    provider: HostId
    resource_class: str
    amount: int


class Consumer(msgspec.Struct, frozen=True):
    """Who holds allocations: a server, or whatever operators name."""

    id: ServerId
    project: ProjectId
    user: UserId
    generation: int
    type: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """How much consumers of one type hold of one resource class."""

    type: str | None
    resource_class: str
    amount: int


def held(tx: Tx, server: ServerId) -> list[Allocation]:
    """List what the server holds, of all hosts."""
    return [Allocation(**row._mapping) for row in tx.execute(HELD, {"server": server})]


def held_of(tx: Tx, host: HostId) -> list[Allocation]:
    """List what is held of the host."""
    return [Allocation(**row._mapping) for row in tx.execute(_HELD_OF, {"provider": host})]


def consumer(tx: Tx, server: ServerId) -> Consumer | None:
    row = tx.execute(_CONSUMER, {"server": server}).first()
    return Consumer(*row) if row else None


def consumers_of(tx: Tx, provider: HostId) -> dict[ServerId, Consumer]:
    """Return who holds something of the provider."""
    query = (
        select(consumers.c.id, consumers.c.project, consumers.c.user, consumers.c.generation, consumers.c.type)
        .join(allocations, allocations.c.consumer == consumers.c.id)
        .where(allocations.c.provider == provider)
        .distinct()
    )
    return {row.id: Consumer(*row) for row in tx.execute(query)}


def usages(tx: Tx, project: str, user: str | None = None) -> tuple[list[Usage], dict[str | None, int]]:
    """Return what a project's consumers (one user's only) hold, and how many there are, both by type."""
    mine = consumers.c.project == project
    if user is not None:
        mine = and_(mine, consumers.c.user == user)
    held = (
        select(consumers.c.type, allocations.c.resource_class, func.sum(allocations.c.amount))
        .join(consumers, consumers.c.id == allocations.c.consumer)
        .where(mine)
        .group_by(consumers.c.type, allocations.c.resource_class)
    )
    counts = select(consumers.c.type, func.count()).where(mine).group_by(consumers.c.type)
    return [Usage(*row) for row in tx.execute(held)], {row[0]: row[1] for row in tx.execute(counts)}


def note(tx: Tx, consumer: ServerId, provider: str, resource_class: str, amount: int) -> None:
    values = {"consumer": consumer, "provider": provider, "resource_class": resource_class, "amount": amount}
    tx.execute(_ALLOCATE, values)


def begin(tx: Tx, consumer: ServerId, project: ProjectId, user: UserId, kind: str | None) -> None:
    values = {"id": consumer, "project": project, "user": user, "generation": 1, "type": kind, "created_at": tx.now}
    tx.execute(_FIRST, values)


def raise_generation(tx: Tx, consumer: ServerId) -> bool:
    """Raise the generation of a consumer, if it is one."""
    return tx.execute(_AGAIN, {"server": consumer}).rowcount == 1


def forget(tx: Tx, consumer: ServerId) -> None:
    """Have it be a consumer no more."""
    tx.execute(_FORGET, {"server": consumer})


def changed(tx: Tx, consumer: ServerId) -> None:
    """Raise the generation of a consumer that still holds something; who holds nothing is none."""
    still = tx.execute(HELD, {"server": consumer}).first() is not None
    tx.execute(_AGAIN if still else _FORGET, {"server": consumer})
