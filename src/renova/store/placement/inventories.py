"""What providers have of each resource class, and how much of it is used: always the sum of the allocations."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Column, Float, String, Table, and_, bindparam, delete, func, insert, select

from renova.model.errors import Conflict, Invalid
from renova.model.ids import HostId
from renova.model.provider import MOST
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement.allocations import allocations, held_of
from renova.store.schema import Number, metadata

inventories = Table(
    "inventories",
    metadata,
    Column("provider", String(36), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("total", Number, nullable=False),
    Column("reserved", Number, nullable=False),
    Column("allocation_ratio", Float, nullable=False),
    Column("used", Number, nullable=False, default=0),  # always the sum of the allocations
    Column("min_unit", Number, nullable=False, default=1),
    Column("max_unit", Number, nullable=False, default=MOST),
    Column("step_size", Number, nullable=False, default=1),
)

# Made once: making a statement costs five times as much as running it.
_INVENTORY = select(inventories).order_by(inventories.c.provider, inventories.c.resource_class)
_INVENTORY_OF = _INVENTORY.where(inventories.c.provider == bindparam("host"))
_WITHDRAW = delete(inventories).where(inventories.c.provider == bindparam("host"))
_OFFER = insert(inventories)


class Inventory(msgspec.Struct, frozen=True):
    """What a provider has of one resource class."""

    provider: HostId
    resource_class: str
    total: int
    reserved: int
    allocation_ratio: float
    used: int = 0
    min_unit: int = 1
    max_unit: int = MOST
    step_size: int = 1

    @property
    def capacity(self) -> float:
        return (self.total - self.reserved) * self.allocation_ratio


class InventoryInUse(Conflict):
    """What is to go is held by somebody."""


def inventory(tx: Tx, host: HostId | None = None) -> list[Inventory]:
    rows = tx.execute(_INVENTORY) if host is None else tx.execute(_INVENTORY_OF, {"host": host})
    return [Inventory(**row._mapping) for row in rows]


def class_in_use(tx: Tx, resource_class: str) -> bool:
    query = select(func.count()).where(inventories.c.resource_class == resource_class)
    return bool(tx.execute(query).scalar())


def set_inventories(tx: Tx, provider: HostId, offered: Sequence[Inventory], generation: int | None = None) -> None:
    """Have the provider offer exactly this, if it is of this generation still.

    `Stale` when it is not, `InventoryInUse` when somebody holds what is no longer offered.
    """
    providers.expect(tx, provider, generation)
    classes = {item.resource_class for item in offered}
    if unknown := sorted(classes.difference(providers.known_classes(tx))):
        raise Invalid(f"Unknown resource class in inventory for resource provider {provider}: {', '.join(unknown)}.")
    if lost := sorted({each.resource_class for each in held_of(tx, provider)} - classes):
        # Nova reads this sentence.
        raise InventoryInUse(f"Inventory for '{', '.join(lost)}' on resource provider '{provider}' in use.")
    offer(tx, provider, offered)


def offer(tx: Tx, provider: HostId, offered: Sequence[Inventory]) -> None:
    """Have the provider offer exactly this; what is in use stays in use."""
    tx.execute(_WITHDRAW, {"host": provider})
    used: dict[str, int] = {}
    for allocation in held_of(tx, provider):  # counted anew: also what is held of a class that was not offered
        used[allocation.resource_class] = used.get(allocation.resource_class, 0) + allocation.amount
    for item in offered:
        values = msgspec.structs.asdict(item) | {"provider": provider, "used": used.get(item.resource_class, 0)}
        tx.execute(_OFFER, values)
    providers.touch(tx, provider)


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
