"""Resource classes: the standard ones, and those of operators."""

from typing import Any

from renova.api.http import Call, Reply
from renova.api.placement.fields import Body, custom_name
from renova.model.errors import Conflict, Invalid, NotFound
from renova.store import providers as store
from renova.store.database import Tx
from renova.store.placement import inventories
from renova.store.providers import NameTaken


class NamedClass(Body):
    """A custom class."""

    name: str


async def every(call: Call) -> Reply:
    call.demand("placement:resource_classes:list")
    names = await call.cloud.database.read(store.known_classes)
    return Reply(200, {"resource_classes": [_shape(name) for name in names]})


async def one(call: Call) -> Reply:
    call.demand("placement:resource_classes:show")
    name = call.path["resource_class"]
    if name not in await call.cloud.database.read(store.known_classes):
        raise NotFound(f"No such resource class {name}.")
    return Reply(200, _shape(name))


async def create(call: Call) -> Reply:
    call.demand("placement:resource_classes:create")
    name = custom_name(call.json(NamedClass).name, "resource class")
    if not await call.cloud.database.transact(lambda tx: store.create_class(tx, name)):
        raise Conflict(f"Conflicting resource class already exists: {name}")
    return Reply(201, None, _location(call, name))


async def ensure(call: Call) -> Reply:
    """Have the class (since 1.7)."""
    call.demand("placement:resource_classes:update")
    name = custom_name(call.path["resource_class"], "resource class")
    new = await call.cloud.database.transact(lambda tx: store.create_class(tx, name))
    return Reply(201 if new else 204, None, _location(call, name))


async def rename(call: Call) -> Reply:
    """Give the class another name (until 1.6); one that somebody has something of keeps its own."""
    call.demand("placement:resource_classes:update")
    old, new = call.path["resource_class"], custom_name(call.json(NamedClass).name, "resource class")

    def work(tx: Tx) -> None:
        _drop(tx, old)
        if not store.create_class(tx, new):
            raise NameTaken(f"Resource class already exists: {new}")

    await call.cloud.database.transact(work)
    return Reply(200, _shape(new))


async def delete(call: Call) -> Reply:
    call.demand("placement:resource_classes:delete")
    await call.cloud.database.transact(lambda tx: _drop(tx, call.path["resource_class"]))
    return Reply(204)


def _drop(tx: Tx, name: str) -> None:
    if name in store.STANDARD_CLASSES:
        raise Invalid(f"Cannot change standard resource class {name}. Only custom classes can be deleted or renamed.")
    if inventories.class_in_use(tx, name):
        raise Conflict(f"Resource class {name} is in use in inventory. Take it from the providers that have it first.")
    store.delete_class(tx, name)


def _location(call: Call, name: str) -> dict[str, str]:
    return {"Location": f"{call.base_url}/resource_classes/{name}"}


def _shape(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"/placement/resource_classes/{name}"}]}
