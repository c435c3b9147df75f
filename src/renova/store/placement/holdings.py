"""All that consumers hold, written at once as operators ask."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import update

from renova.model.errors import Conflict, Invalid
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement import allocations
from renova.store.placement.allocations import consumers
from renova.store.placement.claims import give_back, take
from renova.store.placement.inventories import inventory
from renova.store.providers import Stale, touch


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """All that a consumer is to hold: amounts by provider and resource class; nothing, and it is a consumer no more."""

    consumer: ServerId
    amounts: Mapping[str, Mapping[str, int]]
    project: ProjectId
    user: UserId
    type: str | UnsetType | None = UNSET
    generation: int | UnsetType | None = UNSET  # that the writer knows, None: it must be new; UNSET: whatever it is


def replace_all(tx: Tx, holdings: Sequence[Holding]) -> None:
    """Have each consumer hold exactly this, all of them or none: what one gives back, another may take.

    `Stale` when a consumer is of another generation than its writer knows, `Conflict` when something does not fit,
    `Invalid` for a provider or resource class that is unknown.
    """
    known = frozenset(providers.known_classes(tx))
    touched: set[str] = set()
    for want in holdings:
        _expect_consumer(tx, want)
        _expect_names(tx, want, known)
    for want in holdings:
        touched |= give_back(tx, want.consumer)
    for want in holdings:
        for provider, amounts in want.amounts.items():
            for resource_class, amount in amounts.items():
                if not take(tx, want.consumer, provider, resource_class, amount):
                    raise Conflict(_refusal(tx, provider, resource_class, amount))
            touched.add(provider)
        _note_consumer(tx, want)
    for provider in touched:
        touch(tx, provider)


def _expect_consumer(tx: Tx, want: Holding) -> None:
    if want.generation is UNSET:
        return
    known = allocations.consumer(tx, want.consumer)
    now = known.generation if known else None
    if now != want.generation:
        told = ["null" if each is None else str(each) for each in (now, want.generation)]
        # Nova tells by these words whom to ask again.
        raise Stale(f"consumer generation conflict - expected {told[0]} but got {told[1]}")


def _expect_names(tx: Tx, want: Holding, known: frozenset[str]) -> None:
    for provider, amounts in want.amounts.items():
        if providers.find(tx, provider) is None:
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
        allocations.forget(tx, want.consumer)
        return
    if not allocations.raise_generation(tx, want.consumer):
        allocations.begin(tx, want.consumer, want.project, want.user, None if want.type is UNSET else want.type)
        return
    values: dict[str, str | None] = {"project": want.project, "user": want.user}
    if want.type is not UNSET:
        values["type"] = want.type
    tx.execute(update(consumers).where(consumers.c.id == want.consumer).values(values))
