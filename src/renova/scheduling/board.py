"""All hosts side by side, in columns: what thousands of hosts are tested and weighed by, without asking each one.

Kept by `operations.parts.fleet`, host by host as they change; read by `choose`. A column of facts also knows which
different facts there are: a test that all of them pass looks at no host.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Set
from functools import partial
from typing import Generic, TypeVar

from renova.model.host import HostView
from renova.model.ids import HostId

F = TypeVar("F", bound=Hashable)


class Facts(Generic[F]):
    """One fact of each host, at the host's place."""

    def __init__(self, read: Callable[[HostView], F], hosts: Iterable[HostView] = ()) -> None:
        self.at: list[F] = []
        self._read = read
        self._counts: Counter[F] = Counter()
        for host in hosts:
            self.add(host)

    def add(self, host: HostView) -> None:
        fact = self._read(host)
        self.at.append(fact)
        self._counts[fact] += 1

    def put(self, place: int, host: HostView) -> None:
        old, new = self.at[place], self._read(host)
        if old != new:
            self.at[place] = new
            self._counts[new] += 1
            self._forget(old)

    def pop(self) -> None:
        self._forget(self.at.pop())

    def _forget(self, fact: F) -> None:
        self._counts[fact] -= 1
        if not self._counts[fact]:
            del self._counts[fact]

    def found(self) -> Set[F]:
        """Return the different facts there are."""
        return self._counts.keys()

    def keep(self, places: list[int], passes: Callable[[F], bool]) -> list[int]:
        """Return those of the places whose fact passes."""
        good = {fact for fact in self._counts if passes(fact)}
        if len(good) == len(self._counts):
            return places
        at = self.at
        return [place for place in places if at[place] in good] if good else []


Units = tuple[int, int, int]


class Board:
    """Hosts at places 0, 1, 2 …; a place is good until the next change."""

    def __init__(self, hosts: Iterable[HostView] = ()) -> None:
        self.views: list[HostView] = []
        self.up = Facts(lambda host: host.up)
        self.disabled = Facts(lambda host: host.disabled)
        self.zone = Facts(lambda host: host.zone)
        self.architecture = Facts(lambda host: host.architecture)
        self.hypervisor_types = Facts(lambda host: host.hypervisor_types)
        self.traits = Facts(lambda host: host.traits)
        self._marks = Facts(lambda host: frozenset(host.marks))
        self._free: dict[str, list[float]] = {}
        self._units: dict[str, Facts[Units | None]] = {}
        self._places: dict[HostId, int] = {}
        for host in hosts:
            self.put(host)

    def __len__(self) -> int:
        return len(self.views)

    def place(self, host: HostId) -> int | None:
        return self._places.get(host)

    def view(self, host: HostId) -> HostView | None:
        place = self._places.get(host)
        return None if place is None else self.views[place]

    def free(self, resource_class: str) -> list[float] | None:
        """Return how much of it is free at each place; None where no host has any."""
        return self._free.get(resource_class)

    def units(self, resource_class: str) -> Facts[Units | None] | None:
        """Return (least, most, step) of a claim at each place; None where no host says."""
        return self._units.get(resource_class)

    @property
    def marks(self) -> frozenset[str]:
        """The metadata keys of all hosts' aggregates."""
        return frozenset[str]().union(*self._marks.found())

    def put(self, host: HostView) -> None:
        """Have the host on the board as it is now."""
        for name in host.total.keys() | host.used.keys():
            if name not in self._free:
                self._free[name] = [_free(each, name) for each in self.views]
        for name in host.units:
            if name not in self._units:
                self._units[name] = Facts(partial(_units, name=name), self.views)
        place = self._places.get(host.id)
        if place is None:
            self._places[host.id] = len(self.views)
            self.views.append(host)
            for facts in self._facts():
                facts.add(host)
            for name, column in self._free.items():
                column.append(_free(host, name))
        else:
            self._set(place, host)

    def _set(self, place: int, host: HostView) -> None:
        self.views[place] = host
        for facts in self._facts():
            facts.put(place, host)
        for name, column in self._free.items():
            column[place] = _free(host, name)

    def _facts(self) -> tuple[Facts[bool] | Facts[str] | Facts[frozenset[str]] | Facts[Units | None], ...]:
        named = (self.up, self.disabled, self.zone, self.architecture, self.hypervisor_types, self.traits, self._marks)
        return (*named, *self._units.values())

    def drop(self, host: HostId) -> None:
        """Take the host from the board, if it is there; the last one gets its place."""
        place = self._places.pop(host, None)
        if place is None:
            return
        last = self.views.pop()
        for facts in self._facts():
            facts.pop()
        for column in self._free.values():
            column.pop()
        if place < len(self.views):
            self._set(place, last)
            self._places[last.id] = place


def _units(host: HostView, name: str) -> Units | None:
    return host.units.get(name)


def _free(host: HostView, resource_class: str) -> float:
    return host.total.get(resource_class, 0) - host.used.get(resource_class, 0)
