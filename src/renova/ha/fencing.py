"""Switching a host off and proving it: the one irreversible thing that is done to a host from outside.

A machine counts as off by two readings, a second apart, that are of the machine that was enrolled. One may be a machine
that is being reset; and "powering off" is none. Nothing is switched before it is known whose power it is.
"""

from collections.abc import Awaitable, Callable

import structlog

from renova.model.clock import Clock, stamp
from renova.model.errors import NotNow, Refused
from renova.model.power import Reading, Said
from renova.power import HostPower

log = structlog.get_logger()

BETWEEN_READINGS = 1.0  # seconds: a single reading of "off" may be a machine that is being reset
CHANGE_S = 40.0  # seconds that a machine is given to be as it was told
TELL_AGAIN = 10.0  # seconds after which it is told again: power controllers forget, or were busy

May = Callable[[], Awaitable[bool]]


async def read_off(power: HostPower, clock: Clock) -> dict[str, str] | None:
    """Read the power twice; returns the readings when both are off, and of the right machine."""
    readings: dict[str, str] = {}
    for number in (1, 2):
        said = await power.read()
        if said.reading is not Reading.OFF:
            return None
        readings[f"reading_{number}"] = said.reading
        readings[f"reading_{number}_at"] = stamp(clock.wall())
        readings["system"] = said.system or "not told"
        if number == 1:
            await clock.sleep(BETWEEN_READINGS)
    if power.rehearsed_at:
        readings["rehearsed"] = power.rehearsed_at
    return readings


async def switch_off(power: HostPower, clock: Clock, may: May) -> dict[str, str]:
    """Cut the power and see that it is off; returns what was told and read, with the times.

    `may` is asked before each command, as late as can be. `NotNow` or `Refused` says why it is not known to be off;
    it may be all the same, now or later.
    """
    await _demand_right_machine(power)
    until = clock.monotonic() + CHANGE_S
    told_at, trouble = float("-inf"), ""
    commanded: dict[str, str] = {}
    while True:
        if clock.monotonic() - told_at >= TELL_AGAIN:
            if not await may():
                raise Refused("it is not to be switched off any more")
            told_at = clock.monotonic()
            try:
                await power.switch.switch_off()
            except (NotNow, Refused) as error:  # such as for a machine that is off already: its readings decide
                trouble = str(error)
                commanded.setdefault("commanded", f"refused: {trouble}"[:200])
            else:
                commanded["commanded"] = stamp(clock.wall())
        readings = await read_off(power, clock)
        if readings is not None:
            return commanded | readings
        if clock.monotonic() >= until:
            raise NotNow(trouble or f"it does not go off within {CHANGE_S:g} s: {_words(await power.read())}")
        await clock.sleep(BETWEEN_READINGS)


async def switch_on(power: HostPower, clock: Clock) -> None:
    """Switch the power on, and see that it is. `NotNow` or `Refused` says why not."""
    await _demand_right_machine(power)
    await power.switch.switch_on()
    until = clock.monotonic() + CHANGE_S
    while (said := await power.read()).reading is not Reading.ON:
        if clock.monotonic() >= until:
            raise NotNow(f"it does not come on within {CHANGE_S:g} s: {_words(said)}")
        await clock.sleep(BETWEEN_READINGS)


async def _demand_right_machine(power: HostPower) -> None:
    """Raise unless what would be switched is the machine that was enrolled."""
    if not power.can_switch:
        raise Refused(f"{power.by} only reads power: give the host a power controller (`renova host power set`)")
    said = await power.read()
    if not power.is_of(said) or (said.reading is Reading.UNKNOWN and not power.system):
        raise NotNow(_words(said))


def _words(said: Said) -> str:
    return said.why or f"its power reads as {said.reading}"
