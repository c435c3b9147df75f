"""Bugs of how an armed host stops its guests where its lease ends, and of the margin that it is given for it."""

from typing import Any, cast

from msgspec.structs import replace

from renova.guard.keeper import Keeper
from renova.guard.lease import Lease
from renova.guard.service import Guard
from renova.ha import monitor
from renova.simulation.cloud import QUICK_LEASE, SimulatedCloud
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import ARMED

ALONE = "host isolated, guard killed, guard frozen"
STUCK = "gate of a host sticks, host isolated"


@bug("12", "the margin is not waited for", "revoked", f"{STUCK}, guard frozen", seeds=80, **ARMED)
def no_margin(patch: Patch) -> None:
    judge = getattr(monitor, "decide")  # noqa: B009  (imported there)
    margin = QUICK_LEASE.margin
    patch.setattr(monitor, "decide", lambda host: judge(replace(host, lapsed_after_s=host.lapsed_after_s - margin)))


SLEEPS: dict[str, Any] = {**ARMED, "weak": True, "cuts": False, "controllers": 1, "rate": 4.0, "minutes": 1.0}


@bug("13", "the guard's clock stands still in suspend", "gate revoked right", "suspended and woken, line cut", **SLEEPS)
def sleepy_clock(patch: Patch) -> None:
    class Sleepy:
        def __init__(self, clock: Any) -> None:
            self._clock = clock

        def boottime(self) -> float:
            return float(self._clock.monotonic())

        def __getattr__(self, name: str) -> Any:
            return getattr(self._clock, name)

    begin = Guard.__init__

    def init(self: Guard, name: str, page: Any, clock: Any, *arguments: Any, **options: Any) -> None:
        begin(self, name, page, cast(Any, Sleepy(clock)), *arguments, **options)

    patch.setattr(Guard, "__init__", init)


@bug("14", "the watchdog is petted though the gate failed", "gate revoked", STUCK, seeds=80, **ARMED)
def pets_on(patch: Patch) -> None:
    async def close(self: Keeper) -> bool:
        return await self._gate.close() or True

    patch.setattr(Keeper, "_close", close)


@bug("15", "the gate opens again after a while", "gate revoked", ALONE, **ARMED)
def opens_on_timer(patch: Patch) -> None:
    def may_open(lease: Lease, _for_s: float = 0.0) -> bool:
        late = lease._clock.boottime() - lease.deadline
        return (lease.holds() and not lease.returning) or 3.0 < late < 300.0

    patch.setattr(Lease, "may_open", may_open)
    patch.setattr(Lease, "may_stay_open", may_open)


@bug("16", "a new guard assumes that it has a lease", "gate renewed", f"{ALONE}, loses power", **ARMED)
def fresh_deadline(patch: Patch) -> None:
    run_guard = Guard.run

    async def hopeful(self: Guard) -> None:
        page = await self._page.read()
        self.lease.enter(page.era, page.epoch)
        self.lease.deadline, self.lease.returning = self.lease._clock.boottime() + 3600.0, False
        await run_guard(self)

    patch.setattr(Guard, "run", hopeful)


@bug("17", "the end of a guard leaves the gate open", "gate", "guard killed", **ARMED)
def no_stop_hook(patch: Patch) -> None:
    patch.setattr(SimulatedCloud, "_close_after", lambda _self, _host: None)


@bug("38", "frozen guests are killed in an outage of the database", "unharmed", "database away", **ARMED)
def killed_in_an_outage(patch: Patch) -> None:
    async def asks_nobody(_self: Keeper) -> bool:
        return False

    patch.setattr(Keeper, "_others_lack_leases", asks_nobody)
