"""The network of a host that runs no guests: a storage host."""

from collections.abc import Sequence

from renova.model.errors import Refused
from renova.model.guest import Nic


class NoNetwork:
    """Plugs nothing in, and has no tunnels to anybody."""

    async def plug(self, nics: Sequence[Nic]) -> None:
        if nics:
            raise Refused("this host holds volumes and has no networks for guests")

    async def unplug(self, nics: Sequence[Nic]) -> None:
        pass

    async def answering(self, addresses: Sequence[str]) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        pass

    async def peers(self, addresses: Sequence[str]) -> None:
        pass
