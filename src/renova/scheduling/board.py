"""All hosts side by side, in columns: what thousands of hosts are tested and weighed by, without asking each one.

Kept by `operations.parts.fleet`, host by host as they change; read by `choose`. A column of facts also knows which
different facts there are: a test that all of them pass looks at no host.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from functools import partial
from typing import Generic, TypeVar

from msgspec.structs import replace

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

    def copy(self) -> "Facts[F]":
        """Return the same, to be changed apart."""
        other = Facts(self._read)
        other.at, other._counts = self.at[:], self._counts.copy()
        return other

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
        self._named: dict[str, int] = {}
        for host in hosts:
            self.put(host)

    def copy(self) -> "Board":
        """Return the same, to be changed apart: what would be if, at the price of some lists."""
        other = Board()
        other.views = self.views[:]
        other.up = self.up.copy()
        other.disabled = self.disabled.copy()
        other.zone = self.zone.copy()
        other.architecture = self.architecture.copy()
        other.hypervisor_types = self.hypervisor_types.copy()
        other.traits = self.traits.copy()
        other._marks = self._marks.copy()
        other._free = {name: column[:] for name, column in self._free.items()}
        other._units = {name: facts.copy() for name, facts in self._units.items()}
        other._places = self._places.copy()
        other._named = self._named.copy()
        return other

    def __len__(self) -> int:
        return len(self.views)

    def place(self, host: HostId) -> int | None:
        return self._places.get(host)

    def named(self, name: str) -> int | None:
        """Return the place of the host of this name."""
        return self._named.get(name)

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
            self._places[host.id] = self._named[host.name] = len(self.views)
            self.views.append(host)
            for facts in self._facts():
                facts.add(host)
            for name, column in self._free.items():
                column.append(_free(host, name))
        else:
            self._set(place, host)

    def _set(self, place: int, host: HostView) -> None:
        self._unname(place)
        self._named[host.name] = place
        self.views[place] = host
        for facts in self._facts():
            facts.put(place, host)
        for name, column in self._free.items():
            column[place] = _free(host, name)

    def _unname(self, place: int) -> None:
        name = self.views[place].name
        if self._named.get(name) == place:  # else another host has it by now: this one was removed, and is still to go
            del self._named[name]

    def _facts(self) -> tuple[Facts[bool] | Facts[str] | Facts[frozenset[str]] | Facts[Units | None], ...]:
        named = (self.up, self.disabled, self.zone, self.architecture, self.hypervisor_types, self.traits, self._marks)
        return (*named, *self._units.values())

    def claim(self, host: HostId, amounts: Mapping[str, int]) -> None:
        """Have one server more on the host, which holds these amounts of it."""
        place = self._places[host]
        view = self.views[place]
        used = view.used | {name: view.used.get(name, 0) + amount for name, amount in amounts.items()}
        self.views[place] = claimed = replace(view, used=used, servers=view.servers + 1)
        for name in amounts:
            if (column := self._free.get(name)) is None:
                column = self._free[name] = [_free(each, name) for each in self.views]
            column[place] = _free(claimed, name)

    def drop(self, host: HostId) -> None:
        """Take the host from the board, if it is there; the last one gets its place."""
        place = self._places.pop(host, None)
        if place is None:
            return
        self._unname(len(self.views) - 1)
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
