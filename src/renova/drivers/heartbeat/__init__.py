"""What the agent needs of storage to show that its host lives, and to see whether others do.

Each host has a heartbeat on the storage that it keeps its guests' disks on: a number that it raises again and again.
Hosts that share the storage read it. A storage that hangs keeps neither the agent nor its end waiting.
"""

from collections.abc import Sequence
from typing import Protocol

from renova.model.ids import HostId


class Heartbeats(Protocol):
    """The heartbeats on one storage. `NotNow` while it does not answer."""

    async def beat(self) -> None:
        """Have the host's own number be one higher, for all who read from now on."""
        ...

    async def read(self, hosts: Sequence[HostId]) -> dict[HostId, int]:
        """Return the number of each of these hosts; one that has never beaten here is not in it."""
        ...
