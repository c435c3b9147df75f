"""Crash points: the places, each with a name, at which a process may be killed before or after what it does.

They are every durable write (commits, journal pages, disks) and every message. The world asks here at each one; a
campaign arms them, the one first that fired least, and demands at its end that each one fired.
"""

from collections import Counter
from collections.abc import Callable

from renova.model.chance import Chance
from renova.simulation.processes import Process, current


class CrashPoints:
    """Counts how often each was passed, and how often somebody died there."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self._armed: dict[str, Callable[[str], None]] = {}  # by point: how to kill who comes there next

    def reach(self, kind: str, place: str) -> bool:
        """Note that a process of this kind came to the place; True when it is dead now, and must do nothing more."""
        point = f"{kind} {place}"
        self.passed[point] += 1
        if not self._armed:
            return False
        process = current()
        kill = self._armed.pop(point, None)
        if kill is None or process is None or not process.alive:
            return False
        self.fired[point] += 1
        kill(process.name)
        return not process.alive

    def choose(self, chance: Chance, hindrance: Callable[[str], bool] = lambda _point: False) -> str | None:
        """Return a point of those that fired least, by chance; None when there is none."""
        known = [point for point in self.passed if point not in self._armed and not hindrance(point)]
        if not known:
            return None
        least = min(self.fired[point] for point in known)
        known = [point for point in known if self.fired[point] == least]
        return known[int(chance.uniform(0, len(known)))]

    def arm(self, point: str, kill: Callable[[str], None]) -> None:
        """Have whoever comes to the point next be killed by `kill`, which is told the name of the process."""
        self._armed[point] = kill

    def disarm(self, point: str) -> bool:
        """Have nobody be killed there; False when somebody was already."""
        return self._armed.pop(point, None) is not None

    @property
    def missing(self) -> list[str]:
        """Name the points that were passed and never fired."""
        return sorted(point for point in self.passed if not self.fired[point])


def kind_of(process: Process) -> str:
    """Say what a process is, for the names of its points."""
    return "agent" if process.name.startswith("agent-") else "controller"
