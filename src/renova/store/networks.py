"""Networks, their subnets, and who holds which address of them. Called by `partners.network` and `api.network`.

An address is a row: two ports can never hold the same one of a network, and a subnet's gateway is held by no port.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    String,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)

from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import NetworkId, ProjectId
from renova.model.network import FixedIp, Network, Route, Subnet
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

FIRST_VNI = 1000  # below are left to the operator's own segments
LAST_VNI = 2**24 - 1

networks = Table(
    "networks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("project", String(36), nullable=False, index=True),
    Column("shared", Boolean, nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("mtu", Number, nullable=False),
    Column("vni", Number, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)

subnets = Table(
    "subnets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("network", String(36), ForeignKey("networks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project", String(36), nullable=False),
    Column("cidr", String(18), nullable=False),
    Column("gateway", String(15)),
    Column("dns", Document(tuple[str, ...]), nullable=False),
    Column("routes", Document(tuple[Route, ...]), nullable=False, default=()),
    Column("first", String(15), nullable=False),
    Column("last", String(15), nullable=False),
    Column("enable_dhcp", Boolean, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
    # Where the search for a free address goes on: an address given back rests until its turn comes round again.
    Column("next_number", Number, nullable=False),
)

addresses = Table(
    "addresses",
    metadata,
    Column("network", String(36), ForeignKey("networks.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Number, primary_key=True),  # the IPv4 address
    Column("subnet", String(36), ForeignKey("subnets.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("port", String(36), ForeignKey("ports.id", ondelete="CASCADE"), index=True),  # null: the gateway
    Column("position", Number, nullable=False),  # among the addresses of its port
)

# Made once: making a statement costs five times as much as running it.
_NETWORK = select(networks).where(networks.c.id == bindparam("network"))
_SUBNETS_OF = (
    select(subnets).where(subnets.c.network == bindparam("network")).order_by(subnets.c.created_at, subnets.c.id)
)
_NEXT_NUMBER = select(subnets.c.next_number).where(subnets.c.id == bindparam("subnet"))
_GO_ON = update(subnets).where(subnets.c.id == bindparam("subnet"))
_HELD = select(addresses.c.number).where(
    addresses.c.network == bindparam("network"), addresses.c.number == bindparam("number")
)
_next = addresses.alias()
_AFTER_HELD = (  # the first free one that follows one held
    select(addresses.c.number + 1)
    .where(
        addresses.c.network == bindparam("network"),
        addresses.c.number.between(bindparam("low"), bindparam("high")),
        ~exists().where(_next.c.network == addresses.c.network, _next.c.number == addresses.c.number + 1),
    )
    .order_by(addresses.c.number)
    .limit(1)
)
_HOLD = insert(addresses)


def network(tx: Tx, network_id: str) -> Network | None:
    row = tx.execute(_NETWORK, {"network": network_id}).first()
    if row is None:
        return None
    return Network(**row._mapping, subnets=tuple(map(_subnet, tx.execute(_SUBNETS_OF, {"network": network_id}))))


def every_network(tx: Tx, project: str | None = None) -> list[Network]:
    """List the networks a project may use, its own and shared ones (None: all), oldest first."""
    return _networks(tx) if project is None else _networks(tx, (networks.c.project == project) | networks.c.shared)


def _networks(tx: Tx, *where: Any) -> list[Network]:
    rows = tx.execute(select(networks).where(*where).order_by(networks.c.created_at, networks.c.vni)).all()
    parts: dict[str, list[Subnet]] = {row.id: [] for row in rows}
    for subnet in _subnets(tx, subnets.c.network.in_(select(networks.c.id).where(*where))):
        parts[subnet.network].append(subnet)
    return [Network(**row._mapping, subnets=tuple(parts[row.id])) for row in rows]


def add_network(
    tx: Tx, network_id: NetworkId, project: ProjectId, name: str, *, shared: bool, up: bool, mtu: int, description: str
) -> Network:
    """Make a network on a segment that no other has."""
    made = Network(
        id=network_id,
        name=name,
        project=project,
        shared=shared,
        admin_state_up=up,
        mtu=mtu,
        vni=_free_vni(tx),
        description=description,
        created_at=tx.now,
        updated_at=tx.now,
    )
    values = msgspec.structs.asdict(made)
    del values["subnets"]
    tx.execute(insert(networks).values(**values))
    return made


def _free_vni(tx: Tx) -> int:
    free = FIRST_VNI
    for row in tx.execute(select(networks.c.vni).where(networks.c.vni >= FIRST_VNI).order_by(networks.c.vni)):
        if row.vni != free:
            break
        free += 1
    if free > LAST_VNI:
        raise Conflict("Unable to create the network. No tenant network is available for allocation.")
    return free


def change_network(tx: Tx, network_id: str, **values: Any) -> Network:
    tx.execute(update(networks).where(networks.c.id == network_id).values(updated_at=tx.now, **values))
    changed = network(tx, network_id)
    if changed is None:
        raise NotFound(f"Network {network_id} could not be found.")
    return changed


def remove_network(tx: Tx, network_id: str) -> None:
    """Remove a network and its subnets. It has no ports any more; the caller saw to that."""
    tx.execute(delete(networks).where(networks.c.id == network_id))


def subnet(tx: Tx, subnet_id: str) -> Subnet | None:
    found = _subnets(tx, subnets.c.id == subnet_id)
    return found[0] if found else None


def _subnets(tx: Tx, *where: Any) -> list[Subnet]:
    rows = tx.execute(select(subnets).where(*where).order_by(subnets.c.created_at, subnets.c.id))
    return [_subnet(row) for row in rows]


def _subnet(row: Any) -> Subnet:
    return Subnet(**{name: row._mapping[name] for name in Subnet.__struct_fields__})


def add_subnet(tx: Tx, made: Subnet) -> None:
    """Keep a subnet that is sound in itself. `Invalid` when it overlaps another of its network."""
    cidr = IPv4Network(made.cidr)
    for other in _subnets(tx, subnets.c.network == made.network):
        if cidr.overlaps(IPv4Network(other.cidr)):
            raise Invalid(
                f"Invalid input for operation: Requested subnet with cidr: {made.cidr} for network: {made.network} "
                f"overlaps with another subnet: {other.cidr}."
            )
    tx.execute(insert(subnets).values(**msgspec.structs.asdict(made), next_number=int(IPv4Address(made.first))))
    if made.gateway is not None:
        _hold(tx, made, int(IPv4Address(made.gateway)), None, 0)


def change_subnet(tx: Tx, changed: Subnet) -> Subnet:
    """Keep what was changed of a subnet. `Conflict` when the new gateway's address is held by a port."""
    changed = msgspec.structs.replace(changed, updated_at=tx.now)
    tx.execute(delete(addresses).where(addresses.c.subnet == changed.id, addresses.c.port.is_(None)))
    if changed.gateway is not None:
        _hold(tx, changed, int(IPv4Address(changed.gateway)), None, 0)
    tx.execute(
        update(subnets)
        .where(subnets.c.id == changed.id)
        .values(**msgspec.structs.asdict(changed), next_number=int(IPv4Address(changed.first)))
    )
    return changed


def remove_subnet(tx: Tx, subnet_id: str) -> None:
    """Remove a subnet. `Conflict` while ports hold addresses of it."""
    held = select(addresses.c.port).where(addresses.c.subnet == subnet_id, addresses.c.port.is_not(None)).limit(1)
    if tx.execute(held).first() is not None:
        raise Conflict(
            f"Unable to complete operation on subnet {subnet_id}: "
            "One or more ports have an IP allocation from this subnet."
        )
    tx.execute(delete(subnets).where(subnets.c.id == subnet_id))


def give_address(tx: Tx, whose: Network, port: str, position: int, subnet_id: str | None, ip: str | None) -> FixedIp:
    """Have the port hold an address: this one, or a free one of this subnet, or of any.

    `Conflict` when it is held already, or none is free; `Invalid` when the network has no such address.
    """
    choice = [each for each in whose.subnets if subnet_id in (None, each.id)]
    if not choice:
        if subnet_id is not None:
            raise Invalid(f"Failed to create port on network {whose.id}, because it has no subnet {subnet_id}.")
        raise Invalid(f"Network {whose.id} requires a subnet in order to give addresses.")
    if ip is not None:
        number = _number(ip)
        for each in choice:
            if _is_host(number, IPv4Network(each.cidr)):
                return _hold(tx, each, number, port, position)
        raise Invalid(f"IP address {ip} is not a valid IP for any of the subnets on the specified network.")
    for each in choice:
        free = _free_number(tx, each)
        if free is not None:
            tx.execute(_GO_ON, {"subnet": each.id, "next_number": free + 1})
            return _write(tx, each, free, port, position)
    raise Conflict(f"No more IP addresses available on network {whose.id}.")


def _number(ip: str) -> int:
    try:
        return int(IPv4Address(ip))
    except ValueError as error:
        raise Invalid(f"'{ip}' is not a valid IP address.") from error


def _is_host(number: int, cidr: IPv4Network) -> bool:
    return int(cidr.network_address) < number < int(cidr.broadcast_address)


def _free_number(tx: Tx, of: Subnet) -> int | None:
    first, last = int(IPv4Address(of.first)), int(IPv4Address(of.last))
    begin = tx.execute(_NEXT_NUMBER, {"subnet": of.id}).scalar_one()
    if not first <= begin <= last:
        begin = first
    for low, high in ((begin, last), (first, begin - 1)):
        if low > high:
            continue
        if tx.execute(_HELD, {"network": of.network, "number": low}).first() is None:
            return low
        free = tx.execute(_AFTER_HELD, {"network": of.network, "low": low, "high": high}).scalar()
        if free is not None and free <= high:
            return int(free)
    return None


def is_taken(tx: Tx, network: NetworkId, address: str) -> bool:
    """Say whether this address of the network is held, by a port or the network itself."""
    return tx.execute(_HELD, {"network": network, "number": int(IPv4Address(address))}).first() is not None


def _hold(tx: Tx, of: Subnet, number: int, port: str | None, position: int) -> FixedIp:
    taken = select(addresses.c.port).where(addresses.c.network == of.network, addresses.c.number == number)
    if tx.execute(taken).first() is not None:
        raise Conflict(
            f"Unable to complete operation for network {of.network}. The IP address {IPv4Address(number)} is in use."
        )
    return _write(tx, of, number, port, position)


def _write(tx: Tx, of: Subnet, number: int, port: str | None, position: int) -> FixedIp:
    values = {"network": of.network, "number": number, "subnet": of.id, "port": port, "position": position}
    tx.execute(_HOLD, values)
    return FixedIp(subnet=of.id, ip=str(IPv4Address(number)))
