"""How fast the hosts' clocks run, as their guards tell with each renewal.

A guard stops its guests by its own clock. One that runs slower than is allowed for, or that was stopped from outside as
that of a virtual machine can be, stops them too late: such a guard's word counts for nothing (class V). One that is
fast stops them early, and harms nobody.

A renewal that was long on its way looks like a clock that stood still, until the next one comes in time: what stood
still regains nothing. So the word counts for nothing at once, and again as soon as the clock is seen to be right; but
for as long as this boot lasts no more where it stayed behind.
"""

from dataclasses import dataclass

from renova.model.ids import HostId

WINDOW_S = 600.0  # over which a clock is watched, before that begins anew
SLACK_S = 2.0  # for which a renewal may have been on its way
# For which a clock may be behind, and yet be found right: lines and controllers that are slow may be better by then,
# and no time service has had the clock of a machine that stood still run faster yet, so that it catches up.
DOUBT_S = 60.0
SEEN = 10  # times at least that it was behind then: what was silent in between was seen by nobody


@dataclass(slots=True)
class _Watched:
    """A host's clock in one boot, from when it and ours said these; both in seconds."""

    boot: str
    theirs: float
    ours: float
    behind_since: float | None = None  # by our clock
    seen_behind: int = 0  # how often since then
    allowed: float = 0.0  # by how much it might have been behind then
    slow: bool = False  # for good


class Clocks:
    """Compares the hosts' clocks with this controller's. `drift` is the share by which each may be wrong."""

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._watched: dict[HostId, _Watched] = {}

    def told(self, host: HostId, boot: str, theirs: float, ours: float) -> None:
        """Note what the host's clock said when ours (monotonic) said this."""
        if not theirs:
            return
        clock = self._watched.get(host)
        if clock is None or clock.boot != boot:
            self._watched[host] = _Watched(boot, theirs, ours)
            return
        passed = ours - clock.ours
        behind = passed - (theirs - clock.theirs)
        if clock.behind_since is None:
            clock.allowed = self._drift / 2 * passed + SLACK_S
        if behind > clock.allowed:
            if clock.behind_since is None:
                clock.behind_since = ours
            clock.seen_behind += 1
            clock.slow = clock.slow or (ours - clock.behind_since >= DOUBT_S and clock.seen_behind >= SEEN)
            return
        clock.behind_since, clock.seen_behind = None, 0
        if behind < 0 or passed >= WINDOW_S:  # what came faster than the first one is the better measure
            clock.theirs, clock.ours = theirs, ours

    def slow(self, host: HostId, boot: str) -> bool:
        """Say whether the host's clock is too slow, or was found to be so in this boot."""
        clock = self._watched.get(host)
        return clock is not None and clock.boot == boot and (clock.slow or clock.behind_since is not None)
