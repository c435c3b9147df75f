"""Resource providers, each a host: what they have and what is used of it."""

from typing import Any

from renova.api.http import Call, Reply
from renova.model.errors import NotFound
from renova.model.ids import HostId
from renova.store import placement as store
from renova.store.database import Tx
from renova.store.placement import Inventory
from renova.store.providers import Provider

_LINKS = (
    ("inventories", (1, 0)),
    ("usages", (1, 0)),
    ("aggregates", (1, 1)),
    ("traits", (1, 6)),
    ("allocations", (1, 11)),
)


async def every(call: Call) -> Reply:
    call.demand("placement:resource_providers:list")
    found = await call.cloud.database.read(store.all_providers)
    for parameter, attribute in (("name", "name"), ("uuid", "id"), ("in_tree", "id")):
        if (want := call.one(parameter)) is not None:
            found = [provider for provider in found if getattr(provider, attribute) == want]
    for parameter in ("member_of", "required"):
        if call.one(parameter) is not None:
            found = []  # hosts have no aggregates and no traits here
    return Reply(200, {"resource_providers": [_shape(call, provider) for provider in found]})


async def one(call: Call) -> Reply:
    call.demand("placement:resource_providers:show")
    return Reply(200, _shape(call, await _provider(call)))


async def inventories(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:list")
    provider, have = await _inventory(call)
    return Reply(
        200,
        {
            "resource_provider_generation": provider.generation,
            "inventories": {item.resource_class: _inventory_shape(item) for item in have},
        },
    )


async def inventory(call: Call) -> Reply:
    call.demand("placement:resource_providers:inventories:show")
    provider, have = await _inventory(call)
    resource_class = call.path["resource_class"]
    for item in have:
        if item.resource_class == resource_class:
            return Reply(200, {"resource_provider_generation": provider.generation, **_inventory_shape(item)})
    raise NotFound(f"No inventory of class {resource_class} for {provider.id}")


async def usages(call: Call) -> Reply:
    call.demand("placement:resource_providers:usages")
    provider, have = await _inventory(call)
    return Reply(
        200,
        {
            "resource_provider_generation": provider.generation,
            "usages": {item.resource_class: item.used for item in have},
        },
    )


async def allocations(call: Call) -> Reply:
    call.demand("placement:resource_providers:allocations:list")
    provider = await _provider(call)
    held = await call.cloud.database.read(lambda tx: store.held_of(tx, provider.id))
    by_consumer: dict[str, dict[str, Any]] = {}
    for allocation in held:
        consumer = by_consumer.setdefault(allocation.consumer, {"resources": {}})
        consumer["resources"][allocation.resource_class] = allocation.amount
    return Reply(200, {"resource_provider_generation": provider.generation, "allocations": by_consumer})


async def traits(call: Call) -> Reply:
    """Say which traits a provider has: none, as no host is chosen by them."""
    call.demand("placement:resource_providers:traits:list")
    provider = await _provider(call)
    return Reply(200, {"resource_provider_generation": provider.generation, "traits": []})


async def aggregates(call: Call) -> Reply:
    call.demand("placement:resource_providers:aggregates:list")
    provider = await _provider(call)
    body: dict[str, Any] = {"aggregates": []}
    if call.version >= (1, 19):
        body["resource_provider_generation"] = provider.generation
    return Reply(200, body)


def _find(tx: Tx, provider_id: str) -> Provider:
    for provider in store.all_providers(tx):
        if provider.id == provider_id:
            return provider
    raise NotFound(f"No resource provider with uuid {provider_id} found")


async def _provider(call: Call) -> Provider:
    return await call.cloud.database.read(lambda tx: _find(tx, call.path["provider"]))


async def _inventory(call: Call) -> tuple[Provider, list[Inventory]]:
    def both(tx: Tx) -> tuple[Provider, list[Inventory]]:
        provider = _find(tx, call.path["provider"])
        return provider, store.inventory(tx, HostId(provider.id))

    return await call.cloud.database.read(both)


def _shape(call: Call, provider: Provider) -> dict[str, Any]:
    path = f"/placement/resource_providers/{provider.id}"
    shape: dict[str, Any] = {
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "links": [{"rel": "self", "href": path}]
        + [{"rel": rel, "href": f"{path}/{rel}"} for rel, since in _LINKS if call.version >= since],
    }
    if call.version >= (1, 14):
        shape |= {"parent_provider_uuid": None, "root_provider_uuid": provider.id}
    return shape


def _inventory_shape(item: Inventory) -> dict[str, Any]:
    return {
        "total": item.total,
        "reserved": item.reserved,
        "min_unit": 1,
        "max_unit": item.total,
        "step_size": 1,
        "allocation_ratio": item.allocation_ratio,
    }
