"""Crash points: the places, each with a name, at which a process may be killed before or after what it does.

They are every durable write (commits, journal pages, disks) and every message. The world asks here at each one; they
are armed, the one first that fired least, and a campaign demands at its end that each one fired. Most deaths come at
what happens all the time: a run may aim at points, which are armed besides all the time until they have fired.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

from renova.model.chance import Chance
from renova.simulation.processes import current

Kill: TypeAlias = Callable[[str, str], None]  # told the process, and the point at which it is


class CrashPoints:
    """Counts how often each was passed, and how often somebody died there."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.aims: tuple[str, ...] = ()
        self._armed: dict[str, Kill] = {}  # by point: how to kill who comes there next
        self._at_aims: list[Kill] = []  # likewise those who come to one that is aimed at, one after another

    def reach(self, kind: str, place: str) -> bool:
        """Note that a process of this kind came to the place; True when it is dead now, and must do nothing more."""
        point = f"{kind} {place}"
        self.passed[point] += 1
        kill = self._armed.get(point)
        if kill is None and self._at_aims and point in self.aims and not self.fired[point]:
            kill = self._at_aims[0]
        process = current()
        if kill is None or process is None or not process.alive:
            return False
        self.disarm(kill)
        self.fired[point] += 1
        kill(process.name, point)
        return not process.alive

    def choose(self, chance: Chance) -> list[str]:
        """Return about half, by chance, of the points that fired least."""
        known = [point for point in self.passed if point not in self._armed]
        least = min((self.fired[point] for point in known), default=0)
        return [point for point in known if self.fired[point] == least and chance.uniform(0, 1) < 0.5]

    @property
    def done(self) -> bool:
        """Say whether nothing that is aimed at is left."""
        return all(self.fired[point] for point in self.aims)

    def aim(self, kill: Kill) -> None:
        """Have whoever comes to one of the points aimed at be killed by `kill`, after those that aim already.

        Not what `choose` goes by.
        """
        self._at_aims.append(kill)

    def arm(self, points: Iterable[str], kill: Kill) -> None:
        """Have whoever comes to one of these first be killed by `kill`, which is told the process and the point."""
        self._armed |= dict.fromkeys(points, kill)

    def disarm(self, kill: Kill) -> None:
        """Have nobody be killed so any more."""
        self._at_aims = [each for each in self._at_aims if each is not kill]
        self._armed = {point: each for point, each in self._armed.items() if each is not kill}
