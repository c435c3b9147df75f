"""The gate and the watchdog of a pretended host; each may fail as a real one can, and is then found out as that is."""

from collections.abc import Callable

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.host import GuardClass
from renova.model.ids import ServerId


class SimulatedGate:
    """Freezes a `SimulatedHypervisor`. It belongs to the host: it stays as it is when the guard dies."""

    def __init__(self, hypervisor: SimulatedHypervisor) -> None:
        self._hypervisor = hypervisor
        self.sticks = False  # nobody stands still, whatever is asked
        self.jams = False  # it does not open
        self.immortal = False  # nor dies: stuck in the kernel
        self.tireless: set[ServerId] = set()  # for whom a device works on, though they stand still
        self.on_kill: Callable[[], None] = lambda: None  # told when guests are killed because they do not stand still

    async def close(self) -> bool:
        if not self.sticks:
            self._hypervisor.freeze()
        if not self.immortal:
            for server in self.tireless & set(self._hypervisor.active()):
                self._hypervisor.crash(server)
        return await self.is_closed()

    async def is_closed(self) -> bool:
        return self._hypervisor.frozen and not self.tireless & set(self._hypervisor.active())

    async def open(self) -> bool:
        if not self.jams:
            self._hypervisor.thaw()
        return not self.jams

    async def kill_all(self) -> None:
        if not self.immortal:
            if self._hypervisor.active():
                self.on_kill()
            self._hypervisor.kill_all()
            self._hypervisor.freeze()  # who is born from now on stands still

    async def is_empty(self) -> bool:
        return not self._hypervisor.active()


class SimulatedWatchdog:
    """Calls `reset` unless petted in time; `later` has something done after so many true seconds."""

    kind = "simulated"

    def __init__(
        self,
        reset: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
        *,
        timeout_s: float = 5.0,
        strength: GuardClass = GuardClass.A,
    ) -> None:
        self.timeout_s = timeout_s
        self.strength = strength
        self._reset = reset
        self._later = later
        self._count = 0  # of pets
        self._armed = True
        self.pet()

    def pet(self) -> None:
        if self._armed:
            self._count += 1
            self._later(self.timeout_s, lambda count=self._count: self._look(count))  # type: ignore[misc]

    def disarm(self) -> None:
        """Also what a power cut does to it."""
        self._armed = False

    def reset(self) -> None:
        if self._armed:
            self._armed = False
            self._reset()

    def _look(self, count: int) -> None:
        if count == self._count:
            self.reset()
