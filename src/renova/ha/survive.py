"""Whether any N hosts may fail at once, and every server that is to be recovered still finds a place.

Exact, by the plans that recovery would make: a failure is survived if its plan places all. Most failures are not
planned one by one but proven harmless in families (`spare`). How many plans are made at most is the caller's word;
where that was too little, the answer is that it is not known, and how far it came.
"""

from collections.abc import Callable, Iterator
from math import comb

import msgspec
from msgspec.structs import replace

from renova.ha.picture import FleetView
from renova.ha.plan import place
from renova.ha.spare import Spare
from renova.model.ids import HostId, ServerId


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about so many failures at once."""

    failures: int  # at most so many hosts at once
    survived: bool | None  # None: not known, for there were more failures to look at than was allowed
    hosts: tuple[HostId, ...] = ()  # a failure that is not survived
    server: ServerId | None = None  # the first server that finds no place then
    name: str = ""
    reason: str = ""
    of: int  # how many different failures there are
    proven: int  # of these, harmless without a plan
    planned: int


def survivable(
    fleet: FleetView, failures: int, *, most_plans: int, go_on: Callable[[], bool] = lambda: True
) -> Survival:
    """Say whether any `failures` hosts, or fewer, may fail at once.

    Servers of hosts that are dead already have to find their place, too; one that finds none as things are breaks
    nothing more. `go_on` is asked now and then whether there is time left.
    """
    return _Search(fleet, failures, most_plans, go_on).answer()


class _Search:
    def __init__(self, fleet: FleetView, failures: int, most_plans: int, go_on: Callable[[], bool]) -> None:
        self._fleet = fleet
        self._already = set(place(fleet, fleet.dead).refusals)
        self._spare = Spare(fleet, failures, self._already)
        self._hosts = self._spare.hosts
        self._failures = min(failures, len(self._hosts))
        self._asked = failures
        self._most_plans = most_plans
        self._go_on = go_on
        self._proven = self._planned = 0
        self._given_up = False

    def answer(self) -> Survival:
        for count in range(1, self._failures + 1):
            for failed in self._doubtful((), 0, count):
                if self._planned >= self._most_plans:
                    return self._told(None)
                self._planned += 1
                placed = place(self._fleet, self._fleet.dead | set(failed))
                for server, reason in placed.refusals.items():
                    if server not in self._already:
                        name = self._fleet.known[server].name
                        return replace(self._told(False), hosts=failed, server=server, name=name, reason=reason)
        return self._told(None if self._given_up else True)

    def _told(self, survived: bool | None) -> Survival:
        return Survival(
            failures=self._asked,
            survived=survived,
            of=sum(comb(len(self._hosts), count) for count in range(1, self._failures + 1)),
            proven=self._proven,
            planned=self._planned,
        )

    def _doubtful(self, failed: tuple[HostId, ...], start: int, more: int) -> Iterator[tuple[HostId, ...]]:
        """Give the failures of these hosts and `more` from place `start` on that are not proven to be harmless."""
        if self._out_of_time():
            return
        if not more:
            if self._spare.enough(failed, start, 0):
                self._proven += 1
            else:
                yield failed
            return
        for nth in range(start, len(self._hosts) - more + 1):
            if self._spare.enough(failed, nth, more):
                self._proven += comb(len(self._hosts) - nth, more)
                return
            yield from self._doubtful((*failed, self._hosts[nth]), nth + 1, more - 1)
            if self._out_of_time():
                return

    def _out_of_time(self) -> bool:
        self._given_up = self._given_up or not self._go_on()
        return self._given_up
