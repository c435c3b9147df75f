"""Crash points: the places, each with a name, at which a process may be killed before or after what it does.

They are every durable write (commits, journal pages, disks) and every message. The world asks here at each one; they
are armed, the one first that fired least, and a campaign demands at its end that each one fired. Most deaths come at
what happens all the time: a run may aim at points, which are armed before all others.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from renova.model.chance import Chance
from renova.simulation.processes import current


class CrashPoints:
    """Counts how often each was passed, and how often somebody died there."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.aims: tuple[str, ...] = ()
        self._armed: dict[str, Callable[[str, str], None]] = {}  # by point: how to kill who comes there next

    def reach(self, kind: str, place: str) -> bool:
        """Note that a process of this kind came to the place; True when it is dead now, and must do nothing more."""
        point = f"{kind} {place}"
        self.passed[point] += 1
        if not self._armed:
            return False
        process = current()
        kill = self._armed.get(point)
        if kill is None or process is None or not process.alive:
            return False
        self.disarm(kill)
        self.fired[point] += 1
        kill(process.name, point)
        return not process.alive

    def choose(self, chance: Chance) -> list[str]:
        """Return what is aimed at and has not fired, or else about half, by chance, of the points that fired least."""
        if wanted := [point for point in self.aims if not self.fired[point] and point not in self._armed]:
            return wanted
        known = [point for point in self.passed if point not in self._armed]
        least = min((self.fired[point] for point in known), default=0)
        return [point for point in known if self.fired[point] == least and chance.uniform(0, 1) < 0.5]

    def arm(self, points: Iterable[str], kill: Callable[[str, str], None]) -> None:
        """Have whoever comes to one of these first be killed by `kill`, which is told the process and the point."""
        self._armed |= dict.fromkeys(points, kill)

    def disarm(self, kill: Callable[[str, str], None]) -> None:
        """Have nobody be killed so any more."""
        self._armed = {point: each for point, each in self._armed.items() if each is not kill}
