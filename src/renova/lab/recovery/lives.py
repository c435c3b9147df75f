"""When each QEMU process of a server began and ended, by the one clock of the machine that all lab hosts are on."""

import os
import select
import time
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from renova.lab import processes
from renova.lab.guest_processes import first_pids, namespaces, running_guests
from renova.lab.home import Home
from renova.lab.watch import Watch

_TICK = os.sysconf("SC_CLK_TCK")
_SCAN_EVERY = 4  # looks: finding new ones costs more than seeing known ones end


class Life(msgspec.Struct):
    """One QEMU process. Seconds since the machine's boot: the start as the kernel has it, the end not before it was."""

    server: str
    host: str
    pid: int
    began_s: float
    ended_s: float | None = None


class Lives(Watch):
    """Notes them all, from `start` to `stop`.

    A process is not over before the kernel has ended all its threads, and it began before its guest executed anything:
    so two lives that do not overlap were never two guests that ran.
    """

    pause_s = 0.05

    def __init__(self, home: Home, names: Iterable[str]) -> None:
        super().__init__("lives")
        self._home = home
        self._names = list(names)
        self._looks = 0
        self._open: dict[int, tuple[int, Life]] = {}  # by handle: pid and life
        self.all: list[Life] = []

    def look(self) -> None:
        self._note_ends()
        if self._looks % _SCAN_EVERY == 0:
            known = {pid for pid, _ in self._open.values()}
            found = running_guests(namespaces(first_pids(self._home, self._names)))
            for server, places in found.items():
                for pid in places.keys() - known:
                    self._meet(server, places[pid], pid)
        self._looks += 1

    def of(self, server: str) -> list[Life]:
        """Return a server's, the oldest first."""
        return sorted((life for life in self.all if life.server == server), key=lambda life: life.began_s)

    def of_now(self, server: str) -> list[Life]:
        return [life for life in self.of(server) if life.ended_s is None]

    def stop(self) -> None:
        super().stop()
        for handle in self._open:
            os.close(handle)
        self._open.clear()

    def _meet(self, server: str, host: str, pid: int) -> None:
        process = processes.identify(pid)
        if process is None:
            return
        life = Life(server, host, pid, process.started / _TICK)
        self.all.append(life)
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            life.ended_s = now()
            return
        # If it has ended just now, and its pid is somebody else's, the handle is, too.
        if not process.alive():
            os.close(handle)
            life.ended_s = now()
            return
        self._open[handle] = pid, life

    def _note_ends(self) -> None:
        poll = select.poll()
        for handle in self._open:
            poll.register(handle, select.POLLIN)
        for handle, _ in poll.poll(0):
            _, life = self._open.pop(handle)
            life.ended_s = now()
            os.close(handle)


def gaps(lives: Iterable[Life]) -> list[float]:
    """Return the seconds between the end of each of a server's lives, oldest first, and the next; below 0: overlaps."""
    return [
        later.began_s - (earlier.ended_s if earlier.ended_s is not None else float("inf"))
        for earlier, later in pairwise(lives)
    ]


def now() -> float:
    """Return the seconds since the machine's boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
