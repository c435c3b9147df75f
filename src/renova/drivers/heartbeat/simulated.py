"""A host's way to the heartbeats on simulated storage, as it is now."""

from collections.abc import Awaitable, Callable, Sequence

from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.errors import NotNow
from renova.model.ids import HostId


class SimulatedHeartbeats:
    """Those of the storage. A host that does not reach it neither beats nor reads."""

    def __init__(self, storage: SimulatedStorage, host: HostId) -> None:
        self._storage = storage
        self._host = host
        self.reaches: Callable[[], bool] = lambda: True
        self.on_call: Callable[[], Awaitable[None]] | None = None  # what slows or fails the host's disks

    async def beat(self) -> None:
        await self._reach()
        beats = self._storage.heartbeats
        beats[self._host] = beats.get(self._host, 0) + 1

    async def read(self, hosts: Sequence[HostId]) -> dict[HostId, int]:
        await self._reach()
        return {host: self._storage.heartbeats[host] for host in hosts if host in self._storage.heartbeats}

    async def _reach(self) -> None:
        if self.on_call is not None:
            await self.on_call()
        if not self.reaches():
            raise NotNow("the storage does not answer")
