"""Networks and ports, as much of Neutron's model as servers need."""

import msgspec

from renova.model.ids import NetworkId, PortId, ProjectId, SubnetId


class Route(msgspec.Struct, frozen=True):
    """A route that a subnet gives its guests beside the one over its gateway."""

    destination: str  # CIDR
    next_hop: str


class Subnet(msgspec.Struct, frozen=True):
    """A range of IPv4 addresses of a network."""

    id: SubnetId
    name: str
    network: NetworkId
    project: ProjectId
    cidr: str
    gateway: str | None
    dns: tuple[str, ...]
    first: str  # of the pool that fixed addresses are taken from
    last: str
    enable_dhcp: bool
    created_at: str
    updated_at: str
    routes: tuple[Route, ...] = ()


class Network(msgspec.Struct, frozen=True):
    """A tenant network; `vni` numbers its VXLAN segment, unique in the cloud."""

    id: NetworkId
    name: str
    project: ProjectId
    shared: bool
    admin_state_up: bool
    mtu: int
    vni: int
    description: str
    created_at: str
    updated_at: str
    subnets: tuple[Subnet, ...] = ()


class FixedIp(msgspec.Struct, frozen=True):
    """An address that a port holds."""

    subnet: SubnetId
    ip: str


class Port(msgspec.Struct, frozen=True):
    """A port: an address on a network, owned by a server, bound to the host where that server may run."""

    id: PortId
    name: str
    network: NetworkId
    project: ProjectId
    mac: str
    fixed_ips: tuple[FixedIp, ...]
    status: str  # DOWN, ACTIVE
    admin_state_up: bool
    device_id: str  # the server's id, "" when unused
    device_owner: str
    host: str  # name of the host it is bound to, "" when unbound
    made_by_compute: bool  # made for its server, and deleted with it
    created_at: str
    updated_at: str
    description: str = ""
    security_groups: tuple[str, ...] = ()  # ids; kept and shown, not enforced yet
    profile: dict[str, str] = {}  # of its binding: what the operator notes for the host
    tag: str | None = None  # by which its server's guest knows it
