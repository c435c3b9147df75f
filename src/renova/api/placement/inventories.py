"""What providers have of each resource class, and how much of it is in use."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.api.placement.fields import Amount, Body, Positive, class_name
from renova.model.errors import Invalid, NotFound
from renova.model.ids import HostId
from renova.model.provider import MOST
from renova.store import providers
from renova.store.database import Tx
from renova.store.placement.inventories import Inventory, inventory, set_inventories
from renova.store.providers import Provider, Stale

_RESERVED_MAY_BE_ALL = (1, 26)

Ratio = Annotated[float, msgspec.Meta(ge=0, le=3.40282e38)]


class Amounts(Body):
    """An inventory, as one of several."""

    total: Positive
    reserved: Amount = 0
    min_unit: Positive = 1
    max_unit: Positive = MOST
    step_size: Positive = 1
    allocation_ratio: Ratio = 1.0


class ChangedInventory(Amounts, kw_only=True):
    """The inventory of the class that the path names."""

    resource_provider_generation: int


class NewInventory(Amounts, kw_only=True):
    """An inventory that is not there yet."""

    resource_class: str
    resource_provider_generation: int | UnsetType = UNSET


class AllInventories(Body):
    """All that a provider has."""

    resource_provider_generation: int
    inventories: dict[str, Amounts]


def offered(call: Call, provider: HostId, inventories: dict[str, Amounts]) -> list[Inventory]:
    """Return them as the store takes them; refuses those of which nothing could ever be given."""
    for name, amounts in inventories.items():
        class_name(name)
        left = amounts.total - amounts.reserved
        if left < 0 or (left == 0 and call.version < _RESERVED_MAY_BE_ALL):
            raise Invalid(
                f"Invalid inventory for '{name}' on resource provider '{provider}'. "
                f"The reserved value ({amounts.reserved}) must be less than the total ({amounts.total})"
                + (" or equal to it." if call.version >= _RESERVED_MAY_BE_ALL else ".")
            )
    return [
        Inventory(
            provider,
            name,
            each.total,
            each.reserved,
            each.allocation_ratio,
            min_unit=each.min_unit,
            max_unit=each.max_unit,
            step_size=each.step_size,
        )
        for name, each in inventories.items()
    ]


async def every(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:list")
    return Reply(200, _all_shape(*await _read(call)))


async def one(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:show")
    provider, have = await _read(call)
    for item in have:
        if item.resource_class == call.path["resource_class"]:
            return Reply(200, {"resource_provider_generation": provider.generation, **_shape(item)})
    raise NotFound(f"No inventory of class {call.path['resource_class']} for {provider.id}")


async def usages(call: Call) -> Reply:
    call.demand("placement:resource_providers:usages")
    provider, have = await _read(call)
    used = {item.resource_class: item.used for item in have}
    return Reply(200, {"resource_provider_generation": provider.generation, "usages": used})


async def replace(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:update")
    wanted = call.json(AllInventories)
    new = offered(call, _provider(call), wanted.inventories)
    return await _write(call, lambda _have: new, wanted.resource_provider_generation)


async def create(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:create")
    wanted = call.json(NewInventory)
    amounts = msgspec.convert(
        {name: getattr(wanted, name) for name in Amounts.__struct_fields__}, Amounts, from_attributes=True
    )
    (new,) = offered(call, _provider(call), {wanted.resource_class: amounts})

    def added(have: list[Inventory]) -> list[Inventory]:
        if any(item.resource_class == new.resource_class for item in have):
            raise Stale(f"Update conflict: there is an inventory of {new.resource_class} already. Change it with PUT.")
        return [*have, new]

    generation = wanted.resource_provider_generation
    provider, _ = await _changed(call, added, None if generation is UNSET else generation)
    location = f"{call.base_url}/resource_providers/{provider.id}/inventories/{new.resource_class}"
    shape = {"resource_provider_generation": provider.generation, **_shape(new)}
    return Reply(201, shape, {"Location": location})


async def change(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:update")
    wanted = call.json(ChangedInventory)
    amounts = msgspec.convert(wanted, Amounts, from_attributes=True)
    (new,) = offered(call, _provider(call), {call.path["resource_class"]: amounts})

    def changed(have: list[Inventory]) -> list[Inventory]:
        if all(item.resource_class != new.resource_class for item in have):
            raise Invalid(f"No inventory record with resource class {new.resource_class}. Create it with POST.")
        return [new if item.resource_class == new.resource_class else item for item in have]

    provider, _ = await _changed(call, changed, wanted.resource_provider_generation)
    return Reply(200, {"resource_provider_generation": provider.generation, **_shape(new)})


async def delete(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:delete")
    name = call.path["resource_class"]

    def left(have: list[Inventory]) -> list[Inventory]:
        if all(item.resource_class != name for item in have):
            raise NotFound(f"No inventory of class {name} found for delete.")
        return [item for item in have if item.resource_class != name]

    await _changed(call, left)
    return Reply(204)


async def delete_all(call: Call) -> Reply:
    if call.version < (1, 5):
        raise Failure(
            405, "The method DELETE is not allowed for this resource before 1.5.", {"Allow": "GET, POST, PUT"}
        )
    call.demand("placement:resource_providers:inventories:delete")
    await _changed(call, lambda _have: [])
    return Reply(204)


async def _write(call: Call, new: Any, generation: int | None) -> Reply:
    return Reply(200, _all_shape(*await _changed(call, new, generation)))


async def _changed(call: Call, new: Any, generation: int | None = None) -> tuple[Provider, list[Inventory]]:
    """Have the provider offer what `new` makes of what it offers."""

    def work(tx: Tx) -> tuple[Provider, list[Inventory]]:
        provider = providers.expect(tx, _provider(call), generation)
        set_inventories(tx, provider.id, new(inventory(tx, provider.id)))
        return _both(call, tx)

    return await call.cloud.database.transact(work)


def _provider(call: Call) -> HostId:
    return HostId(call.path["provider"])


def _both(call: Call, tx: Tx) -> tuple[Provider, list[Inventory]]:
    provider = providers.get(tx, call.path["provider"])
    return provider, inventory(tx, provider.id)


async def _read(call: Call) -> tuple[Provider, list[Inventory]]:
    return await call.cloud.database.read(lambda tx: _both(call, tx))


def _all_shape(provider: Provider, have: list[Inventory]) -> dict[str, Any]:
    inventories = {item.resource_class: _shape(item) for item in have}
    return {"resource_provider_generation": provider.generation, "inventories": inventories}


def _shape(item: Inventory) -> dict[str, Any]:
    return {
        "total": item.total,
        "reserved": item.reserved,
        "min_unit": item.min_unit,
        "max_unit": item.max_unit,
        "step_size": item.step_size,
        "allocation_ratio": item.allocation_ratio,
    }
