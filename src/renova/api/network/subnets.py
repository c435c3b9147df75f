"""Subnets: IPv4 ranges of networks."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.http import Call, Reply
from renova.api.network.lists import listing, narrowed
from renova.api.network.networks import visible as visible_network
from renova.api.network.shapes import checked_name, subnet_shape
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import SubnetId
from renova.model.network import Network, Subnet
from renova.model.network import Route as SubnetRoute
from renova.store import networks as store
from renova.store.database import Tx

MAX_ROUTES = 20  # Neutron's default


class Pool(msgspec.Struct):
    start: str
    end: str


class AskedRoute(msgspec.Struct, forbid_unknown_fields=True):
    destination: str
    nexthop: str


class NewSubnet(msgspec.Struct, forbid_unknown_fields=True):
    network_id: str
    cidr: str
    ip_version: int = 4
    name: str = ""
    description: str = ""
    gateway_ip: str | UnsetType | None = UNSET
    allocation_pools: list[Pool] | None = None
    dns_nameservers: list[str] | None = None
    host_routes: list[AskedRoute] | None = None
    enable_dhcp: bool = True
    tenant_id: str | None = None
    project_id: str | None = None
    subnetpool_id: None = None


class NewSubnetBody(msgspec.Struct):
    subnet: NewSubnet


class SubnetChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    gateway_ip: str | UnsetType | None = UNSET
    allocation_pools: list[Pool] | UnsetType = UNSET
    dns_nameservers: list[str] | UnsetType = UNSET
    host_routes: list[AskedRoute] | UnsetType = UNSET
    enable_dhcp: bool | UnsetType = UNSET


class SubnetChangesBody(msgspec.Struct):
    subnet: SubnetChanges


async def every(call: Call) -> Reply:
    project = None if call.allows("get_subnet", {"project_id": "", "shared": "False"}) else call.caller.project
    found = await call.cloud.database.read(lambda tx: store.every_network(tx, project))
    return listing(call, "subnets", (subnet_shape(subnet) for network in found for subnet in network.subnets))


async def one(call: Call) -> Reply:
    _, found = await call.cloud.database.read(lambda tx: _visible(call, tx, call.path["subnet"]))
    return Reply(200, {"subnet": narrowed(call, subnet_shape(found))})


async def create(call: Call) -> Reply:
    want = call.json(NewSubnetBody, lax=True).subnet
    if want.ip_version != 4:
        raise Invalid("Invalid input for ip_version. Reason: only IPv4 subnets can be made.")
    if want.description:
        raise Invalid("Invalid input for description. Reason: subnets have none.")
    cidr = _cidr(want.cidr)
    hosts = (cidr.network_address + 1, cidr.broadcast_address - 1)
    gateway = str(hosts[0]) if want.gateway_ip is UNSET else want.gateway_ip or None
    first, last = _pool(want.allocation_pools) if want.allocation_pools else hosts
    if want.allocation_pools:
        _demand_gateway_outside(gateway, first, last)
    dns = tuple(_address(each) for each in want.dns_nameservers or ())
    routes = _routes(want.host_routes or [])

    def add(tx: Tx) -> Subnet:
        network = visible_network(call, tx, want.network_id)
        call.demand("create_subnet", _target(network))
        made = Subnet(
            id=SubnetId(call.cloud.chance.uuid()),
            name=checked_name(want.name),
            network=network.id,
            project=network.project,
            cidr=str(cidr),
            gateway=gateway,
            dns=dns,
            first=str(first),
            last=str(last),
            enable_dhcp=want.enable_dhcp,
            created_at=tx.now,
            updated_at=tx.now,
            routes=routes,
        )
        _demand_inside(made)
        store.add_subnet(tx, made)
        return made

    return Reply(201, {"subnet": subnet_shape(await call.cloud.database.transact(add))})


async def update(call: Call) -> Reply:
    want = call.json(SubnetChangesBody, lax=True).subnet
    changes: dict[str, Any] = {}
    if want.name is not UNSET:
        changes["name"] = checked_name(want.name)
    if want.enable_dhcp is not UNSET:
        changes["enable_dhcp"] = want.enable_dhcp
    if want.gateway_ip is not UNSET:
        changes["gateway"] = want.gateway_ip or None
    if want.dns_nameservers is not UNSET:
        changes["dns"] = tuple(_address(each) for each in want.dns_nameservers)
    if want.host_routes is not UNSET:
        changes["routes"] = _routes(want.host_routes)
    if want.allocation_pools is not UNSET:
        first, last = _pool(want.allocation_pools)
        changes |= {"first": str(first), "last": str(last)}

    def change(tx: Tx) -> Subnet:
        network, old = _visible(call, tx, call.path["subnet"])
        call.demand("update_subnet", _target(network))
        new = msgspec.structs.replace(old, **changes)
        _demand_inside(new)
        if "first" in changes:
            _demand_gateway_outside(new.gateway, IPv4Address(new.first), IPv4Address(new.last))
        return store.change_subnet(tx, new)

    return Reply(200, {"subnet": subnet_shape(await call.cloud.database.transact(change))})


async def delete(call: Call) -> Reply:
    def remove(tx: Tx) -> None:
        network, found = _visible(call, tx, call.path["subnet"])
        call.demand("delete_subnet", _target(network))
        store.remove_subnet(tx, found.id)

    await call.cloud.database.transact(remove)
    return Reply(204)


def _visible(call: Call, tx: Tx, subnet_id: str) -> tuple[Network, Subnet]:
    found = store.subnet(tx, subnet_id)
    network = store.network(tx, found.network) if found else None
    if found is None or network is None or not call.allows("get_subnet", _target(network)):
        raise NotFound(f"Subnet {subnet_id} could not be found.")
    return network, found


def _target(network: Network) -> dict[str, str]:
    return {
        "project_id": network.project,
        "network:project_id": network.project,
        "shared": str(network.shared),
    }


def _cidr(text: str) -> IPv4Network:
    try:
        cidr = IPv4Network(text)
    except ValueError as error:
        raise Invalid(f"Invalid input for cidr. Reason: '{text}' is not a valid IPv4 subnet: {error}.") from error
    if cidr.prefixlen > 30 or cidr.is_multicast or cidr.is_loopback or cidr.is_unspecified:
        raise Invalid(f"Invalid input for cidr. Reason: '{text}' has no addresses for ports.")
    return cidr


def _routes(asked: list[AskedRoute]) -> tuple[SubnetRoute, ...]:
    if len(asked) > MAX_ROUTES:
        raise Invalid(f"Invalid input for host_routes. Reason: a subnet has at most {MAX_ROUTES}.")
    routes = []
    for each in asked:
        try:
            destination = IPv4Network(each.destination)
        except ValueError as error:
            raise Invalid(f"Invalid input for host_routes. Reason: '{each.destination}' is no IPv4 CIDR.") from error
        routes.append(SubnetRoute(str(destination), _address(each.nexthop)))
    if len({route.destination for route in routes}) < len(routes):
        raise Invalid("Invalid input for host_routes. Reason: a destination is given twice.")
    return tuple(routes)


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise Invalid(f"Invalid input: '{text}' is not a valid IPv4 address.") from error


def _pool(pools: list[Pool]) -> tuple[IPv4Address, IPv4Address]:
    if len(pools) != 1:
        raise Invalid("Invalid input for allocation_pools. Reason: a subnet has exactly one.")
    first, last = IPv4Address(_address(pools[0].start)), IPv4Address(_address(pools[0].end))
    if first > last:
        raise Invalid(f"Invalid input for allocation_pools. Reason: '{first}-{last}' is no range.")
    return first, last


def _demand_inside(subnet: Subnet) -> None:
    cidr = IPv4Network(subnet.cidr)
    named = {"allocation pool": (subnet.first, subnet.last), "gateway": (subnet.gateway,)}
    for what, each in named.items():
        for ip in each:
            inside = ip is None or cidr.network_address < IPv4Address(_address(ip)) < cidr.broadcast_address
            if not inside:
                raise Invalid(f"Invalid input for operation: the {what} {ip} is no host of subnet {cidr}.")


def _demand_gateway_outside(gateway: str | None, first: IPv4Address, last: IPv4Address) -> None:
    if gateway is not None and first <= IPv4Address(_address(gateway)) <= last:
        raise Conflict(f"Gateway ip {gateway} conflicts with allocation pool {first}-{last}.")
