"""How fast the hosts' clocks run, as their guards tell with each renewal.

A guard stops its guests by its own clock. One that runs slower than is allowed for, or that was stopped from outside as
that of a virtual machine can be, stops them too late: such a guard's word counts for nothing (class V). One that is
fast stops them early, and harms nobody.
"""

from typing import NamedTuple

from renova.model.ids import HostId

WINDOW_S = 600.0  # over which a clock is watched, before that begins anew
SLACK_S = 2.0  # for which a renewal may have been on its way


class _Anchor(NamedTuple):
    boot: str
    theirs: float
    ours: float


class Clocks:
    """Compares the hosts' clocks with this controller's. `drift` is the share by which each may be wrong."""

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._anchors: dict[HostId, _Anchor] = {}
        self._slow: dict[HostId, str] = {}  # by host: the boot in which it was found slow

    def told(self, host: HostId, boot: str, theirs: float, ours: float) -> None:
        """Note what the host's clock said when ours (monotonic) said this."""
        if not theirs:
            return
        anchor = self._anchors.get(host)
        if anchor is None or anchor.boot != boot:
            self._anchors[host] = _Anchor(boot, theirs, ours)
            return
        passed = ours - anchor.ours
        if passed - (theirs - anchor.theirs) > self._drift / 2 * passed + SLACK_S:
            self._slow[host] = boot
        if passed >= WINDOW_S:
            self._anchors[host] = _Anchor(boot, theirs, ours)

    def slow(self, host: HostId, boot: str) -> bool:
        """Say whether the host's clock was found too slow in this boot."""
        return self._slow.get(host) == boot
