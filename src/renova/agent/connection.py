"""How an agent reaches its controllers: a `Dialer` for each, and the channels it opens."""

from typing import Protocol

from renova.model.channel import Channel


class Dialer(Protocol):
    """Reaches one controller."""

    @property
    def address(self) -> str:
        """Return what people call the controller: host:port."""
        ...

    async def dial(self) -> Channel:
        """Open a new connection. `NotNow` when the controller cannot be reached; `BadSetup` when one side does not
        accept the other's certificate."""
        ...
