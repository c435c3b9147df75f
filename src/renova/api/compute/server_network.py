"""How a server is on the network: its addresses, ports and security groups."""

from typing import Any

from renova.api.compute.route import known, route
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply, Version
from renova.model.errors import NotFound
from renova.model.network import Port
from renova.model.server import AttachedNetwork

POLICY = {
    "os_compute_api:ips:index": "rule:project_reader_or_admin",
    "os_compute_api:ips:show": "rule:project_reader_or_admin",
    "os_compute_api:os-attach-interfaces:list": "rule:project_reader_or_admin",
    "os_compute_api:os-attach-interfaces:show": "rule:project_reader_or_admin",
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


async def interfaces(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-attach-interfaces:list")
    ports = await call.cloud.networks.ports(server.id)
    return Reply(200, {"interfaceAttachments": [_interface(call.version, port) for port in ports]})


async def interface(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-attach-interfaces:show")
    for port in await call.cloud.networks.ports(server.id):
        if port.id == call.path["port"]:
            return Reply(200, {"interfaceAttachment": _interface(call.version, port)})
    raise NotFound(f"Instance {server.id} does not have a port with id {call.path['port']}")


def _interface(version: Version, port: Port) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "net_id": port.network,
        "port_id": port.id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": fixed.subnet, "ip_address": fixed.ip} for fixed in port.fixed_ips],
    }
    if version >= (2, 70):
        shown["tag"] = None
    return shown


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
    route("GET", "/servers/{server}/os-interface", interfaces),
    route("GET", "/servers/{server}/os-interface/{port}", interface),
    route("GET", "/servers/{server}/os-security-groups", security_groups, query=known("limit", "offset")),
]
