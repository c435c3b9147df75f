"""Servers: list, show, change, delete; `server_create` creates them."""

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute import host_names, paging
from renova.api.compute.availability_zones import demand_zone
from renova.api.compute.fields import Body, Description, DiskConfig, Name, optional_address, read
from renova.api.compute.route import route
from renova.api.compute.server_create import create
from renova.api.compute.server_query import PARAMETERS, server_query
from renova.api.compute.server_view import ServerViews
from renova.api.compute.visible import asked, find_server, the_server, views
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid
from renova.model.ids import ServerId
from renova.model.server import Server
from renova.operations.delete import accept_delete
from renova.operations.parts.state import get_server
from renova.store import aggregates, servers
from renova.store.database import Tx

POLICY = {
    "os_compute_api:servers:index": "rule:project_reader_or_admin",
    "os_compute_api:servers:index:get_all_tenants": "rule:admin_api",
    "os_compute_api:servers:detail": "rule:project_reader_or_admin",
    "os_compute_api:servers:detail:get_all_tenants": "rule:admin_api",
    "os_compute_api:servers:show": "rule:project_reader_or_admin",
    "os_compute_api:servers:update": "rule:project_member_or_admin",
    "os_compute_api:servers:delete": "rule:project_member_or_admin",
}


class ChangedServer(Body):
    """What is to change of a server."""

    SINCE: ClassVar[dict[str, Version]] = {
        "description": (2, 19),
        "hostname": (2, 90),
        "pinned_availability_zone": (2, 104),
    }

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET
    pinned_availability_zone: Name | UnsetType | None = UNSET
    disk_config: DiskConfig | UnsetType = msgspec.field(default=UNSET, name="OS-DCF:diskConfig")
    access_ipv4: str | UnsetType | None = msgspec.field(default=UNSET, name="accessIPv4")
    access_ipv6: str | UnsetType | None = msgspec.field(default=UNSET, name="accessIPv6")


class ChangeServer(Body):
    """The body of PUT /servers/{id}."""

    server: ChangedServer


async def index(call: Call) -> Reply:
    rule = "os_compute_api:servers:index"
    page = await _page(call, rule)
    shown = ServerViews(call, {})
    return _listed(call, "/servers", [shown.brief(server) for server in page])


async def detail(call: Call) -> Reply:
    rule = "os_compute_api:servers:detail"
    page = await _page(call, rule)
    shown = await views(call, page)
    return _listed(call, "/servers/detail", [shown.detailed(server) for server in page])


async def _page(call: Call, rule: str) -> list[Server]:
    call.demand(rule)
    query = server_query(call, rule)
    return await call.cloud.database.read(query.page)


def _listed(call: Call, path: str, page: list[dict[str, Any]]) -> Reply:
    last = page[-1]["id"] if page else None
    return Reply(200, {"servers": page, **paging.links(call, path, "servers_links", page, last)})


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:servers:show")
    return Reply(200, {"server": (await views(call, [server])).shown(server)})


async def update(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:servers:update")
    wanted = read(call, ChangeServer).server
    values: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in ("name", "description", "disk_config")
        if getattr(wanted, name) is not UNSET
    }
    if isinstance(wanted.hostname, str):
        values["hostname"] = host_names.checked(wanted.hostname, call.version)
    if wanted.access_ipv4 is not UNSET:
        values["access_ipv4"] = optional_address(wanted.access_ipv4, "accessIPv4", 4)
    if wanted.access_ipv6 is not UNSET:
        values["access_ipv6"] = optional_address(wanted.access_ipv6, "accessIPv6", 6)
    if wanted.pinned_availability_zone is not UNSET:
        values["pinned_zone"] = wanted.pinned_availability_zone

    def work(tx: Tx) -> None:
        if values.get("pinned_zone") is not None:
            _demand_own_zone(tx, server.id, values["pinned_zone"])
        servers.change(tx, server.id, **values)

    if values:
        await call.cloud.database.transact(work)
    changed = await the_server(call, server.id)
    return Reply(200, {"server": (await views(call, [changed])).updated(changed)})


def _demand_own_zone(tx: Tx, server: ServerId, zone: str) -> None:
    """Raise `Invalid` unless the server may be pinned to the zone: that is the one it is in, so nothing has to move."""
    demand_zone(tx, zone)
    now = get_server(tx, server)
    if now.host is not None and zone != aggregates.zone_of(tx, now.host):
        raise Invalid(f"The server can only be pinned to {now.availability_zone}, the zone that it is in.")


async def delete(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:servers:delete")
    await call.cloud.database.transact(lambda tx: accept_delete(call.cloud, tx, asked(call), server.id))
    return Reply(204)


ROUTES = [
    route("GET", "/servers", index, query=PARAMETERS),
    route("GET", "/servers/detail", detail, query=PARAMETERS),
    route("POST", "/servers", create),
    route("GET", "/servers/{server}", show),
    route("PUT", "/servers/{server}", update),
    route("DELETE", "/servers/{server}", delete),
]
