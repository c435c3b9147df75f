"""Time, passed in: nobody below `main` reads a clock of their own."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait.

    `monotonic` (seconds) stands still in suspend, `boottime` (seconds) runs on; `wall` is for people only:
    no decision rests on it.
    """

    def wall(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def boottime(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def stamp(moment: datetime) -> str:
    """Return the form in which times are stored: UTC with microseconds, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6]  # without its +00:00


def later(moment: str, seconds: float) -> str:
    """Return the stored time that is so many seconds after another one."""
    return stamp(datetime.fromisoformat(f"{moment}+00:00") + timedelta(seconds=seconds))


def between(moment: str | None, other: str | None) -> float | None:
    """Return how many seconds lie between two stored times; None where one is not known."""
    if moment is None or other is None:
        return None
    return (datetime.fromisoformat(other) - datetime.fromisoformat(moment)).total_seconds()
