"""When each server of a plan is begun and up: as many at once as the limits let, in the plan's order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import msgspec

from renova.model.ids import HostId, ServerId


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many servers are brought back at the same time; both at least 1."""

    at_once: int  # in the whole cloud
    at_once_per_host: int  # on one destination

    def __post_init__(self) -> None:
        if min(self.at_once, self.at_once_per_host) < 1:
            raise ValueError("nothing is ever brought back with a limit below 1")


class StageTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long each stage takes, in seconds, as was measured or is expected; a start takes some time."""

    detect_s: float  # until the host is suspected
    prove_s: float  # until its death is proven
    plan_s: float
    start_s: float  # until the guest has been started, on the disks it has
    start_anew_s: float  # the same where its disks are made anew
    up_s: float  # from there until the guest is up

    def __post_init__(self) -> None:
        if min(self.start_s, self.start_anew_s) <= 0:
            raise ValueError("to start a guest takes some time")

    @property
    def begin_s(self) -> float:
        """From the host's death to the first command."""
        return self.detect_s + self.prove_s + self.plan_s


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is to be started where it has its place."""

    server: ServerId
    target: HostId
    anew: bool  # its disks are made anew
    runs: bool
    after: tuple[ServerId, ...] = ()  # among these, that are to be up first


class When(msgspec.Struct, frozen=True):
    """When a start happens, in seconds since the server's host died."""

    wave: int  # 1, 2, …: those of one wave are begun together
    begun_s: float
    done_s: float  # up; started, and stopped again, where the server does not run


def waves(starts: Sequence[Start], limits: Limits, times: StageTimes) -> dict[ServerId, When]:
    """Say when each start happens; whoever waits, for a place among those at once or for a server, delays no other."""
    left, now, wave = list(starts), times.begin_s, 0
    starting = {start.server for start in starts}
    found: dict[ServerId, When] = {}
    on: Counter[HostId] = Counter()
    running: list[tuple[float, HostId]] = []  # by when the place among those at once is free again
    events: list[float] = []
    while left:
        while running and running[0][0] <= now:
            on[heappop(running)[1]] -= 1
        later: list[Start] = []
        wave += 1
        for nth, start in enumerate(left):
            if len(running) >= limits.at_once:
                later += left[nth:]
                break
            if on[start.target] >= limits.at_once_per_host or not _all_up(start.after, starting, found, now):
                later.append(start)
                continue
            started = now + (times.start_anew_s if start.anew else times.start_s)
            found[start.server] = When(wave, now, started + times.up_s if start.runs else started)
            on[start.target] += 1
            heappush(running, (started, start.target))
            for event in {started, found[start.server].done_s}:
                heappush(events, event)
        if len(later) == len(left):
            wave -= 1  # nobody was begun
        left = later
        while events and events[0] <= now:
            heappop(events)
        if left:
            now = events[0]
    return found


def _all_up(after: Iterable[ServerId], starting: set[ServerId], found: dict[ServerId, When], now: float) -> bool:
    return all(each not in starting or (each in found and found[each].done_s <= now) for each in after)
