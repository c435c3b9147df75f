"""Ports: addresses on networks, which servers have and hosts plug. Called by `partners.network` and `api.network`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from renova.model.chance import Chance
from renova.model.errors import Conflict, NotFound
from renova.model.guest import Address, Nic
from renova.model.ids import PortId, ProjectId, ServerId, SubnetId
from renova.model.network import FixedIp, Network, Port
from renova.store.database import Tx
from renova.store.networks import addresses, give_address, networks, subnets
from renova.store.schema import Document, Number, Stamp, metadata
from renova.store.security_groups import give_groups, port_security_groups

ports = Table(
    "ports",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("network", String(36), ForeignKey("networks.id"), nullable=False, index=True),
    Column("project", String(36), nullable=False, index=True),
    Column("mac", String(17), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("device_id", String(255), nullable=False, index=True),
    Column("device_owner", String(255), nullable=False),
    Column("nic", Number),  # number of the server's nic that this port is; null when it is none
    Column("host", String(255), nullable=False),
    Column("made_by_compute", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("tag", String(60)),
    Column("profile", Document(dict[str, str]), nullable=False, default={}),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
    UniqueConstraint("device_id", "nic"),
)

_columns = [ports.c[name] for name in Port.__struct_fields__ if name not in ("fixed_ips", "security_groups")]


class _Query(NamedTuple):
    """What reads ports with all their parts."""

    ports: Select[Any]
    addresses: Select[Any]
    groups: Select[Any]


def _query(*where: Any, order: tuple[Any, ...] = ()) -> _Query:
    chosen = select(ports.c.id).where(*where)
    return _Query(
        select(*_columns).where(*where).order_by(*order, ports.c.created_at, ports.c.id),
        select(addresses).where(addresses.c.port.in_(chosen)).order_by(addresses.c.port, addresses.c.position),
        select(port_security_groups).where(port_security_groups.c.port.in_(chosen)),
    )


# Made once: making a statement costs five times as much as running it.
_BY_ID = _query(ports.c.id == bindparam("port"))
_OF_SERVER = _query(ports.c.device_id == bindparam("server"), ports.c.nic.is_not(None), order=(ports.c.nic,))
_OF_NIC = _query(ports.c.device_id == bindparam("server"), ports.c.nic == bindparam("nic"))
_NICS = (
    select(
        ports.c.id,
        ports.c.mac,
        ports.c.network,
        networks.c.vni,
        networks.c.mtu,
        networks.c.name.label("network_name"),
        ports.c.profile,
        ports.c.tag,
        subnets.c.id.label("subnet"),
        subnets.c.routes,
        addresses.c.number,
        subnets.c.cidr,
        subnets.c.gateway,
        subnets.c.dns,
    )
    .join(networks, networks.c.id == ports.c.network)
    .outerjoin(addresses, addresses.c.port == ports.c.id)
    .outerjoin(subnets, subnets.c.id == addresses.c.subnet)
    .where(ports.c.device_id == bindparam("server"), ports.c.nic.is_not(None))
    .order_by(ports.c.nic, addresses.c.position)
)
_NEXT_NIC = select(func.max(ports.c.nic) + 1).where(ports.c.device_id == bindparam("server"))
_MAC = select(ports.c.id).where(ports.c.mac == bindparam("mac"))
_ADD = insert(ports)
_CHANGE = update(ports).where(ports.c.id == bindparam("wanted"))
_SETTLE = update(ports).where(ports.c.device_id == bindparam("server"), ports.c.nic.is_not(None))


Wanted = tuple[tuple[SubnetId | None, str | None], ...]  # an address each: (of which subnet, which), None: any


class NewPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port to be made; without `fixed_ips` it gets a free address, if the network has subnets."""

    id: PortId
    project: ProjectId
    name: str = ""
    mac: str | None = None
    fixed_ips: Wanted | None = None
    admin_state_up: bool = True
    device_id: str = ""
    device_owner: str = ""
    nic: int | None = None
    host: str = ""
    made_by_compute: bool = False
    description: str = ""
    security_groups: tuple[str, ...] = ()
    profile: dict[str, str] = {}
    tag: str | None = None


def port(tx: Tx, port_id: str) -> Port | None:
    found = _read(tx, _BY_ID, {"port": port_id})
    return found[0] if found else None


def find(tx: Tx, **those: list[str]) -> list[Port]:
    """List the ports whose columns have one of the values given for each, oldest first."""
    return _read(tx, _query(*(ports.c[name].in_(values) for name, values in those.items())))


def of_server(tx: Tx, server: ServerId) -> list[Port]:
    """List the ports that are nics of the server, in their order.

    A port whose `device_id` somebody merely set to the server's id is none of them.
    """
    return _read(tx, _OF_SERVER, {"server": server})


def settle(tx: Tx, server: ServerId, status: str) -> None:
    """Give all nics of the server this status."""
    tx.execute(_SETTLE, {"server": server, "status": status})


def of_nic(tx: Tx, server: ServerId, index: int) -> Port | None:
    found = _read(tx, _OF_NIC, {"server": server, "nic": index})
    return found[0] if found else None


def is_nic(tx: Tx, port_id: str) -> bool:
    """Say whether the port is a nic of a server, and thus the compute service's to change."""
    return tx.execute(select(ports.c.nic).where(ports.c.id == port_id)).scalar() is not None


def any_on(tx: Tx, network_id: str, *, not_of: str | None = None) -> bool:
    """Say whether the network has ports (of other projects than this one)."""
    query = select(ports.c.id).where(ports.c.network == network_id).limit(1)
    return tx.execute(query if not_of is None else query.where(ports.c.project != not_of)).first() is not None


def _read(tx: Tx, query: _Query, values: Mapping[str, Any] | None = None) -> list[Port]:
    rows = tx.execute(query.ports, values).all()
    if not rows:
        return []
    fixed: dict[str, list[FixedIp]] = {row.id: [] for row in rows}
    for row in tx.execute(query.addresses, values):
        fixed[row.port].append(FixedIp(subnet=row.subnet, ip=_ip(row.number)))
    groups: dict[str, list[str]] = {row.id: [] for row in rows}
    for row in tx.execute(query.groups, values):
        groups[row.port].append(row.security_group)
    return [
        Port(**row._mapping, fixed_ips=tuple(fixed[row.id]), security_groups=tuple(sorted(groups[row.id])))
        for row in rows
    ]


def _ip(number: int) -> str:
    return ".".join(str(byte) for byte in number.to_bytes(4))


def add(tx: Tx, chance: Chance, on: Network, new: NewPort) -> Port:
    """Make a port with its addresses. `Conflict` for a MAC or address in use, or when no address is free."""
    if new.mac is not None and _mac_in_use(tx, new.mac):
        raise Conflict(f"Unable to complete operation for network {on.id}. The mac address {new.mac} is in use.")
    values: dict[str, Any] = {
        "id": new.id,
        "name": new.name,
        "network": on.id,
        "project": new.project,
        "mac": new.mac or _free_mac(tx, chance),
        "status": "DOWN",
        "admin_state_up": new.admin_state_up,
        "device_id": new.device_id,
        "device_owner": new.device_owner,
        "host": new.host,
        "made_by_compute": new.made_by_compute,
        "description": new.description,
        "profile": new.profile,
        "tag": new.tag,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    tx.execute(_ADD, {"nic": new.nic, **values})
    wanted = new.fixed_ips if new.fixed_ips is not None else ((None, None),) if on.subnets else ()
    return Port(
        **values,
        fixed_ips=_give_addresses(tx, on, new.id, wanted),
        security_groups=give_groups(tx, new.id, new.security_groups),
    )


def _give_addresses(tx: Tx, on: Network, port_id: str, wanted: Wanted) -> tuple[FixedIp, ...]:
    return tuple(give_address(tx, on, port_id, position, *each) for position, each in enumerate(wanted))


def _mac_in_use(tx: Tx, mac: str) -> bool:
    return tx.execute(_MAC, {"mac": mac}).first() is not None


def _free_mac(tx: Tx, chance: Chance) -> str:
    while True:
        tail = chance.uuid()[-6:]
        mac = f"fa:16:3e:{tail[:2]}:{tail[2:4]}:{tail[4:]}"
        if not _mac_in_use(tx, mac):
            return mac


def change(tx: Tx, port_id: str, **values: Any) -> None:
    """Change columns of a port. `NotFound`."""
    if tx.execute(_CHANGE, {"wanted": port_id, "updated_at": tx.now, **values}).rowcount == 0:
        raise NotFound(f"Port {port_id} could not be found.")


def change_addresses(tx: Tx, on: Network, port_id: str, wanted: Wanted) -> None:
    """Have the port hold exactly these addresses."""
    tx.execute(delete(addresses).where(addresses.c.port == port_id))
    _give_addresses(tx, on, port_id, wanted)


def remove(tx: Tx, port_id: str) -> None:
    tx.execute(delete(ports).where(ports.c.id == port_id))


def release_server(tx: Tx, server: ServerId) -> None:
    """Delete the ports made for the server, and free and unbind the others that are its nics."""
    _release(tx, ports.c.device_id == server, ports.c.nic.is_not(None))


def release_port(tx: Tx, server: ServerId, port_id: str) -> None:
    """Delete the port if it was made for the server, or free and unbind it; only if it is one of the server's nics."""
    _release(tx, ports.c.device_id == server, ports.c.nic.is_not(None), ports.c.id == port_id)


def _release(tx: Tx, *its: ColumnElement[bool]) -> None:
    tx.execute(delete(ports).where(*its, ports.c.made_by_compute))
    tx.execute(
        update(ports)
        .where(*its)
        .values(device_id="", device_owner="", nic=None, tag=None, host="", status="DOWN", updated_at=tx.now)
    )


def next_nic(tx: Tx, server: ServerId) -> int:
    """Return a number that none of the server's nics has."""
    return int(tx.execute(_NEXT_NIC, {"server": server}).scalar() or 0)


def nics(tx: Tx, server: ServerId) -> tuple[Nic, ...]:
    """Return the server's ports as its guest is to have them, in the order of its nics."""
    rows: dict[str, list[Any]] = {}
    for row in tx.execute(_NICS, {"server": server}):
        rows.setdefault(row.id, []).append(row)
    return tuple(_nic(each) for each in rows.values())


def _nic(rows: Sequence[Any]) -> Nic:
    """Return the nic of these rows: one an address, or one without."""
    port = rows[0]
    return Nic(
        port=port.id,
        mac=port.mac,
        network=port.network,
        vni=port.vni,
        mtu=port.mtu,
        addresses=tuple(_address(row) for row in rows if row.number is not None),
        network_name=port.network_name,
        profile=port.profile,
        tag=port.tag,
    )


def _address(row: Any) -> Address:
    return Address(
        ip=_ip(row.number),
        prefix=int(row.cidr.partition("/")[2]),
        gateway=row.gateway,
        dns=row.dns,
        routes=row.routes,
        subnet=row.subnet,
    )
