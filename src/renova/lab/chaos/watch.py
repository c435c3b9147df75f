"""Those who look on during a campaign: one counts the runs of each server, one asks the API all the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from renova.lab.chaos.client import Away, Client
from renova.lab.guest_processes import namespaces, running_guests
from renova.lab.watch import Watch

_LOOK_S = 0.2
_PROBE_S = 0.08


class DoubleRun(msgspec.Struct, frozen=True):
    """A server whose guest ran on more than one host at once."""

    server: str
    hosts: list[str]
    after_s: float  # since the campaign began


class Runs(Watch):
    """Counts how often each server runs, by looking at the processes of all hosts."""

    pause_s = _LOOK_S

    def __init__(self, first_pids: Callable[[], dict[str, int]]) -> None:
        super().__init__("runs")
        self._first_pids = first_pids
        self.looks = 0
        self.most = 0  # guests that ran at the same time
        self.doubles: list[DoubleRun] = []
        self._seen: set[tuple[str, tuple[int, ...]]] = set()

    def look(self) -> None:
        found = running_guests(namespaces(self._first_pids()))
        self.looks += 1
        self.most = max(self.most, len(found))
        for server, places in found.items():
            key = (server, tuple(sorted(places)))
            if len(places) > 1 and key not in self._seen:
                self._seen.add(key)
                after = round(time.monotonic() - self.began, 1)
                self.doubles.append(DoubleRun(server, sorted(places.values()), after))


@dataclass
class Probes(Watch):
    """Asks the API something cheap all the time, and knows when it was not answered."""

    client: Client
    answered: list[float] = field(default_factory=list)  # times of answers, of the monotonic clock
    asked: int = 0
    refused: int = 0

    pause_s = _PROBE_S

    def __post_init__(self) -> None:
        super().__init__("probes")

    def look(self) -> None:
        self.asked += 1
        try:
            answer = self.client.compute("GET", "/flavors?limit=1")
        except Away:
            self.refused += 1
            return
        if answer.accepted:
            self.answered.append(time.monotonic())
        else:
            self.refused += 1

    def longest(self, begin: float, end: float) -> float:
        """Return the longest time without an answer between two moments, in seconds."""
        return max(later - earlier for earlier, later in self.silences(begin, end))

    def silences(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return the times between answers, from one moment to another."""
        return [*pairwise([begin, *(each for each in self.answered if begin <= each <= end), end])]
