"""How a server is on the network: its addresses and security groups; `interfaces` has its ports."""

from typing import Any

from renova.api.compute import server_view
from renova.api.compute.route import known, route
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.errors import NotFound
from renova.model.server import Server
from renova.store import security_groups as groups

POLICY = {
    "os_compute_api:ips:index": "rule:project_reader_or_admin",
    "os_compute_api:ips:show": "rule:project_reader_or_admin",
    "os_compute_api:os-security-groups:list": "rule:project_reader_or_admin",
}


async def addresses(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:ips:index")
    return Reply(200, {"addresses": _addresses(server)})


async def addresses_of_network(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:ips:show")
    name = call.path["network"]
    shown = _addresses(server)
    if name not in shown:
        raise NotFound("Instance is not a member of specified network")
    return Reply(200, {name: shown[name]})


def _addresses(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Return them as the server shows them, without what extensions have added there."""
    shown = server_view.addresses(server).items()
    return {name: [{key: each[key] for key in ("version", "addr")} for each in those] for name, those in shown}


async def security_groups(call: Call) -> Reply:
    """List the groups that the server's ports have; what they allow is the network service's to tell."""
    server = await find_server(call, "os_compute_api:os-security-groups:list")
    ports = await call.cloud.networks.ports(server.id)
    wanted = dict.fromkeys(group for port in ports for group in port.security_groups)
    found = await call.cloud.database.read(lambda tx: [groups.group(tx, each) for each in wanted])
    shown = [
        {"id": each.id, "name": each.name, "description": each.description, "tenant_id": each.project, "rules": []}
        for each in found
        if each is not None
    ]
    return Reply(200, {"security_groups": shown})


ROUTES = [
    route("GET", "/servers/{server}/ips", addresses),
    route("GET", "/servers/{server}/ips/{network}", addresses_of_network),
    route("GET", "/servers/{server}/os-security-groups", security_groups, query=known("limit", "offset")),
]
