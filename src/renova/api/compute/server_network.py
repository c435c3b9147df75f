"""How a server is on the network: its addresses and security groups; `interfaces` has its ports."""

from typing import Any

from renova.api.compute.route import known, route
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.errors import NotFound
from renova.model.server import AttachedNetwork

POLICY = {
    "os_compute_api:ips:index": "rule:project_reader_or_admin",
    "os_compute_api:ips:show": "rule:project_reader_or_admin",
    "os_compute_api:os-security-groups:list": "rule:project_reader_or_admin",
}


async def addresses(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:ips:index")
    return Reply(200, {"addresses": {network.name: _addresses(network) for network in server.networks}})


async def addresses_of_network(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:ips:show")
    name = call.path["network"]
    for network in server.networks:
        if network.name == name:
            return Reply(200, {name: _addresses(network)})
    raise NotFound("Instance is not a member of specified network")


def _addresses(network: AttachedNetwork) -> list[dict[str, Any]]:
    return [{"version": 6 if ":" in each.ip else 4, "addr": each.ip} for each in network.addresses]


async def security_groups(call: Call) -> Reply:
    """List the groups by name; what they allow is the network service's to tell."""
    server = await find_server(call, "os_compute_api:os-security-groups:list")
    groups = [
        {"id": name, "name": name, "description": "", "tenant_id": server.project, "rules": []}
        for name in server.security_groups
    ]
    return Reply(200, {"security_groups": groups})


ROUTES = [
    route("GET", "/servers/{server}/ips", addresses),
    route("GET", "/servers/{server}/ips/{network}", addresses_of_network),
    route("GET", "/servers/{server}/os-security-groups", security_groups, query=known("limit", "offset")),
]
