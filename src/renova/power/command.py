"""Power by a command of the operator's: `COMMAND HOST` prints "on" or "off". The lab's power switch is one."""

import shlex
from functools import partial

import structlog

from renova.aside import Aside
from renova.model.errors import BadSetup, NotNow, Refused
from renova.model.ids import HostId
from renova.model.power import Reading, Said
from renova.power import HostPower
from renova.power.program import run

log = structlog.get_logger()

LIMIT = 5.0  # seconds a reading may take


class CommandPower:
    """Asks a command about every host; whatever is not a clear answer is UNKNOWN. It switches nothing."""

    def __init__(self, command: str, limit_s: float = LIMIT) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise BadSetup(f"Setting power: the command {command!r} cannot be understood ({error}).") from error
        if not self._command:
            raise BadSetup("Setting power names no command. Use command:<command>, or leave it empty.")
        self._limit_s = limit_s
        # In threads: starting a process holds up the event loop, uvloop's for tens of milliseconds on a busy machine.
        self._aside = Aside()

    async def of(self, host: HostId, name: str) -> HostPower | None:
        switch = CommandSwitch([*self._command, name], self._limit_s, self._aside)
        return HostPower(switch, by=f"the command {self._command[0]}", can_switch=False)


class CommandSwitch:
    """One host's power as the command tells it."""

    def __init__(self, argv: list[str], limit_s: float, aside: Aside) -> None:
        self._argv = argv
        self._limit_s = limit_s
        self._aside = aside

    async def check(self) -> None:
        """Nothing more is to be checked than was when it was made."""

    async def read(self) -> Said:
        name = self._argv[-1]
        try:
            # A moment more for the thread, so that it is the program that is ended.
            ended = await self._aside.call(partial(run, self._argv, self._limit_s), self._limit_s + 1, "the command")
        except NotNow as error:
            log.warning("power command does not answer", host=name, reason=str(error))
            raise
        answer = ended.output.strip().lower()
        if ended.status != 0 or answer not in (Reading.ON, Reading.OFF):
            log.warning("power command failed", host=name, output=answer[:200], errors=ended.errors[-200:])
            return Said(Reading.UNKNOWN, why=f"the command ended with status {ended.status} and said {answer[:40]!r}")
        return Said(Reading(answer))

    async def switch_off(self) -> None:
        raise Refused("the setting's command only reads power: give the host a power controller (`renova host power`)")

    switch_on = switch_off
