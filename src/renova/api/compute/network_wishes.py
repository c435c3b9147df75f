"""The networks that a new server is asked to have: checked, and turned into wishes for ports."""

import ipaddress
from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from renova.api.compute.fields import Body, Tag, Uuid, address, canonical
from renova.api.http import Call, Version
from renova.model.errors import Conflict, Invalid
from renova.model.ids import NetworkId, PortId, ProjectId
from renova.model.network import Network
from renova.partners.network import PortWish

AMBIGUOUS = "Multiple possible networks found, use a Network ID to be more specific."


class WantedNetwork(Body):
    """An entry of `networks`."""

    SINCE: ClassVar[dict[str, Version]] = {"tag": (2, 32)}

    uuid: str | UnsetType | None = UNSET
    port: Uuid | UnsetType | None = UNSET
    fixed_ip: str | UnsetType | None = UNSET
    tag: Tag | UnsetType = UNSET


Wanted = list[WantedNetwork] | Literal["none", "auto"]


async def wishes(call: Call, wanted: Wanted | UnsetType, servers: int) -> tuple[PortWish, ...]:
    """Return what the request wishes. `Invalid` for what cannot be, `Conflict` where it is not clear or taken."""
    if wanted is UNSET and call.version >= (2, 37):
        raise Invalid("Invalid input: Object missing required field `networks` - at `$.server`")
    if isinstance(wanted, str) and call.version < (2, 37):
        raise Invalid("Invalid input: Expected `array`, got `str` - at `$.server.networks`")
    if wanted == "none":
        return ()
    if isinstance(wanted, (str, UnsetType)) or not wanted:
        return await _only_one(call, must=wanted == "auto")
    found: list[PortWish] = []
    for entry in wanted:
        wish = await _wish(call, entry, servers)
        if wish.port is not None and any(other.port == wish.port for other in found):
            raise Invalid(f"Port {wish.port} is asked for twice.")
        found.append(wish)
    return tuple(found)


async def _only_one(call: Call, *, must: bool) -> tuple[PortWish, ...]:
    """Wish for the network that the project may use, if there is one and only one."""
    usable = [network for network in await call.cloud.networks.available(call.caller.project) if network.admin_state_up]
    if len(usable) > 1:
        raise Conflict(AMBIGUOUS)
    if not usable and must:
        raise Invalid("Unable to automatically allocate a network for the project: it has none.")
    return tuple(PortWish(with_subnet(network).id) for network in usable)


async def _wish(call: Call, entry: WantedNetwork, servers: int) -> PortWish:
    tag = entry.tag if isinstance(entry.tag, str) else None
    if servers > 1 and (entry.port or entry.fixed_ip):
        raise Invalid("Only one server can be created with a port or a fixed address.")
    if entry.port:
        if entry.fixed_ip:
            raise Invalid(f"Fixed IP {entry.fixed_ip} and port {entry.port} cannot be specified together.")
        return await _of_port(call, PortId(canonical(entry.port)), tag)
    if not entry.uuid:
        raise Invalid("Bad networks format: missing 'uuid'")
    network = await call.cloud.networks.network(NetworkId(entry.uuid), call.caller.project)
    if network is None:
        raise Invalid(f"Network {entry.uuid} could not be found.")
    with_subnet(network)
    ip = chosen(call, entry.fixed_ip, network, call.caller.project) if entry.fixed_ip else None
    return PortWish(network.id, fixed_ip=ip, tag=tag)


async def _of_port(call: Call, wanted: PortId, tag: str | None) -> PortWish:
    port = await call.cloud.networks.port(wanted, call.caller.project)
    if port is None:
        raise Invalid(f"Port id {wanted} could not be found.")
    if port.device_id:
        raise Conflict(f"Port {port.id} is still in use.")
    if not port.fixed_ips:
        raise Invalid(f"Port {port.id} requires a FixedIP in order to be used.")
    return PortWish(port.network, port=port.id, tag=tag)


def with_subnet(network: Network) -> Network:
    """Return the network; `Invalid` where it has no addresses to give."""
    if not network.subnets:
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.")
    return network


def chosen(call: Call, text: str, network: Network, project: ProjectId) -> str:
    """Return the address that a port of the project's is to have.

    `Invalid` unless it is one of the network's; `Forbidden` unless the caller may choose there. The rule is the Network
    API's, for the port is made by the cloud itself, and nobody looks at who asked any more.
    """
    ip = address(text, "fixed_ip")
    if not any(ipaddress.ip_address(ip) in ipaddress.ip_network(subnet.cidr) for subnet in network.subnets):
        raise Invalid(f"Fixed IP address {ip} is not a valid ip address for network {network.id}.")
    call.demand("create_port:fixed_ips:ip_address", {"project_id": project, "network:project_id": network.project})
    return ip
