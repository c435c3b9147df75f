"""A host's network in memory: it keeps which ports are plugged where, and carries nothing."""

from collections.abc import Callable, Sequence

from renova.model.errors import NotNow
from renova.model.guest import Nic
from renova.model.ids import PortId


class SimulatedNetwork:
    """Keeps what the host was told; a power cut takes it all, as with real bridges."""

    def __init__(self) -> None:
        self.ends: tuple[str, ...] = ()  # all other ends of the segments
        self.segments: dict[int, set[PortId]] = {}  # vni to the ports plugged here
        self.reaches: Callable[[str], bool] = lambda _address: False  # the other machines on the underlay
        self._powered = True

    async def close(self) -> None:
        """Nothing to let go of."""

    async def peers(self, addresses: Sequence[str]) -> None:
        self._reach()
        self.ends = tuple(sorted(set(addresses)))

    async def plug(self, nics: Sequence[Nic]) -> None:
        self._reach()
        for nic in nics:
            self.segments.setdefault(nic.vni, set()).add(nic.port)

    async def unplug(self, nics: Sequence[Nic]) -> None:
        self._reach()
        for nic in nics:
            ports = self.segments.get(nic.vni, set())
            ports.discard(nic.port)
            if not ports:
                self.segments.pop(nic.vni, None)

    async def answering(self, addresses: Sequence[str]) -> tuple[str, ...]:
        self._reach()
        return tuple(address for address in addresses if self.reaches(address))

    def cut_power(self) -> None:
        """Forget everything; every call fails until `power_on`."""
        self.ends, self.segments, self._powered = (), {}, False

    def power_on(self) -> None:
        self._powered = True

    def _reach(self) -> None:
        if not self._powered:
            raise NotNow("the host lost its power")
