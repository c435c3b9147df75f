"""Security groups and their rules. They are kept and shown; packets are not filtered by them yet."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.digits import whole
from renova.api.http import Call, Reply
from renova.api.network.lists import listing, narrowed
from renova.api.network.shapes import checked_name, group_shape, owner, rule_shape
from renova.model.errors import Conflict, Invalid, NotFound
from renova.store import security_groups as store
from renova.store.database import Tx

_PROTOCOLS = {
    "tcp",
    "udp",
    "icmp",
    "icmpv6",
    "ipv6-icmp",
    "sctp",
    "dccp",
    "udplite",
    "esp",
    "ah",
    "gre",
    "vrrp",
    "igmp",
}
_WITH_PORTS = {"tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136"}
_ICMP = {"icmp", "icmpv6", "ipv6-icmp", "1", "58"}


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    description: str = ""
    stateful: bool = True
    tenant_id: str | None = None
    project_id: str | None = None


class NewGroupBody(msgspec.Struct):
    security_group: NewGroup


class GroupChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


class GroupChangesBody(msgspec.Struct):
    security_group: GroupChanges


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    security_group_id: str
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: str | int | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: None = None
    description: str = ""
    tenant_id: str | None = None
    project_id: str | None = None


class NewRuleBody(msgspec.Struct):
    security_group_rule: NewRule


async def every(call: Call) -> Reply:
    project = None if call.allows("get_security_group", {"project_id": ""}) else call.caller.project
    return await _with_default(
        call, lambda tx: listing(call, "security_groups", map(group_shape, store.every_group(tx, project)))
    )


async def _with_default(call: Call, answer: Callable[[Tx], Reply]) -> Reply:
    """Answer with the caller's default group there, so that a list is never without it; who is refused makes none."""
    project = call.caller.project
    if not project or await call.cloud.database.read(lambda tx: store.has_default_group(tx, project)):
        return await call.cloud.database.read(answer)

    def with_it(tx: Tx) -> Reply:
        store.default_group(tx, call.cloud.chance, project)
        return answer(tx)

    return await call.cloud.database.transact(with_it)


async def one(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: _visible(call, tx, call.path["group"]))
    return Reply(200, {"security_group": narrowed(call, group_shape(found))})


async def create(call: Call) -> Reply:
    want = call.json(NewGroupBody, lax=True).security_group
    project = owner(call, want.project_id, want.tenant_id)
    call.demand("create_security_group", {"project_id": project})

    def add(tx: Tx) -> store.SecurityGroup:
        store.default_group(tx, call.cloud.chance, project)
        return store.add_group(
            tx,
            call.cloud.chance,
            project,
            checked_name(want.name),
            checked_name(want.description),
            stateful=want.stateful,
        )

    return Reply(201, {"security_group": group_shape(await call.cloud.database.transact(add))})


async def update(call: Call) -> Reply:
    want = call.json(GroupChangesBody, lax=True).security_group
    changes = {name: value for name, value in msgspec.structs.asdict(want).items() if value is not UNSET}
    for name in ("name", "description"):
        checked_name(changes.get(name, ""))

    def change(tx: Tx) -> store.SecurityGroup:
        found = _visible(call, tx, call.path["group"])
        call.demand("update_security_group", {"project_id": found.project})
        if changes.get("name", found.name) != found.name and store.DEFAULT in (found.name, changes["name"]):
            raise Conflict("Updating default security group not allowed.")
        return store.change_group(tx, found.id, **changes)

    return Reply(200, {"security_group": group_shape(await call.cloud.database.transact(change))})


async def delete(call: Call) -> Reply:
    def remove(tx: Tx) -> None:
        found = _visible(call, tx, call.path["group"])
        call.demand("delete_security_group", {"project_id": found.project})
        if found.name == store.DEFAULT and not call.allows("admin_api"):
            raise Conflict("Insufficient rights for removing default security group.")
        store.remove_group(tx, found.id)

    await call.cloud.database.transact(remove)
    return Reply(204)


def _visible(call: Call, tx: Tx, group_id: str) -> store.SecurityGroup:
    found = store.group(tx, group_id)
    if found is None or not call.allows("get_security_group", {"project_id": found.project}):
        raise NotFound(f"Security group {group_id} does not exist")
    return found


async def every_rule(call: Call) -> Reply:
    project = None if call.allows("get_security_group_rule", {"project_id": ""}) else call.caller.project
    return await _with_default(
        call, lambda tx: listing(call, "security_group_rules", map(rule_shape, store.every_rule(tx, project)))
    )


async def one_rule(call: Call) -> Reply:
    found = await call.cloud.database.read(lambda tx: _visible_rule(call, tx, call.path["rule"]))
    return Reply(200, {"security_group_rule": narrowed(call, rule_shape(found))})


async def create_rule(call: Call) -> Reply:
    want = call.json(NewRuleBody, lax=True).security_group_rule
    protocol = _checked_protocol(want.protocol)
    _demand_ports_fit(protocol, want.port_range_min, want.port_range_max)
    if want.remote_ip_prefix is not None and want.remote_group_id is not None:
        raise Invalid("Only remote_ip_prefix or remote_group_id may be provided.")
    cidr = _checked_cidr(want.remote_ip_prefix, want.ethertype)

    def add(tx: Tx) -> store.SecurityRule:
        group = _visible(call, tx, want.security_group_id)
        call.demand("create_security_group_rule", {"project_id": group.project})
        if want.remote_group_id is not None:
            _visible(call, tx, want.remote_group_id)
        new = store.SecurityRule(
            id=call.cloud.chance.uuid(),
            security_group=group.id,
            project=group.project,
            direction=want.direction,
            ethertype=want.ethertype,
            protocol=protocol,
            port_min=want.port_range_min,
            port_max=want.port_range_max,
            remote_cidr=cidr,
            remote_group=want.remote_group_id,
            description=checked_name(want.description),
            created_at=tx.now,
        )
        store.add_rule(tx, new)
        return new

    return Reply(201, {"security_group_rule": rule_shape(await call.cloud.database.transact(add))})


async def delete_rule(call: Call) -> Reply:
    def remove(tx: Tx) -> None:
        found = _visible_rule(call, tx, call.path["rule"])
        call.demand("delete_security_group_rule", {"project_id": found.project})
        store.remove_rule(tx, found.id)

    await call.cloud.database.transact(remove)
    return Reply(204)


def _visible_rule(call: Call, tx: Tx, rule_id: str) -> store.SecurityRule:
    found = store.rule(tx, rule_id)
    if found is None or not call.allows("get_security_group_rule", {"project_id": found.project}):
        raise NotFound(f"Security group rule {rule_id} does not exist")
    return found


def _checked_protocol(asked: str | int | None) -> str | None:
    if asked is None or str(asked).lower() in ("any", ""):
        return None
    protocol = str(asked).lower()
    number = whole(protocol)
    if protocol in _PROTOCOLS or (number is not None and number <= 255):
        return protocol
    raise Invalid(f"Security group rule protocol {asked} not supported.")


def _demand_ports_fit(protocol: str | None, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    ports: dict[str, Any] = {"low": low, "high": high}
    if protocol in _ICMP:
        fits = low is not None and all(each is None or 0 <= each <= 255 for each in ports.values())
    else:
        fits = protocol in _WITH_PORTS and low is not None and high is not None and 1 <= low <= high <= 65535
    if not fits:
        raise Invalid(f"Invalid port range {low}-{high} for protocol {protocol}.")


def _checked_cidr(asked: str | None, ethertype: str) -> str | None:
    if asked is None:
        return None
    try:
        cidr = ip_network(asked, strict=False)
    except ValueError as error:
        raise Invalid(f"Invalid input for remote_ip_prefix. Reason: '{asked}' is not a valid IP subnet.") from error
    if f"IPv{cidr.version}" != ethertype:
        raise Invalid(f"Conflicting value ethertype {ethertype} for CIDR {asked}.")
    return str(cidr)
