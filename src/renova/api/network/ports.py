"""Ports."""

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from renova.api.http import Call, Reply
from renova.api.network.lists import listing, narrowed
from renova.api.network.networks import visible as visible_network
from renova.api.network.shapes import checked_name, owner, port_shape
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import PortId, ProjectId, SubnetId
from renova.model.network import Network, Port
from renova.store import networks, security_groups
from renova.store import ports as store
from renova.store.database import Tx

# Query parameters that one column answers; a list of all ports is never read to find a few.
_COLUMNS = {
    "id": "id",
    "network_id": "network",
    "device_id": "device_id",
    "project_id": "project",
    "tenant_id": "project",
    "mac_address": "mac",
}


class AskedAddress(msgspec.Struct):
    subnet_id: str | None = None
    ip_address: str | None = None


class NewPort(msgspec.Struct, forbid_unknown_fields=True):
    network_id: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    mac_address: str | None = None
    fixed_ips: list[AskedAddress] | None = None
    device_id: str = ""
    device_owner: str = ""
    security_groups: list[str] | None = None
    tenant_id: str | None = None
    project_id: str | None = None
    host: str = field(default="", name="binding:host_id")
    vnic_type: str = field(default="normal", name="binding:vnic_type")
    profile: dict[str, str] | None = field(default=None, name="binding:profile")


class NewPortBody(msgspec.Struct):
    port: NewPort


class PortChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    fixed_ips: list[AskedAddress] | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    device_owner: str | UnsetType = UNSET
    security_groups: list[str] | UnsetType = UNSET
    host: str | UnsetType | None = field(default=UNSET, name="binding:host_id")
    vnic_type: str = field(default="normal", name="binding:vnic_type")
    profile: dict[str, str] | UnsetType | None = field(default=UNSET, name="binding:profile")


class PortChangesBody(msgspec.Struct):
    port: PortChanges


async def every(call: Call) -> Reply:
    those: dict[str, list[str]] = {}
    for name, value in call.query:
        if name in _COLUMNS:
            those.setdefault(_COLUMNS[name], []).append(value)
    if not call.allows("get_port", {"project_id": ""}):
        asked = those.get("project", [call.caller.project])
        those["project"] = [project for project in asked if project == call.caller.project]
    found = await call.cloud.database.read(lambda tx: store.find(tx, **those))
    return listing(call, "ports", (port_shape(call, port) for port in found))


async def one(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: _visible(call, tx, call.path["port"]))
    return Reply(200, {"port": narrowed(call, port_shape(call, found))})


async def create(call: Call) -> Reply:
    want = call.json(NewPortBody, lax=True).port
    _demand_normal(want.vnic_type)
    project = owner(call, want.project_id, want.tenant_id)
    mac = want.mac_address.lower() if want.mac_address else None
    if mac is not None and (not re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) or int(mac[:2], 16) & 1):
        raise Invalid(f"Invalid input for mac_address. Reason: '{mac}' is not a valid MAC address.")

    def add(tx: Tx) -> Port:
        network = visible_network(call, tx, want.network_id)
        target = _target(project, network)
        call.demand("create_port", target)
        if mac is not None:
            call.demand("create_port:mac_address", target)
        if any(fixed.ip_address for fixed in want.fixed_ips or ()):
            call.demand("create_port:fixed_ips:ip_address", target)
        if want.host:
            call.demand("create_port:binding:host_id", target)
        if want.profile:
            call.demand("create_port:binding:profile", target)
        new = store.NewPort(
            id=PortId(call.cloud.chance.uuid()),
            project=project,
            name=checked_name(want.name),
            mac=mac,
            fixed_ips=_addresses(want.fixed_ips) if want.fixed_ips is not None else None,
            admin_state_up=want.admin_state_up,
            device_id=checked_name(want.device_id),
            device_owner=checked_name(want.device_owner),
            host=checked_name(want.host),
            description=checked_name(want.description),
            security_groups=_groups(call, tx, project, want.security_groups),
            profile=_profile(want.profile),
        )
        return store.add(tx, call.cloud.chance, network, new)

    return Reply(201, {"port": port_shape(call, await call.cloud.database.transact(add))})


async def update(call: Call) -> Reply:
    want = call.json(PortChangesBody, lax=True).port
    _demand_normal(want.vnic_type)
    changes: dict[str, Any] = {
        name: value
        for name in ("name", "description", "admin_state_up", "device_id", "device_owner", "host")
        if (value := getattr(want, name)) is not UNSET
    }
    if "host" in changes:
        changes["host"] = changes["host"] or ""
    for name, value in changes.items():
        if name != "admin_state_up":
            checked_name(value)
    if want.profile is not UNSET:
        changes["profile"] = _profile(want.profile)

    def change(tx: Tx) -> Port:
        found = _visible(call, tx, call.path["port"])
        network = networks.network(tx, found.network)
        assert network is not None, "a port's network is never removed before it"
        target = _target(found.project, network)
        call.demand("update_port", target)
        if "host" in changes:
            call.demand("update_port:binding:host_id", target)
        if "profile" in changes:
            call.demand("update_port:binding:profile", target)
        kept_by_compute = {"device_id", "device_owner"} & changes.keys() or want.fixed_ips is not UNSET
        if kept_by_compute and store.is_nic(tx, found.id):
            raise Conflict(f"Port {found.id} is a nic of server {found.device_id}. Detach it from the server first.")
        if want.fixed_ips is not UNSET:
            if any(fixed.ip_address for fixed in want.fixed_ips):
                call.demand("update_port:fixed_ips:ip_address", target)
            store.change_addresses(tx, network, found.id, _addresses(want.fixed_ips))
        if want.security_groups is not UNSET:
            security_groups.change_groups(tx, found.id, _groups(call, tx, found.project, want.security_groups))
        store.change(tx, found.id, **changes)
        return _visible(call, tx, found.id)

    return Reply(200, {"port": port_shape(call, await call.cloud.database.transact(change))})


async def delete(call: Call) -> Reply:
    def remove(tx: Tx) -> None:
        found = _visible(call, tx, call.path["port"])
        call.demand("delete_port", {"project_id": found.project})
        if store.is_nic(tx, found.id):
            raise Conflict(f"Port {found.id} is a nic of server {found.device_id}. Detach it from the server first.")
        store.remove(tx, found.id)

    await call.cloud.database.transact(remove)
    return Reply(204)


def _visible(call: Call, tx: Tx, port_id: str) -> Port:
    found = store.port(tx, port_id)
    if found is None or not call.allows("get_port", {"project_id": found.project}):
        raise NotFound(f"Port {port_id} could not be found.")
    return found


def _target(project: ProjectId, network: Network) -> dict[str, str]:
    return {"project_id": project, "network:project_id": network.project}


def _demand_normal(vnic_type: str) -> None:
    if vnic_type != "normal":
        raise Invalid("Ports have the vnic_type 'normal'.")


def _profile(asked: dict[str, str] | None) -> dict[str, str]:
    for entry in (asked or {}).items():
        for text in entry:
            checked_name(text)
    return asked or {}


def _addresses(asked: list[AskedAddress]) -> store.Wanted:
    return tuple((SubnetId(each.subnet_id) if each.subnet_id else None, each.ip_address) for each in asked)


def _groups(call: Call, tx: Tx, project: ProjectId, asked: list[str] | None) -> tuple[str, ...]:
    if asked is None:
        return (security_groups.default_group(tx, call.cloud.chance, project),)
    for each in asked:
        found = security_groups.group(tx, each)
        if found is None or found.project != project:
            raise NotFound(f"Security group {each} does not exist")
    return tuple(asked)
