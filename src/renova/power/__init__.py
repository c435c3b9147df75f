"""How hosts' power is read and switched, apart from anything that runs on them: used by `ha`, in the controller."""

from dataclasses import dataclass
from typing import Protocol

from renova.model.errors import NotNow, Refused
from renova.model.ids import HostId
from renova.model.power import Reading, Said, same_system


class PowerSwitch(Protocol):
    """What reads and switches the power of one host: a BMC, a power distribution unit, a command.

    Each call ends within its own limit; `NotNow` when there is no answer, `Refused` when the answer is no. No error
    and no log has a secret in it.
    """

    async def check(self) -> None:
        """Raise `Invalid` where what it was given cannot work; nothing is switched."""
        ...

    async def read(self) -> Said:
        """Return the power state now, with the identity of the machine that it is of."""
        ...

    async def switch_off(self) -> None:
        """Have the power cut, without asking what runs. Once it returns that was asked for, and need not be so yet."""
        ...

    async def switch_on(self) -> None:
        """Have the power switched on; likewise."""
        ...


@dataclass(frozen=True, slots=True)
class HostPower:
    """A host's power: its switch, and what is known of it."""

    switch: PowerSwitch
    by: str  # which switch that is, for people
    can_switch: bool = True
    system: str = ""  # the machine's UUID as enrolled; a reading of another machine counts for nothing
    rehearsed_at: str = ""  # when an operator last had it switched off and on to see it work; "" where nobody can

    async def read(self) -> Said:
        """Return the power state now; UNKNOWN, with the reason, rather than an error when it cannot be had."""
        try:
            said = await self.switch.read()
        except (NotNow, Refused) as error:
            return Said(Reading.UNKNOWN, why=str(error))
        if not self.is_of(said):
            other = said.system or "not told"
            return Said(Reading.UNKNOWN, said.system, f"its system UUID is {other}, {self.system} is enrolled")
        return said

    def is_of(self, said: Said) -> bool:
        """Say whether it was said of this machine: the system UUID is as enrolled, where one is."""
        return not self.system or same_system(said.system, self.system)


class Power(Protocol):
    """Knows by what each host's power is read and switched."""

    async def of(self, host: HostId, name: str) -> HostPower | None:
        """Return the host's power; None when nobody can read it. `NotNow` when that cannot be found out."""
        ...


class NoPower:
    """Hosts whose power nobody can read."""

    async def of(self, host: HostId, name: str) -> HostPower | None:
        return None
