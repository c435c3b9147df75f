"""Consumers, each a server, and what they hold; resource classes and traits."""

from typing import Any

from renova.api.http import Call, Reply
from renova.model.ids import ServerId
from renova.store import placement as store
from renova.store.database import Tx


async def allocations(call: Call) -> Reply:
    call.demand("placement:allocations:list")
    server = ServerId(call.path["consumer"])

    def read(tx: Tx) -> dict[str, Any]:
        generations = {provider.id: provider.generation for provider in store.all_providers(tx)}
        held: dict[str, dict[str, Any]] = {}
        for allocation in store.held(tx, server):
            generation = generations[allocation.provider]
            of = held.setdefault(allocation.provider, {"generation": generation, "resources": {}})
            of["resources"][allocation.resource_class] = allocation.amount
        body: dict[str, Any] = {"allocations": held}
        consumer = store.consumer(tx, server)
        if held and consumer is not None and call.version >= (1, 12):
            body |= {"project_id": consumer.project, "user_id": consumer.user}
            if call.version >= (1, 28):
                body["consumer_generation"] = consumer.generation
        return body

    return Reply(200, await call.cloud.database.read(read))


async def resource_classes(call: Call) -> Reply:
    call.demand("placement:resource_classes:list")
    found = await call.cloud.database.read(store.inventory)
    names = sorted({item.resource_class for item in found})
    shapes = [
        {"name": name, "links": [{"rel": "self", "href": f"/placement/resource_classes/{name}"}]} for name in names
    ]
    return Reply(200, {"resource_classes": shapes})


async def traits(call: Call) -> Reply:
    """List the traits there are: none, as no host is chosen by them."""
    call.demand("placement:traits:list")
    return Reply(200, {"traits": []})
