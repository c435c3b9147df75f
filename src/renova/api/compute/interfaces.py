"""Ports of a server: list, show, attach and detach. Attaching is answered when it is done, as in Nova."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute import network_wishes
from renova.api.compute.fields import Body, Tag, Uuid, canonical, read
from renova.api.compute.route import route
from renova.api.compute.visible import asked, find_server
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply, Version
from renova.model.errors import Conflict, Invalid, NotFound, NotNow
from renova.model.ids import NetworkId, PortId, ProjectId
from renova.model.network import Port
from renova.model.server import Server
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.detach_interface import accept_detach_interface
from renova.operations.parts.permits import permitted
from renova.operations.submission import ended
from renova.partners.network import PortWish
from renova.store import ports

POLICY = {
    "os_compute_api:os-attach-interfaces:list": "rule:project_reader_or_admin",
    "os_compute_api:os-attach-interfaces:show": "rule:project_reader_or_admin",
    "os_compute_api:os-attach-interfaces:create": "rule:project_member_or_admin",
    "os_compute_api:os-attach-interfaces:delete": "rule:project_member_or_admin",
}

# By the kind of the error with which the operation failed.
_CODES = {"NotFound": 404, "Conflict": 409, "Superseded": 409, "Stale": 409, "Refused": 400, "Invalid": 400}
_LATER = ("NotNow", "OnHold", "Elsewhere", "StorageAway")


class WantedIp(Body):
    """The one address asked for."""

    ip: str = msgspec.field(name="ip_address")


class Wanted(Body):
    """Which port, or a port of which network."""

    SINCE: ClassVar[dict[str, Version]] = {"tag": (2, 49)}

    network: Uuid | UnsetType = msgspec.field(default=UNSET, name="net_id")
    port: Uuid | UnsetType | None = msgspec.field(default=UNSET, name="port_id")
    fixed_ips: Annotated[list[WantedIp], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class Attach(Body):
    """The body of POST."""

    wanted: Wanted | UnsetType = msgspec.field(default=UNSET, name="interfaceAttachment")


async def index(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-attach-interfaces:list")
    found = await call.cloud.networks.ports(server.id)
    return Reply(200, {"interfaceAttachments": [_shown(call.version, port) for port in found]})


async def show(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-attach-interfaces:show")
    return Reply(200, {"interfaceAttachment": _shown(call.version, await _port(call, server))})


async def attach(call: Call) -> Reply:
    wanted = read(call, Attach).wanted
    server = await find_server(call, "os_compute_api:os-attach-interfaces:create")
    await call.cloud.database.read(lambda tx: permitted(tx, server.id, "attach_interface", asked(call)))
    wish = await _wish(call, server.project, wanted if wanted is not UNSET else Wanted())
    submitted, nic = await call.cloud.database.transact(
        lambda tx: accept_attach_interface(call.cloud, tx, asked(call), server.id, wish)
    )
    failure = await ended(call.cloud.database, call.cloud.clock, submitted.operation)
    if failure is not None:
        message = f"Failed to attach network adapter device to {server.id}: {failure.message}"
        if failure.kind in _LATER:
            raise NotNow(message)
        raise Failure(_CODES.get(failure.kind, 500), message)
    port = await call.cloud.database.read(lambda tx: ports.of_nic(tx, server.id, nic))
    if port is None:
        raise NotFound(f"The port was detached from server {server.id} again.")
    return Reply(200, {"interfaceAttachment": _shown(call.version, port)})


async def _wish(call: Call, project: ProjectId, wanted: Wanted) -> PortWish:
    """Return the port wished for, of those that the server's project may use.

    Refuses as Nova does: what is not there 404, what is taken 409, an address where they may not choose one 403, the
    rest 400.
    """
    ip = None if wanted.fixed_ips is UNSET else wanted.fixed_ips[0].ip
    tag = None if wanted.tag is UNSET else wanted.tag
    port = None if wanted.port is UNSET else wanted.port
    if wanted.network is not UNSET and port:
        raise Invalid("Must not input both network_id and port_id")
    if ip is not None and wanted.network is UNSET:
        raise Invalid("Must input network_id when request IP address")
    if port:
        found = await call.cloud.networks.port(PortId(canonical(port)), project)
        if found is None:
            raise NotFound(f"Port id {port} could not be found.")
        if found.device_id:
            raise Conflict(f"Port {found.id} is still in use.")
        if not found.fixed_ips:
            raise Invalid(f"Port {found.id} requires a FixedIP in order to be used.")
        return PortWish(found.network, port=found.id, tag=tag)
    if wanted.network is UNSET:
        return await _only_one(call, project, tag)
    network = await call.cloud.networks.network(NetworkId(canonical(wanted.network)), project)
    if network is None:
        raise NotFound(f"Network {wanted.network} could not be found.")
    network_wishes.with_subnet(network)
    fixed_ip = network_wishes.chosen(call, ip, network, project) if ip else None
    if fixed_ip is not None and await call.cloud.networks.is_taken(network.id, fixed_ip):
        raise Conflict(f"Fixed IP address {fixed_ip} is already in use.")
    return PortWish(network.id, fixed_ip=fixed_ip, tag=tag)


async def _only_one(call: Call, project: ProjectId, tag: str | None) -> PortWish:
    usable = [network for network in await call.cloud.networks.available(project) if network.admin_state_up]
    if len(usable) > 1:
        raise Invalid(network_wishes.AMBIGUOUS)
    if not usable:
        raise Invalid(f"No specific network was requested and none are available for project '{project}'.")
    return PortWish(network_wishes.with_subnet(usable[0]).id, tag=tag)


async def detach(call: Call) -> Reply:
    server = await find_server(call, "os_compute_api:os-attach-interfaces:delete")
    await call.cloud.database.read(lambda tx: permitted(tx, server.id, "detach_interface", asked(call)))
    port = await _port(call, server)
    await call.cloud.database.transact(
        lambda tx: accept_detach_interface(call.cloud, tx, asked(call), server.id, port.id, port.mac)
    )
    return Reply(202)


async def _port(call: Call, server: Server) -> Port:
    wanted = call.path["port"].lower()
    for port in await call.cloud.networks.ports(server.id):
        if port.id == wanted:
            return port
    raise NotFound(f"Instance {server.id} does not have a port with id {call.path['port']}")


def _shown(version: Version, port: Port) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "net_id": port.network,
        "port_id": port.id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": fixed.subnet, "ip_address": fixed.ip} for fixed in port.fixed_ips],
    }
    if version >= (2, 70):
        shown["tag"] = port.tag
    return shown


_PATH = "/servers/{server}/os-interface"

ROUTES = [
    route("GET", _PATH, index),
    route("POST", _PATH, attach),
    route("GET", f"{_PATH}/{{port}}", show),
    route("DELETE", f"{_PATH}/{{port}}", detach),
]
