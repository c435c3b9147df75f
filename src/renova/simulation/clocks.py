"""A machine's clocks in virtual time: they drift, people set the wall clock, and suspend stops one of them.

Waits through the clock drift; time limits that code sets by asyncio's own timers (`asyncio.timeout`) do not.
"""

import asyncio
from datetime import datetime, timedelta

from renova.simulation.loop import BEGINNING


class MachineClock:
    """The clocks of one machine; `drift` is how much faster than true they run (0.01: one second in a hundred)."""

    def __init__(self, drift: float = 0.0, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._rate = 1.0 + drift
        self._wall_is_ahead = timedelta()
        self._still_since: float | None = None
        self._monotonic_lost = 0.0  # true seconds for which it stood still
        self._boottime_lost = 0.0
        self.woken_at = float("-inf")  # in true time: when it last went on after it had stood still

    def wall(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time() * self._rate) + self._wall_is_ahead

    def monotonic(self) -> float:
        now = self._loop.time() if self._still_since is None else self._still_since
        return (now - self._monotonic_lost) * self._rate

    def boottime(self) -> float:
        return (self._loop.time() - self._boottime_lost) * self._rate

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    @property
    def stands_still(self) -> bool:
        """Whether the machine is suspended now."""
        return self._still_since is not None

    @property
    def was_stopped(self) -> bool:
        """Whether even the clock that runs in suspend stood still once, or does so now."""
        return self._boottime_lost > 0 or self._still_since is not None

    def set_wall(self, ahead_s: float) -> None:
        """Have the wall clock be so many seconds ahead of true time; negative: behind."""
        self._wall_is_ahead = timedelta(seconds=ahead_s)

    def stand_still(self) -> None:
        """Suspend the machine: its monotonic clock stands still until `go_on`."""
        self._still_since = self._loop.time()

    def go_on(self, *, virtual: bool) -> None:
        """Wake the machine. One that is `virtual` was paused from outside, and all its clocks stood still."""
        assert self._still_since is not None
        lost = self._loop.time() - self._still_since
        self._still_since, self.woken_at = None, self._loop.time()
        self._monotonic_lost += lost
        if virtual:
            self._boottime_lost += lost
