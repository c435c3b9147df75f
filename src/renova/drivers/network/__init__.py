"""What the agent needs of a host's network: nics of guests on tenant networks that span the hosts."""

from collections.abc import Sequence
from typing import Protocol

from renova.model.guest import Nic


class Network(Protocol):
    """Connects guests of one host to tenant networks; every method may run twice.

    Errors: `Refused` when the kernel never will (an MTU that does not fit), `NotNow` when it may later.
    """

    async def close(self) -> None:
        """Let go; networks stay as they are."""
        ...

    async def peers(self, addresses: Sequence[str]) -> None:
        """Tell all other ends of the VXLAN segments (underlay addresses); replaces what was told before."""
        ...

    async def plug(self, nics: Sequence[Nic]) -> None:
        """Have the bridges ready to which the guest's nics will be attached."""
        ...

    async def unplug(self, nics: Sequence[Nic]) -> None:
        """Take away what only these nics needed; what other nics still use stays. Absent is fine."""
        ...

    async def answering(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return at which of these addresses on the underlay a machine answers, within a second or two."""
        ...


def bridge_name(vni: int) -> str:
    """Name the Linux bridge of a tenant network on every host; `domain_xml` and the network driver agree on it."""
    return f"br{vni}"


def tap_name(port: str) -> str:
    """Name a port's tap device as Nova does (spec: interface names are at most 15 characters)."""
    return f"tap{port[:11]}"
