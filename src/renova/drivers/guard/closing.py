"""Closing a gate, and what follows when that cannot be seen; with nobody there who would reset the host."""

from enum import StrEnum

from renova.drivers.guard import KILL_S, Gate
from renova.model.clock import Clock

LOOK_AGAIN_S = 0.05


class Closing(StrEnum):
    """How it ended; the values are for people."""

    HELD = "all behind the gate stands still"
    KILLED = "not all behind the gate stood still in time, so all of it was killed"
    STUCK = "some behind the gate neither stand still nor die: reset this host"


async def close_or_kill(gate: Gate, clock: Clock) -> Closing:
    """Have nothing behind the gate execute, in one way or the other; the gate is left closed."""
    if await gate.close():
        return Closing.HELD
    await gate.kill_all()
    until = clock.boottime() + KILL_S
    while not await gate.is_empty():
        if clock.boottime() >= until:
            return Closing.STUCK
        await clock.sleep(LOOK_AGAIN_S)
        await gate.kill_all()  # again: some may have come since, or not have been killed
    return Closing.KILLED
