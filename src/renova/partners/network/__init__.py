"""Where ports and addresses come from."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from renova.model.guest import Nic
from renova.model.ids import NetworkId, PortId, ProjectId, ServerId
from renova.model.network import Network, Port
from renova.store.database import Tx

Check: TypeAlias = Callable[[Tx], None]


class PortWish(msgspec.Struct, frozen=True):
    """A port that a new server is to have: an existing one, or one to be made on a network."""

    network: NetworkId
    port: PortId | None = None
    fixed_ip: str | None = None
    tag: str | None = None  # by which the guest knows the nic
    security_groups: tuple[str, ...] = ()  # ids, or `default`, of one that is to be made; none: the project's default


class Networks(Protocol):
    """Knows networks, and the ports of servers. Every change may be repeated."""

    async def network(self, network: NetworkId, project: ProjectId | None) -> Network | None:
        """Return the network with its subnets, if the project may use it (None: the cloud itself)."""
        ...

    async def available(self, project: ProjectId) -> list[Network]:
        """List the networks the project may use: its own and shared ones."""
        ...

    async def is_taken(self, network: NetworkId, address: str) -> bool:
        """Say whether the network has given this IPv4 address to a port, or keeps it."""
        ...

    async def port(self, port: PortId, project: ProjectId | None) -> Port | None: ...

    async def ports(self, server: ServerId) -> list[Port]:
        """List the server's ports, in the order of their nics."""
        ...

    async def nics(self, server: ServerId) -> tuple[Nic, ...]:
        """Return the server's ports as its guest is to have them, in the order of its nics."""
        ...

    async def give_port(
        self, server: ServerId, project: ProjectId, index: int, wish: PortWish, zone: str, check: Check | None = None
    ) -> Port:
        """Have the server's nic number `index` as a port with an address; the same wish gives the same port.

        `check` raises in the same transaction where the port is not wanted any more: whoever asks may have stood still
        while another undid what it was doing, and nobody would take a port back that comes late.
        `Refused` when no address is free, `Conflict` when the port is in use: by another server, or as another nic.
        """
        ...

    async def bind(self, port: PortId, host: str, zone: str) -> None:
        """Bind the port to the host of this name (device owner `compute:<zone>`); before its guest starts there."""
        ...

    async def settle(self, server: ServerId, *, active: bool) -> None:
        """Report whether the server's guest is up (its ports become ACTIVE) or not (DOWN)."""
        ...

    async def take_port(self, server: ServerId, port: PortId) -> None:
        """Take one port from the server, as `take_ports`; a port that is not its own is left alone."""
        ...

    async def take_ports(self, server: ServerId) -> None:
        """Take all ports from the server: those made for it are deleted, the user's own are freed and unbound."""
        ...
