"""The gate of a real host: an enclosure that is frozen, in which every process is stopped by signal as well.

By both, for neither is enough: a signal can be undone by whoever may send one, and misses who comes in later; a freezer
may be held up by a thread of the kernel. And neither is believed: what counts is how all threads are seen to stand.
"""

import signal
from collections.abc import Callable

import structlog

from renova.drivers.guard import FREEZE_S
from renova.drivers.guard.enclosure import Enclosure
from renova.drivers.guard.process import is_stopped, signal_to, stands_still, works_while_held
from renova.model.clock import Clock

log = structlog.get_logger()

LOOK_AGAIN_S = 0.01


class HostGate:
    """The gate around what is in `enclosure`, which is made if it is not there."""

    def __init__(
        self, enclosure: Enclosure, clock: Clock, is_tireless: Callable[[int], bool] = works_while_held
    ) -> None:
        self._enclosure = enclosure
        self._clock = clock
        self._is_tireless = is_tireless

    async def close(self) -> bool:
        until = self._clock.boottime() + FREEZE_S
        known: set[int] = set()
        try:
            self._enclosure.make()
            self._stop(known)
            self._enclosure.freeze()
            while self._stop(known) or self._moving():
                if self._clock.boottime() >= until:
                    log.error("gate not closed in time", moving=self._moving())
                    return False
                await self._clock.sleep(LOOK_AGAIN_S)
        except OSError as error:
            log.error("gate not closed", reason=str(error))
            return False
        return True

    async def is_closed(self) -> bool:
        try:
            return self._enclosure.is_frozen() and not self._moving()
        except OSError:
            return False

    async def open(self) -> bool:
        until = self._clock.boottime() + FREEZE_S
        try:
            self._enclosure.make()
            self._enclosure.thaw()
            for pid in self._everyone():
                signal_to(pid, signal.SIGCONT)  # those, too, whom the other signal has not reached yet
            while stopped := [pid for pid in self._everyone() if is_stopped(pid)]:
                if self._clock.boottime() >= until:
                    log.error("gate not opened in time", stopped=stopped)
                    return False
                await self._clock.sleep(LOOK_AGAIN_S)
            self._enclosure.sweep()
        except OSError as error:
            log.error("gate not opened", reason=str(error))
            return False
        return True

    async def kill_all(self) -> None:
        try:
            groups = list(self._enclosure.groups())
        except OSError as error:
            log.error("what is behind the gate cannot be killed", reason=str(error))
            return
        for group in groups:
            try:
                self._enclosure.kill(group)
            except OSError as error:  # one that the agent has just swept away, or another: it saves none of the rest
                log.error("a group behind the gate cannot be killed", group=group, reason=str(error))

    async def is_empty(self) -> bool:
        try:
            return not self._everyone()
        except OSError:
            return False

    def _everyone(self) -> list[int]:
        return [pid for pids in self._enclosure.groups().values() for pid in pids]

    def _stop(self, known: set[int]) -> bool:
        """Stop who is not known yet; say whether there was anybody."""
        found = [(group, pid) for group, pids in self._enclosure.groups().items() for pid in pids if pid not in known]
        for group, pid in found:
            known.add(pid)
            if self._is_tireless(pid):
                log.warning("guest killed: hardware of this host would work on for it while it stands still", pid=pid)
                self._enclosure.kill(group)
            else:
                signal_to(pid, signal.SIGSTOP)
        return bool(found)

    def _moving(self) -> list[int]:
        """Return who does not stand still, as far as can be seen."""
        confirmed = self._enclosure.kernel_confirms()
        return [pid for pid in self._everyone() if not stands_still(pid, confirmed=confirmed) or self._is_tireless(pid)]
