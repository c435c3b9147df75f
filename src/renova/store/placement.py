"""Placement: what providers have to give, and who holds how much of it (spec: scheduling, section 7).

A host is one resource provider with the host's id; operators may add others (`store.providers`). A claim is one
statement per resource class that adds to `used` only where it fits, so two claims can never both take the last place.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import (
    Column,
    Float,
    Index,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from renova.model.errors import Conflict, Invalid
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.model.provider import MOST
from renova.store import providers as provider_rows
from renova.store.database import Tx
from renova.store.providers import CUSTOM, Provider, ProviderInUse, Stale, touch
from renova.store.schema import Number, Stamp, metadata

inventories = Table(
    "inventories",
    metadata,
    Column("provider", String(36), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("total", Number, nullable=False),
    Column("reserved", Number, nullable=False),
    Column("allocation_ratio", Float, nullable=False),
    Column("used", Number, nullable=False, default=0),  # always the sum of the allocations below
    Column("min_unit", Number, nullable=False, default=1),
    Column("max_unit", Number, nullable=False, default=MOST),
    Column("step_size", Number, nullable=False, default=1),
)

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

SERVER = "INSTANCE"  # the type of a consumer that is a server, as Nova says it

# Made once: making a statement costs five times as much as running it.
_TAKE = (
    update(inventories)
    .where(
        inventories.c.provider == bindparam("host"),
        inventories.c.resource_class == bindparam("of"),
        inventories.c.used + bindparam("amount")
        <= (inventories.c.total - inventories.c.reserved) * inventories.c.allocation_ratio,
        bindparam("amount") >= inventories.c.min_unit,
        bindparam("amount") <= inventories.c.max_unit,
        bindparam("amount", type_=Number) % inventories.c.step_size == 0,
    )
    .values(used=inventories.c.used + bindparam("amount"))
)
_INVENTORY = select(inventories).order_by(inventories.c.provider, inventories.c.resource_class)
_INVENTORY_OF = _INVENTORY.where(inventories.c.provider == bindparam("host"))
_WITHDRAW = delete(inventories).where(inventories.c.provider == bindparam("host"))
_OFFER = insert(inventories)
_COUNTED = update(inventories).where(
    inventories.c.provider == bindparam("host"), inventories.c.resource_class == bindparam("of")
)
_OVERDRAW = _COUNTED.values(used=inventories.c.used + bindparam("amount"))
_GIVE_BACK = _COUNTED.values(used=inventories.c.used - bindparam("amount"))
_ALLOCATE = insert(allocations)
_IN_ORDER = (allocations.c.consumer, allocations.c.provider, allocations.c.resource_class)
_HELD = select(allocations).where(allocations.c.consumer == bindparam("server")).order_by(*_IN_ORDER)
_HELD_OF = _HELD.where(allocations.c.provider == bindparam("host"))
_DROP = delete(allocations).where(allocations.c.consumer == bindparam("server"))
_DROP_OF = _DROP.where(allocations.c.provider == bindparam("host"))
_AGAIN = update(consumers).where(consumers.c.id == bindparam("server")).values(generation=consumers.c.generation + 1)
_FIRST = insert(consumers)
_FORGET = delete(consumers).where(consumers.c.id == bindparam("server"))
_CONSUMER = select(
    consumers.c.id, consumers.c.project, consumers.c.user, consumers.c.generation, consumers.c.type
).where(consumers.c.id == bindparam("server"))


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


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """All that a consumer is to hold: amounts by provider and resource class; nothing, and it is a consumer no more."""

    consumer: ServerId
    amounts: Mapping[str, Mapping[str, int]]
    project: ProjectId
    user: UserId
    type: str | UnsetType | None = UNSET
    generation: int | UnsetType | None = UNSET  # that the writer knows, None: it must be new; UNSET: whatever it is


class InventoryInUse(Conflict):
    """What is to go is held by somebody."""


def provide(
    tx: Tx, host: HostId, name: str, offered: Sequence[Inventory], traits: frozenset[str] | None = None
) -> None:
    """Have the host's provider offer exactly this beside operators' own classes, and show these of the standard traits.

    What is in use stays in use, even where less is offered now. Operators' own traits stay; None: all traits stay.
    """
    if provider_rows.find(tx, host) is None:
        provider_rows.add(tx, host, name)
    if traits is not None:
        own = {trait for trait in provider_rows.traits_of(tx, host) if trait.startswith(CUSTOM)}
        provider_rows.set_traits(tx, host, traits | own)
    known = {item.resource_class: item for item in inventory(tx, host)}
    kept = [item for item in known.values() if item.resource_class.startswith(CUSTOM)]
    same = all(
        (have := known.get(item.resource_class)) is not None and msgspec.structs.replace(item, used=have.used) == have
        for item in offered
    )
    if not (same and len(known) == len(offered) + len(kept)):
        _offer(tx, host, [*offered, *kept])


def _offer(tx: Tx, provider: HostId, offered: Sequence[Inventory]) -> None:
    tx.execute(_WITHDRAW, {"host": provider})
    used: dict[str, int] = {}
    for allocation in held_of(tx, provider):  # counted anew: also what is held of a class that was not offered
        used[allocation.resource_class] = used.get(allocation.resource_class, 0) + allocation.amount
    for item in offered:
        values = msgspec.structs.asdict(item) | {"provider": provider, "used": used.get(item.resource_class, 0)}
        tx.execute(_OFFER, values)
    touch(tx, provider)


def set_inventories(tx: Tx, provider: HostId, offered: Sequence[Inventory], generation: int | None = None) -> None:
    """Have the provider offer exactly this, if it is of this generation still.

    `Stale` when it is not, `InventoryInUse` when somebody holds what is no longer offered.
    """
    provider_rows.expect(tx, provider, generation)
    classes = {item.resource_class for item in offered}
    if unknown := sorted(classes.difference(provider_rows.known_classes(tx))):
        raise Invalid(f"Unknown resource class in inventory for resource provider {provider}: {', '.join(unknown)}.")
    if lost := sorted({each.resource_class for each in held_of(tx, provider)} - classes):
        # Nova reads this sentence.
        raise InventoryInUse(f"Inventory for '{', '.join(lost)}' on resource provider '{provider}' in use.")
    _offer(tx, provider, offered)


def class_in_use(tx: Tx, resource_class: str) -> bool:
    query = select(func.count()).where(inventories.c.resource_class == resource_class)
    return bool(tx.execute(query).scalar())


def delete_provider(tx: Tx, provider: HostId) -> None:
    """Take away a provider of which nothing is held."""
    provider_rows.get(tx, provider)
    if held_of(tx, provider):
        raise ProviderInUse(f"Unable to delete resource provider {provider}: Resource provider has allocations.")
    withdraw(tx, provider)


def withdraw(tx: Tx, host: HostId) -> None:
    """Remove the provider with its inventory and whatever is still allocated from it."""
    holders = {each.consumer for each in held_of(tx, host)}
    provider_rows.remove(tx, host)
    tx.execute(delete(allocations).where(allocations.c.provider == host))
    tx.execute(delete(inventories).where(inventories.c.provider == host))
    for holder in holders:
        _changed(tx, holder)


def set_aggregates(tx: Tx, host: str, uuids: Sequence[str]) -> None:
    """Have the host's provider in exactly these aggregates; a host that has no provider yet is left alone."""
    if provider_rows.find(tx, host) is not None:
        provider_rows.set_aggregates(tx, host, uuids)


def show_trait(tx: Tx, host: str, trait: str, *, shown: bool) -> None:
    """Have the host's provider show this trait, or not; a host that has no provider yet is left alone."""
    if provider_rows.find(tx, host) is not None:
        others = provider_rows.traits_of(tx, host) - {trait}
        provider_rows.set_traits(tx, host, others | {trait} if shown else others)


def claim(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId, amounts: dict[str, int]) -> None:
    """Have the server hold these amounts of the host, beside what it holds of others. `Conflict` when they do not fit.

    What it held of this host before is replaced, so a claim may be repeated.
    """
    freed = _give_back(tx, server, host)
    for resource_class, amount in amounts.items():
        if not _take(tx, server, host, resource_class, amount):
            if freed:
                # The transaction may go on with another host: what was held of this one before is gone.
                touch(tx, host)
                _changed(tx, server)
            raise Conflict(f"the host has no room for {amount} {resource_class}")
    _claimed(tx, server, project, user, host)


def overdraw(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId, amounts: dict[str, int]) -> None:
    """Have the server hold these amounts of the host where it was found, even where they do not fit: it runs there."""
    _give_back(tx, server, host)
    for resource_class, amount in amounts.items():
        tx.execute(_OVERDRAW, {"host": host, "of": resource_class, "amount": amount})
        _allocate(tx, server, host, resource_class, amount)
    _claimed(tx, server, project, user, host)


def _claimed(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId) -> None:
    if tx.execute(_AGAIN, {"server": server}).rowcount == 0:
        _begin(tx, server, project, user, SERVER)
    touch(tx, host)


def _take(tx: Tx, consumer: ServerId, provider: str, resource_class: str, amount: int) -> bool:
    """Take it, if it fits."""
    if tx.execute(_TAKE, {"host": provider, "of": resource_class, "amount": amount}).rowcount != 1:
        return False
    _allocate(tx, consumer, provider, resource_class, amount)
    return True


def _allocate(tx: Tx, consumer: ServerId, provider: str, resource_class: str, amount: int) -> None:
    values = {"consumer": consumer, "provider": provider, "resource_class": resource_class, "amount": amount}
    tx.execute(_ALLOCATE, values)


def _begin(tx: Tx, consumer: ServerId, project: ProjectId, user: UserId, kind: str | None) -> None:
    values = {"id": consumer, "project": project, "user": user, "generation": 1, "type": kind, "created_at": tx.now}
    tx.execute(_FIRST, values)


def release(tx: Tx, server: ServerId, host: HostId | None = None) -> None:
    """Have the server hold nothing of the host (None: of any host). May be repeated."""
    freed = _give_back(tx, server, host)
    for provider in freed:
        touch(tx, provider)
    if freed:
        _changed(tx, server)


def _give_back(tx: Tx, server: ServerId, host: HostId | None = None) -> set[str]:
    """Free what the server holds; return of which providers that was."""
    which = {"server": server} if host is None else {"server": server, "host": host}
    held = tx.execute(_HELD if host is None else _HELD_OF, which).all()
    for row in held:
        tx.execute(_GIVE_BACK, {"host": row.provider, "of": row.resource_class, "amount": row.amount})
    if held:
        tx.execute(_DROP if host is None else _DROP_OF, which)
    return {row.provider for row in held}


def _changed(tx: Tx, consumer: ServerId) -> None:
    """Raise the generation of a consumer that still holds something; who holds nothing is none."""
    still = tx.execute(_HELD, {"server": consumer}).first() is not None
    tx.execute(_AGAIN if still else _FORGET, {"server": consumer})


def replace(tx: Tx, holdings: Sequence[Holding]) -> None:
    """Have each consumer hold exactly this, all of them or none: what one gives back, another may take.

    `Stale` when a consumer is of another generation than its writer knows, `Conflict` when something does not fit,
    `Invalid` for a provider or resource class that is unknown.
    """
    known = frozenset(provider_rows.known_classes(tx))
    touched: set[str] = set()
    for want in holdings:
        _expect_consumer(tx, want)
        _expect_names(tx, want, known)
    for want in holdings:
        touched |= _give_back(tx, want.consumer)
    for want in holdings:
        for provider, amounts in want.amounts.items():
            for resource_class, amount in amounts.items():
                if not _take(tx, want.consumer, provider, resource_class, amount):
                    raise Conflict(_refusal(tx, provider, resource_class, amount))
            touched.add(provider)
        _note_consumer(tx, want)
    for provider in touched:
        touch(tx, provider)


def _expect_consumer(tx: Tx, want: Holding) -> None:
    if want.generation is UNSET:
        return
    known = consumer(tx, want.consumer)
    now = known.generation if known else None
    if now != want.generation:
        told = ["null" if each is None else str(each) for each in (now, want.generation)]
        # Nova tells by these words whom to ask again.
        raise Stale(f"consumer generation conflict - expected {told[0]} but got {told[1]}")


def _expect_names(tx: Tx, want: Holding, known: frozenset[str]) -> None:
    for provider, amounts in want.amounts.items():
        if provider_rows.find(tx, provider) is None:
            raise Invalid(f"Allocation for resource provider '{provider}' that does not exist.")
        if unknown := sorted(set(amounts) - known):
            raise Invalid(f"Unable to allocate inventory: No such resource class {', '.join(unknown)}.")


def _refusal(tx: Tx, provider: str, resource_class: str, amount: int) -> str:
    """Say why it could not be taken."""
    item = next((each for each in inventory(tx, HostId(provider)) if each.resource_class == resource_class), None)
    if item is None:
        return (
            f"Unable to allocate inventory: Inventory for '{resource_class}' on resource provider '{provider}' invalid."
        )
    begin = f"Unable to allocate inventory: Unable to create allocation for '{resource_class}' on resource provider "
    if not item.min_unit <= amount <= item.max_unit or amount % item.step_size:
        return (
            f"{begin}'{provider}'. The requested amount would violate inventory constraints: {amount} is no "
            f"multiple of {item.step_size} from {item.min_unit} to {item.max_unit}."
        )
    free = item.capacity - item.used
    return f"{begin}'{provider}'. The requested amount would exceed the capacity: {amount} wanted, {free:g} free."


def _note_consumer(tx: Tx, want: Holding) -> None:
    if not want.amounts:
        tx.execute(_FORGET, {"server": want.consumer})
        return
    if tx.execute(_AGAIN, {"server": want.consumer}).rowcount == 0:
        _begin(tx, want.consumer, want.project, want.user, None if want.type is UNSET else want.type)
        return
    values: dict[str, str | None] = {"project": want.project, "user": want.user}
    if want.type is not UNSET:
        values["type"] = want.type
    tx.execute(update(consumers).where(consumers.c.id == want.consumer).values(values))


class Usage(msgspec.Struct, frozen=True):
    """How much consumers of one type hold of one resource class."""

    type: str | None
    resource_class: str
    amount: int


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


def inventory(tx: Tx, host: HostId | None = None) -> list[Inventory]:
    rows = tx.execute(_INVENTORY) if host is None else tx.execute(_INVENTORY_OF, {"host": host})
    return [Inventory(**row._mapping) for row in rows]


def held(tx: Tx, server: ServerId) -> list[Allocation]:
    """List what the server holds, of all hosts."""
    return [Allocation(**row._mapping) for row in tx.execute(_HELD, {"server": server})]


def held_of(tx: Tx, host: HostId) -> list[Allocation]:
    """List what is held of the host."""
    query = select(allocations).where(allocations.c.provider == host).order_by(*_IN_ORDER)
    return [Allocation(**row._mapping) for row in tx.execute(query)]


def all_providers(tx: Tx) -> list[Provider]:
    return provider_rows.every(tx)


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
