"""The power controllers of simulated hosts: they really switch them. Each may lie, hang or refuse."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.ids import HostId
from renova.model.power import Reading, Said
from renova.power import HostPower
from renova.simulation.hosts import AnyHost
from renova.simulation.processes import outside

HANG_S = 30.0  # a power controller that hangs answers after this


class Machines(Protocol):
    """What power controllers are wired to."""

    @property
    def clock(self) -> Clock: ...

    def any_host(self, name: str) -> AnyHost: ...

    async def cut_power(self, name: str) -> None: ...

    async def power_on(self, name: str) -> None: ...


class SimulatedSwitch:
    """One host's power controller."""

    def __init__(self, machines: Machines, name: str) -> None:
        self._machines = machines
        self._name = name

    @property
    def powered(self) -> bool:
        return self._machines.any_host(self._name).powered

    async def check(self) -> None:
        """Nothing more is to be checked than was when it was made."""

    async def read(self) -> Said:
        return Said(Reading.ON if self.powered else Reading.OFF, system=system_of(self._name))

    async def switch_off(self) -> None:
        if self.powered:
            await _apart(self._machines.cut_power(self._name))

    async def switch_on(self) -> None:
        if not self.powered:
            await _apart(self._machines.power_on(self._name))


class SwitchBoard:
    """The power controllers of all hosts."""

    def __init__(self, machines: Machines, *, switchable: bool) -> None:
        self.machines = machines
        self._switchable = switchable
        # By host: who is told when somebody asked in vain.
        self.lying: dict[str, Callable[[], None]] = {}  # said to be off, whatever they are
        self.hanging: dict[str, Callable[[], None]] = {}
        self.refusing: dict[str, Callable[[], None]] = {}
        self.lies: list[tuple[float, str]] = []  # each "off" that was not true: when, and of which host
        self.told_off: Callable[[str], None] = lambda _host: None  # told of each host that is really switched off
        self.off_since: dict[str, float] = {}  # hosts that were switched off, and were not switched on since

    async def of(self, host: HostId, name: str) -> HostPower | None:
        return HostPower(
            SpoilableSwitch(self, name), by="simulated switch", can_switch=self._switchable, system=system_of(name)
        )


class SpoilableSwitch(SimulatedSwitch):
    """One whose board may have it lie, hang or refuse. Who lies switches nothing."""

    def __init__(self, board: SwitchBoard, name: str) -> None:
        super().__init__(board.machines, name)
        self._board = board

    async def read(self) -> Said:
        await self._suffer()
        if self._name in self._board.lying and self.powered:
            self._board.lying[self._name]()
            self._board.lies.append((self._machines.clock.monotonic(), self._name))
            return Said(Reading.OFF, system=system_of(self._name))
        return await super().read()

    async def switch_off(self) -> None:
        await self._suffer()
        if self._name not in self._board.lying and self.powered:
            self._board.told_off(self._name)
            self._board.off_since[self._name] = self._machines.clock.monotonic()
            await super().switch_off()

    async def switch_on(self) -> None:
        await self._suffer()
        if self._name not in self._board.lying:
            self._board.off_since.pop(self._name, None)
            await super().switch_on()

    async def _suffer(self) -> None:
        if self._name in self._board.hanging:
            self._board.hanging[self._name]()
            await self._machines.clock.sleep(HANG_S)
            raise NotNow(f"the power controller of {self._name} does not answer")
        if self._name in self._board.refusing:
            self._board.refusing[self._name]()
            raise Refused(f"the power controller of {self._name} refuses its user")


def system_of(name: str) -> str:
    """Return the system UUID of a simulated host."""
    return f"5157e300-0000-4000-8000-{name.encode().hex()[-12:]:>012}"


async def _apart(change: Coroutine[Any, Any, None]) -> None:
    """Have it done though who asked is killed meanwhile: a power controller ends what it has begun."""
    await asyncio.shield(asyncio.get_running_loop().create_task(change, context=outside()))
