"""How hosts' power is read and switched, apart from anything that runs on them: used by `ha`, in the controller."""

from enum import StrEnum
from typing import Protocol

from renova.model.ids import HostId


class Reading(StrEnum):
    """What a power controller says; only OFF is evidence, and only twice."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"  # asked and not answered, or an answer that is neither


class Power(Protocol):
    """Reads and switches the power of hosts."""

    async def read(self, host: HostId, name: str) -> Reading:
        """Return the power state now; UNKNOWN rather than an error when it cannot be had."""
        ...


class NoPower:
    """Hosts whose power nobody can read."""

    async def read(self, host: HostId, name: str) -> Reading:
        return Reading.UNKNOWN
