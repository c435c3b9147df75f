"""Keeps the gate: open while the lease holds, closed while it does not, whatever else happens.

One that is open stays so beyond the deadline for as long as the witness shows that nobody has revoked the lease, where
the host has one; it opens by the deadline alone.

Closed means seen to be closed. What cannot be seen to stand still within a second is killed; what cannot be killed
within three more takes the host along (safety protocol, section 3). The watchdog is petted only while the deadline
lies ahead or the gate was just seen to be closed: a guard that is frozen between that look and the pet can add one
timeout, so a host whose guard does nothing more is reset by twice the timeout after its deadline.
"""

import asyncio
from contextlib import suppress

import structlog

from renova.drivers.guard import KILL_S, Gate, Watchdog
from renova.guard.lease import Lease
from renova.guard.neighbours import Neighbours
from renova.model.clock import Clock
from renova.model.host import GuardClass
from renova.wire.leases import GuardTimes

log = structlog.get_logger()

LOOK_S = 0.25  # between looks at clock and gate: also how long guests may run on after a whole host stood still
LEAST_S = 0.001  # between two looks: a deadline that is nearer is waited for so long
PATIENCE_S = 5.0  # for which guests stand still before those of a host that is cut off alone are killed
CHECK_S, FREEZE_S, RESET_S = 0.25, 1.0, 1.0  # parts of the stop budget
STOP_S = CHECK_S + FREEZE_S + KILL_S
OPEN_S = 1.0  # that a gate may take to open
STUCK_S = 0.1  # between looks whether what was killed is gone


class Keeper:
    """Drives one host's gate and watchdog by its lease."""

    def __init__(self, gate: Gate, watchdog: Watchdog, clock: Clock, neighbours: Neighbours | None = None) -> None:
        self._gate = gate
        self._watchdog = watchdog
        self._clock = clock
        self._neighbours = neighbours
        self._budget_s: float | None = None  # what controllers allow; None: not told yet
        self._woken = asyncio.Event()
        self._lost = False  # the host is to be reset: nothing is petted any more
        self._ended = False  # the watchdog is not ours any more

    @property
    def strength(self) -> GuardClass:
        """Say what the guard is worth now: measured, and no more than the controllers' stop budget has room for."""
        measured = self._watchdog.strength
        if measured.resets and self._budget_s is not None and self._reset_in > self._budget_s:
            return GuardClass.C
        return measured

    @property
    def stops_in(self) -> float:
        """Return within how many seconds of the deadline a guard of this class has all stopped."""
        return max(STOP_S, self._reset_in) if self._watchdog.strength.resets else STOP_S

    @property
    def _reset_in(self) -> float:
        return 2 * self._watchdog.timeout_s + RESET_S

    def allowed(self, times: GuardTimes) -> None:
        """Take what the controllers allow for, and say so where the watchdog is too slow for it."""
        counts = self._watchdog.strength.resets
        if counts and self._reset_in > times.stop_budget and times.stop_budget != self._budget_s:
            log.error(
                "watchdog too slow to count",
                watchdog=self._watchdog.kind,
                timeout_s=self._watchdog.timeout_s,
                reason=f"twice its timeout and {RESET_S:g} s are more than lease.stop_budget = {times.stop_budget:g}",
            )
        self._budget_s = times.stop_budget

    def look(self) -> None:
        """Look at the lease now: it has changed."""
        self._woken.set()

    async def serve(self, lease: Lease) -> None:
        """Keep the gate until cancelled; it begins closed, for a new guard knows no deadline."""
        try:
            while not self._lost:
                await self._keep_closed(lease)
                if not self._lost:
                    await self._keep_open(lease)
            await asyncio.get_running_loop().create_future()
        finally:
            await self.end()

    async def end(self) -> None:
        """End in order, also where it never came to `serve`: nobody looks at the lease, nor pets, from now on.

        Only with the gate seen to be closed: else the watchdog counts on, and finds whoever is left. `NotNow` when it
        cannot be stopped. Once it has ended, this does nothing.
        """
        if not self._lost and not self._ended and await self._gate.close():
            self._ended = True
            self._watchdog.disarm()

    async def _keep_open(self, lease: Lease) -> None:
        """Open, and return once the lease does not hold any more."""
        is_open = by_witness = False
        while lease.may_stay_open():
            # At once after the look at the clock: nothing comes in between.
            self._watchdog.pet()
            if lease.holds() is by_witness:  # what keeps it open is another
                by_witness = not by_witness
                log.warning("gate stays open by the witness" if by_witness else "lease holds again", epoch=lease.epoch)
            if not is_open and lease.may_open(OPEN_S):
                is_open = await self._open(lease)  # again and again, and never beyond the deadline
            await self._rest(min(LOOK_S, max(lease.until - self._clock.boottime(), LEAST_S)))

    async def _open(self, lease: Lease) -> bool:
        if not await self._gate.open():
            log.error("gate does not open")
            return False
        log.info("gate open", era=lease.era, epoch=lease.epoch)
        return True

    async def _keep_closed(self, lease: Lease) -> None:
        """Close, see that it is closed for as long as the lease does not hold, and return once it does."""
        if not await self._close():
            return
        log.warning("gate closed", era=lease.era, epoch=lease.epoch)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._kill_if_alone())
            await self._stay_closed(lease)
            asking.cancel()

    async def _stay_closed(self, lease: Lease) -> None:
        while not lease.may_open():
            if not await self._gate.is_closed():
                log.error("gate came loose")
                if not await self._close():
                    return
            self._watchdog.pet()
            await self._rest(LOOK_S)

    async def _kill_if_alone(self) -> None:
        """Kill what stands still once others have had leases for as long as it did, or for as long since."""
        alone_since = self._clock.boottime()
        while True:
            if await self._others_lack_leases():
                alone_since = self._clock.boottime()
            elif self._clock.boottime() - alone_since >= PATIENCE_S and not await self._gate.is_empty():
                log.warning("guests killed: this host is cut off, and others are not")
                await self._gate.kill_all()
            await self._clock.sleep(LOOK_S)

    async def _close(self) -> bool:
        """Have everything stand still, or be gone; False when only the reset of the host is left."""
        if await self._gate.close():
            return True
        log.error("gate does not close: guests killed")
        until = self._clock.boottime() + KILL_S
        while self._clock.boottime() < until:
            await self._gate.kill_all()  # again: some may have come since, or not have been killed
            if await self._gate.is_empty():
                return True
            await self._clock.sleep(STUCK_S)
        log.critical("guests neither stand still nor die: host to be reset")
        self._lost = True
        self._watchdog.reset()
        return False

    async def _others_lack_leases(self) -> bool:
        return self._neighbours is not None and await self._neighbours.lack_leases()

    async def _rest(self, seconds: float) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
