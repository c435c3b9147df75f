"""Bugs of how a host is found silent, and its lease revoked."""

import dataclasses
from typing import Any, cast

from renova.ha.monitor import Monitor
from renova.hosts import leases
from renova.hosts.leases import Leases
from renova.store import hosts as host_rows
from tests.simulation.planted.bugs import Patch, bug, in_story
from tests.simulation.planted.shapes import LEASES

CLOSE: dict[str, Any] = {"by_silence": True, "margin": 0.2, "rate": 4.0, "minutes": 1.0}


@bug(
    "8",
    "a revocation compares no counter",
    "no_rush",
    "controller frozen, database slow, host isolated",
    seeds=80,
    **CLOSE,
)
def no_counter_compare(patch: Patch) -> None:
    prove_dead = host_rows.prove_dead

    def hasty(tx: Any, observed: Any, kind: str, readings: dict[str, str], who: str) -> bool:
        return prove_dead(tx, host_rows.lease(tx, observed.host) or observed, kind, readings, who)

    patch.setattr(host_rows, "prove_dead", hasty)


@bug("9", "the silence is not counted anew with a new counter", "no_rush answers", "guest dies", seeds=160, **LEASES)
def since_ever(patch: Patch) -> None:
    look = Leases.look

    async def patient(self: Leases) -> Any:
        before = {host: silence.since for host, silence in self._silences.items()}
        found = await look(self)
        for host, silence in self._silences.items():
            silence.since = before.get(host, silence.since)
        return found

    patch.setattr(Leases, "look", patient)
    patch.setattr(Leases, "_hear", lambda *_: None)


@in_story("10", "the silence goes on over a failover that loses commits", "no_rush", "failover_that_loses_renewals")
def over_a_failover(patch: Patch) -> None:
    look = Leases.look

    async def trusting(self: Leases) -> Any:
        self._standing = self._database.standing
        return await look(self)

    patch.setattr(Leases, "look", trusting)
    patch.setattr(Leases, "_listening_since", property(lambda self: self._began))


# A clock of which nothing else knows: what is compared with other clocks is always or never silent.
@bug("11", "silence is measured by a wall clock, and that jumps", "no_rush recovered", "wall clock", **LEASES)
def wall_clock(patch: Patch) -> None:
    class Wall:
        def __init__(self, clock: Any) -> None:
            self._clock = clock

        def monotonic(self) -> float:
            return float(self._clock.wall().timestamp())

        def __getattr__(self, name: str) -> Any:
            return getattr(self._clock, name)

    begin = leases.Leases.__init__

    def init(self: Leases, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._clock = cast(Any, Wall(self._clock))
        self._began = self._clock.monotonic()

    patch.setattr(Leases, "__init__", init)
    following = Monitor._wanted

    def by_wall(self: Monitor, host: Any, silence: Any, *, fence: bool = True) -> Any:
        ahead = self.cloud.clock.wall().timestamp() - self.cloud.clock.monotonic()
        return following(self, host, dataclasses.replace(silence, since=silence.since - ahead), fence=fence)

    patch.setattr(Monitor, "_wanted", by_wall)
