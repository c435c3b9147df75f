"""The metadata of a server: names and values that its owner sets."""

from typing import Any

from renova.api.compute.fields import Body, Metadata, read
from renova.api.compute.quota import demand_metadata_within
from renova.api.compute.route import route
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.server import Server, VmState
from renova.operations.parts.state import demand_unlocked, demand_vm_state, get_server
from renova.store import servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:server-metadata:index": "rule:project_reader_or_admin",
    "os_compute_api:server-metadata:show": "rule:project_reader_or_admin",
    "os_compute_api:server-metadata:create": "rule:project_member_or_admin",
    "os_compute_api:server-metadata:update": "rule:project_member_or_admin",
    "os_compute_api:server-metadata:update_all": "rule:project_member_or_admin",
    "os_compute_api:server-metadata:delete": "rule:project_member_or_admin",
}

WRITABLE = (VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED)


class Items(Body):
    """The body of requests about all of a server's metadata."""

    metadata: Metadata


class Item(Body):
    """The body of requests about one item."""

    meta: Metadata


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:server-metadata:index")
    return Reply(200, {"metadata": server.metadata})


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:server-metadata:show")
    key = call.path["key"]
    if key not in server.metadata:
        raise _missing()
    return Reply(200, {"meta": {key: server.metadata[key]}})


async def add(call: Call) -> Reply:
    items = read(call, Items).metadata
    server = await find_server(call, "os_compute_api:server-metadata:create")
    return Reply(200, {"metadata": await _change(call, server, "update metadata", lambda old: {**old, **items})})


async def replace(call: Call) -> Reply:
    items = read(call, Items).metadata
    server = await find_server(call, "os_compute_api:server-metadata:update_all")
    return Reply(200, {"metadata": await _change(call, server, "update metadata", lambda _old: items)})


async def put(call: Call) -> Reply:
    item = read(call, Item).meta
    server = await find_server(call, "os_compute_api:server-metadata:update")
    if len(item) != 1:
        raise Invalid("Request body contains too many items")
    if call.path["key"] not in item:
        raise Invalid("Request body and URI mismatch")
    await _change(call, server, "update metadata", lambda old: {**old, **item})
    return Reply(200, {"meta": item})


async def delete(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:server-metadata:delete")

    def without(old: dict[str, str]) -> dict[str, str]:
        if call.path["key"] not in old:
            raise _missing()
        return {key: value for key, value in old.items() if key != call.path["key"]}

    await _change(call, server, "delete metadata", without)
    return Reply(204)


async def _change(call: Call, server: Server, action: str, new: Any) -> dict[str, str]:
    """Give the server the metadata that `new` makes of what it has, if its state allows that; return it."""

    def work(tx: Tx) -> dict[str, str]:
        now = get_server(tx, server.id)
        demand_unlocked(now, asked(call))
        demand_vm_state(now, action, WRITABLE)
        items: dict[str, str] = new(now.metadata)
        demand_metadata_within(tx, now.project, len(items))
        servers.change(tx, server.id, metadata=items)
        return items

    return await call.cloud.database.transact(work)


def _missing() -> NotFound:
    return NotFound("Metadata item was not found")


_PATH = "/servers/{server}/metadata"

ROUTES = [
    route("GET", _PATH, index),
    route("POST", _PATH, add),
    route("PUT", _PATH, replace),
    route("GET", f"{_PATH}/{{key}}", show),
    route("PUT", f"{_PATH}/{{key}}", put),
    route("DELETE", f"{_PATH}/{{key}}", delete),
]
