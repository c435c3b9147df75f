"""A connection between a controller and a host, as both ends use it: frames in order, until it ends."""

from collections.abc import AsyncIterator
from typing import Protocol

from renova.model.errors import NotNow


class Closed(NotNow):
    """The connection ended."""


class Channel(Protocol):
    """Carries whole frames in order, or ends. Real ones are TLS WebSockets; simulated ones are queues in memory."""

    async def send(self, frame: bytes) -> None:
        """Send a frame; `Closed` when the connection has ended. That it was sent does not say that it arrived."""
        ...

    def frames(self) -> AsyncIterator[bytes]:
        """Give the frames that arrive, until the connection ends."""
        ...

    async def close(self) -> None: ...
