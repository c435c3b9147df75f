"""What answers look like, and what all requests share: who owns what is made, and whether a name is one."""

from ipaddress import IPv4Address
from typing import Any

from renova.api.http import Call
from renova.model.errors import Invalid
from renova.model.ids import ProjectId
from renova.model.network import Network, Port, Subnet
from renova.store.security_groups import SecurityGroup, SecurityRule


def owner(call: Call, *asked: str | None) -> ProjectId:
    """Return the project a new thing will belong to: that asked for (policy says who may), or the caller's."""
    return ProjectId(next((project for project in asked if project), call.caller.project))


def checked_name(name: str) -> str:
    if len(name) > 255:
        raise Invalid("Invalid input for name. Reason: it exceeds maximum length of 255.")
    return name


def _time(stamp: str) -> str:
    return f"{stamp[:19]}Z"


def network_shape(call: Call, network: Network) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project,
        "project_id": network.project,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        "mtu": network.mtu,
        "shared": network.shared,
        "router:external": False,
        "subnets": [subnet.id for subnet in network.subnets],
        "availability_zone_hints": [],
        "availability_zones": [],
        "description": network.description,
        "created_at": _time(network.created_at),
        "updated_at": _time(network.updated_at),
    }
    if call.allows("get_network:provider:segmentation_id"):
        shape |= {
            "provider:network_type": "vxlan",
            "provider:physical_network": None,
            "provider:segmentation_id": network.vni,
        }
    return shape


def subnet_shape(subnet: Subnet) -> dict[str, Any]:
    return {
        "id": subnet.id,
        "name": subnet.name,
        "tenant_id": subnet.project,
        "project_id": subnet.project,
        "network_id": subnet.network,
        "ip_version": 4,
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway,
        "allocation_pools": _pools(subnet),
        "dns_nameservers": list(subnet.dns),
        "host_routes": [{"destination": each.destination, "nexthop": each.next_hop} for each in subnet.routes],
        "enable_dhcp": subnet.enable_dhcp,
        "ipv6_address_mode": None,
        "ipv6_ra_mode": None,
        "subnetpool_id": None,
        "description": "",
        "created_at": _time(subnet.created_at),
        "updated_at": _time(subnet.updated_at),
    }


def _pools(subnet: Subnet) -> list[dict[str, str]]:
    """Return the ranges addresses are given from: the subnet's, without the gateway."""
    first, last = IPv4Address(subnet.first), IPv4Address(subnet.last)
    ranges = [(first, last)]
    if subnet.gateway is not None and first <= IPv4Address(subnet.gateway) <= last:
        gateway = IPv4Address(subnet.gateway)
        ranges = [(first, gateway - 1), (gateway + 1, last)]
    return [{"start": str(start), "end": str(end)} for start, end in ranges if start <= end]


def port_shape(call: Call, port: Port) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": port.id,
        "name": port.name,
        "tenant_id": port.project,
        "project_id": port.project,
        "network_id": port.network,
        "mac_address": port.mac,
        "fixed_ips": [{"subnet_id": fixed.subnet, "ip_address": fixed.ip} for fixed in port.fixed_ips],
        "status": port.status,
        "admin_state_up": port.admin_state_up,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "security_groups": list(port.security_groups),
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "binding:vnic_type": "normal",
        "description": port.description,
        "created_at": _time(port.created_at),
        "updated_at": _time(port.updated_at),
    }
    if call.allows("get_port:binding:host_id"):
        shape |= {
            "binding:host_id": port.host,
            "binding:profile": port.profile,
            "binding:vif_type": "bridge" if port.host else "unbound",
            # Security groups do not filter anything yet.
            "binding:vif_details": {"port_filter": False} if port.host else {},
        }
    return shape


def group_shape(group: SecurityGroup) -> dict[str, Any]:
    return {
        "id": group.id,
        "name": group.name,
        "tenant_id": group.project,
        "project_id": group.project,
        "description": group.description,
        "stateful": group.stateful,
        "shared": False,
        "security_group_rules": [rule_shape(rule) for rule in group.rules],
        "created_at": _time(group.created_at),
        "updated_at": _time(group.updated_at),
    }


def rule_shape(rule: SecurityRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "tenant_id": rule.project,
        "project_id": rule.project,
        "security_group_id": rule.security_group,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": rule.remote_cidr,
        "remote_group_id": rule.remote_group,
        "remote_address_group_id": None,
        "description": rule.description,
        "created_at": _time(rule.created_at),
        "updated_at": _time(rule.created_at),
    }
