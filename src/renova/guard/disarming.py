"""What is left of a gate when its host is not armed any more: it opens once the controllers know that.

Until then they may take the end of the host's lease for the end of its guests. So the guard says its new class with
each renewal, and only an acknowledgement, which comes after the commit, opens the gate.
"""

import asyncio
from collections.abc import Callable

import structlog

from renova.drivers.guard import Gate
from renova.guard.lease import Lease
from renova.model.host import GuardClass
from renova.wire.leases import GuardTimes

log = structlog.get_logger()

AGAIN_S = 1.0  # until a gate that did not open is tried again


class Disarming:
    """In the place of a `Keeper`, on a host whose gate is not to be kept any more. `done` is called when it is open."""

    strength = GuardClass.NONE
    stops_in = 0.0

    def __init__(self, gate: Gate, done: Callable[[], None]) -> None:
        self._gate = gate
        self._done = done
        self._woken = asyncio.Event()

    def allowed(self, times: GuardTimes) -> None:
        """Nothing is kept within any budget."""

    def look(self) -> None:
        self._woken.set()

    async def serve(self, lease: Lease) -> None:
        """Open the gate as soon as a renewal that says so was acknowledged; then nothing is left to do."""
        while not (lease.holds() and not lease.returning and lease.acknowledged_class is GuardClass.NONE):
            self._woken.clear()
            await self._woken.wait()
        while not await self._gate.open():
            log.error("gate does not open")
            await asyncio.sleep(AGAIN_S)
        self._done()
        log.warning("guard disarmed")
