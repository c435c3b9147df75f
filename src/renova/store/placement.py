"""Placement: what hosts have to give, and who holds how much of it (spec: scheduling, section 7).

A host is one resource provider with the host's id. A claim is one statement per resource class that adds to `used`
only where it fits, so two claims can never both take the last place.
"""

import msgspec
from sqlalchemy import Column, Float, Integer, String, Table, and_, bindparam, delete, func, insert, select, update

from renova.model.errors import Conflict
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.schema import Stamp, metadata

providers = Table(
    "providers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("generation", Integer, nullable=False, default=0),
)

inventories = Table(
    "inventories",
    metadata,
    Column("provider", String(36), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("total", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("allocation_ratio", Float, nullable=False),
    Column("used", Integer, nullable=False, default=0),  # always the sum of the allocations below
)

allocations = Table(
    "allocations",
    metadata,
    Column("consumer", String(36), primary_key=True),
    Column("provider", String(36), primary_key=True, index=True),
    Column("resource_class", String(255), primary_key=True),
    Column("amount", Integer, nullable=False),
)

consumers = Table(
    "consumers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project", String(36), nullable=False),
    Column("user", String(36), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", Stamp, nullable=False),
)


# Made once: making a statement costs five times as much as running it.
_TAKE = (
    update(inventories)
    .where(
        inventories.c.provider == bindparam("host"),
        inventories.c.resource_class == bindparam("of"),
        inventories.c.used + bindparam("amount")
        <= (inventories.c.total - inventories.c.reserved) * inventories.c.allocation_ratio,
        bindparam("amount") <= inventories.c.total,
    )
    .values(used=inventories.c.used + bindparam("amount"))
)
_GIVE_BACK = (
    update(inventories)
    .where(inventories.c.provider == bindparam("host"), inventories.c.resource_class == bindparam("of"))
    .values(used=inventories.c.used - bindparam("amount"))
)
_ALLOCATE = insert(allocations)
_HELD = select(allocations).where(allocations.c.consumer == bindparam("server"))
_HELD_OF = _HELD.where(allocations.c.provider == bindparam("host"))
_DROP = delete(allocations).where(allocations.c.consumer == bindparam("server"))
_DROP_OF = _DROP.where(allocations.c.provider == bindparam("host"))
_AGAIN = update(consumers).where(consumers.c.id == bindparam("server")).values(generation=consumers.c.generation + 1)
_FIRST = insert(consumers)
_FORGET = delete(consumers).where(consumers.c.id == bindparam("server"))
_TOUCH = update(providers).where(providers.c.id == bindparam("host")).values(generation=providers.c.generation + 1)


class Inventory(msgspec.Struct, frozen=True):
    """What a provider has of one resource class."""

    provider: HostId
    resource_class: str
    total: int
    reserved: int
    allocation_ratio: float
    used: int = 0

    @property
    def capacity(self) -> float:
        return (self.total - self.reserved) * self.allocation_ratio


class Allocation(msgspec.Struct, frozen=True):
    """What a consumer holds of one resource class of one provider."""

    consumer: ServerId
    provider: HostId
    resource_class: str
    amount: int


class Provider(msgspec.Struct, frozen=True):
    """A resource provider: a host."""

    id: HostId
    name: str
    generation: int


class Consumer(msgspec.Struct, frozen=True):
    """Who holds allocations: a server."""

    id: ServerId
    project: ProjectId
    user: UserId
    generation: int


def provide(tx: Tx, host: HostId, name: str, offered: list[Inventory]) -> None:
    """Have the provider offer exactly this; what is in use stays in use, even where less is offered now."""
    if tx.execute(select(providers.c.id).where(providers.c.id == host)).first() is None:
        tx.execute(insert(providers).values(id=host, name=name, generation=0))
    known = {item.resource_class: item for item in inventory(tx, host)}
    same = all(
        (have := known.get(item.resource_class)) is not None
        and (have.total, have.reserved, have.allocation_ratio) == (item.total, item.reserved, item.allocation_ratio)
        for item in offered
    )
    if same and len(known) == len(offered):
        return
    tx.execute(delete(inventories).where(inventories.c.provider == host))
    used: dict[str, int] = {}
    for allocation in held_of(tx, host):  # counted anew: also what is held of a class that was not offered for a while
        used[allocation.resource_class] = used.get(allocation.resource_class, 0) + allocation.amount
    for item in offered:
        tx.execute(
            insert(inventories).values(
                provider=host,
                resource_class=item.resource_class,
                total=item.total,
                reserved=item.reserved,
                allocation_ratio=item.allocation_ratio,
                used=used.get(item.resource_class, 0),
            )
        )
    _touch(tx, host)


def withdraw(tx: Tx, host: HostId) -> None:
    """Remove the provider with its inventory and whatever is still allocated from it."""
    tx.execute(delete(allocations).where(allocations.c.provider == host))
    tx.execute(delete(inventories).where(inventories.c.provider == host))
    tx.execute(delete(providers).where(providers.c.id == host))


def claim(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId, amounts: dict[str, int]) -> None:
    """Have the server hold these amounts of the host, beside what it holds of others. `Conflict` when they do not fit.

    What it held of this host before is replaced, so a claim may be repeated.
    """
    release(tx, server, host)
    for resource_class, amount in amounts.items():
        if tx.execute(_TAKE, {"host": host, "of": resource_class, "amount": amount}).rowcount != 1:
            raise Conflict(f"the host has no room for {amount} {resource_class}")
        tx.execute(
            _ALLOCATE, {"consumer": server, "provider": host, "resource_class": resource_class, "amount": amount}
        )
    if tx.execute(_AGAIN, {"server": server}).rowcount == 0:
        values = {"id": server, "project": project, "user": user, "generation": 1, "created_at": tx.now}
        tx.execute(_FIRST, values)
    _touch(tx, host)


def release(tx: Tx, server: ServerId, host: HostId | None = None) -> None:
    """Have the server hold nothing of the host (None: of any host). May be repeated."""
    which = {"server": server} if host is None else {"server": server, "host": host}
    held = tx.execute(_HELD if host is None else _HELD_OF, which).all()
    if not held:
        return
    for row in held:
        tx.execute(_GIVE_BACK, {"host": row.provider, "of": row.resource_class, "amount": row.amount})
    tx.execute(_DROP if host is None else _DROP_OF, which)
    for provider in {row.provider for row in held}:
        _touch(tx, provider)
    if tx.execute(_HELD, {"server": server}).first() is None:
        tx.execute(_FORGET, {"server": server})


def _touch(tx: Tx, host: HostId) -> None:
    tx.execute(_TOUCH, {"host": host})


def inventory(tx: Tx, host: HostId | None = None) -> list[Inventory]:
    query = select(inventories).order_by(inventories.c.provider, inventories.c.resource_class)
    rows = tx.execute(query if host is None else query.where(inventories.c.provider == host))
    return [Inventory(**row._mapping) for row in rows]


def held(tx: Tx, server: ServerId) -> list[Allocation]:
    """List what the server holds, of all hosts."""
    return [Allocation(**row._mapping) for row in tx.execute(_HELD, {"server": server})]


def held_of(tx: Tx, host: HostId) -> list[Allocation]:
    """List what is held of the host."""
    return [Allocation(**row._mapping) for row in tx.execute(select(allocations).where(allocations.c.provider == host))]


def all_providers(tx: Tx) -> list[Provider]:
    return [Provider(**row._mapping) for row in tx.execute(select(providers).order_by(providers.c.name))]


def consumer(tx: Tx, server: ServerId) -> Consumer | None:
    row = tx.execute(
        select(consumers.c.id, consumers.c.project, consumers.c.user, consumers.c.generation).where(
            consumers.c.id == server
        )
    ).first()
    return Consumer(**row._mapping) if row else None


def miscounted(tx: Tx) -> list[tuple[HostId, str, int, int]]:
    """List (provider, class, used, sum of allocations) where the two differ: always empty, or a bug."""
    total = func.coalesce(func.sum(allocations.c.amount), 0)
    rows = tx.execute(
        select(inventories.c.provider, inventories.c.resource_class, inventories.c.used, total)
        .select_from(
            inventories.outerjoin(
                allocations,
                and_(
                    allocations.c.provider == inventories.c.provider,
                    allocations.c.resource_class == inventories.c.resource_class,
                ),
            )
        )
        .group_by(inventories.c.provider, inventories.c.resource_class, inventories.c.used)
        .having(inventories.c.used != total)
    )
    return [(HostId(row[0]), row[1], row[2], row[3]) for row in rows]
