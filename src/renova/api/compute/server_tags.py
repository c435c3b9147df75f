"""The tags of a server: words by which its owner finds it again."""

from collections.abc import Callable

import msgspec

from renova.api.compute.fields import Body, Tag, read
from renova.api.compute.route import route
from renova.api.compute.server_metadata import WRITABLE
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.server import Server
from renova.operations.parts.state import demand_vm_state, get_server
from renova.store import servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-server-tags:index": "rule:project_reader_or_admin",
    "os_compute_api:os-server-tags:show": "rule:project_reader_or_admin",
    "os_compute_api:os-server-tags:update": "rule:project_member_or_admin",
    "os_compute_api:os-server-tags:update_all": "rule:project_member_or_admin",
    "os_compute_api:os-server-tags:delete": "rule:project_member_or_admin",
    "os_compute_api:os-server-tags:delete_all": "rule:project_member_or_admin",
}

MOST = 50

Tags = tuple[str, ...]


class AllTags(Body):
    """The body of PUT tags."""

    tags: list[Tag]


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-server-tags:index")
    return Reply(200, {"tags": server.tags})


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-server-tags:show")
    if call.path["tag"] not in server.tags:
        raise _missing(call, server)
    return Reply(204)


async def replace(call: Call) -> Reply:
    tags = tuple(dict.fromkeys(read(call, AllTags).tags))
    server = await find_server(call, "os_compute_api:os-server-tags:update_all")
    await _change(call, server, lambda _old: tags)
    return Reply(200, {"tags": tags})


async def put(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-server-tags:update")
    tag = call.path["tag"]
    try:
        msgspec.convert(tag, Tag)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid tag '{tag}': {error}") from error
    old = await _change(call, server, lambda old: old if tag in old else (*old, tag))
    if tag in old:
        return Reply(204)
    return Reply(201, headers={"location": f"{call.base_url}/servers/{server.id}/tags/{tag}"})


async def delete(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-server-tags:delete")

    def without(old: Tags) -> Tags:
        if call.path["tag"] not in old:
            raise _missing(call, server)
        return tuple(tag for tag in old if tag != call.path["tag"])

    await _change(call, server, without)
    return Reply(204)


async def delete_all(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-server-tags:delete_all")
    await _change(call, server, lambda _old: ())
    return Reply(204)


async def _change(call: Call, server: Server, new: Callable[[Tags], Tags]) -> Tags:
    """Give the server the tags that `new` makes of those it has, if its state allows that; return those it had."""

    def work(tx: Tx) -> Tags:
        now = get_server(tx, server.id)
        demand_vm_state(now, "update tags", WRITABLE)
        tags = new(now.tags)
        if len(tags) > MOST:
            raise Invalid(f"The number of tags exceeded the per-server limit {MOST}")
        servers.change(tx, server.id, tags=tags)
        return now.tags

    return await call.cloud.database.transact(work)


def _missing(call: Call, server: Server) -> NotFound:
    return NotFound(f"Server {server.id} has no tag '{call.path['tag']}'")


_PATH = "/servers/{server}/tags"
_SINCE = (2, 26)

ROUTES = [
    route("GET", _PATH, index, _SINCE),
    route("PUT", _PATH, replace, _SINCE),
    route("DELETE", _PATH, delete_all, _SINCE),
    route("GET", f"{_PATH}/{{tag}}", show, _SINCE),
    route("PUT", f"{_PATH}/{{tag}}", put, _SINCE),
    route("DELETE", f"{_PATH}/{{tag}}", delete, _SINCE),
]
