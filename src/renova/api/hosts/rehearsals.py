"""What would become of servers if hosts died now, and whether any few hosts could be lost. Changes nothing."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from renova.api.hosts.found import unknown_host
from renova.api.http import Call, Reply
from renova.ha.picture import FleetView
from renova.ha.plan import Step
from renova.ha.rehearse import Rehearsal, rehearse
from renova.ha.survey import expected_times, limits, take_picture
from renova.ha.survive import Survival, survivable
from renova.model.errors import Invalid, NotFound
from renova.model.host import Role
from renova.model.ids import HostId
from renova.store import aggregates, hosts
from renova.store.database import Tx

T = TypeVar("T")

MOST_FAILURES = 10
MOST_PLANS = 100_000
USUAL_SECONDS, MOST_SECONDS = 30, 600


async def show(call: Call) -> Reply:
    """Say what would become of the servers of the hosts that are named, or of all hosts of a zone."""
    call.demand("renova:rehearse")
    names = [value for key, value in call.query if key == "host"]
    zone = call.one("zone")
    if bool(names) == (zone is not None):
        raise Invalid("Name the hosts that die by host, one or several, or all of a zone by zone; and not both.")
    dying = await call.cloud.database.read(lambda tx: _named(tx, names) if zone is None else _of_zone(tx, zone))
    fleet = await take_picture(call.cloud, dying)
    recovery = call.cloud.settings.recovery
    # In a thread: for thousands of servers it takes a second, in which others are to be answered.
    times = expected_times(recovery)
    found = await _apart(call, lambda: rehearse(fleet, dying, limits(recovery), times))
    return Reply(200, {"rehearsal": _view(fleet, dying, found)})


async def survival(call: Call) -> Reply:
    """Say whether any hosts, so many at once, may die, and which failure is the one that is not survived."""
    call.demand("renova:rehearse")
    failures = _number(call, "failures", MOST_FAILURES)
    seconds = _number(call, "seconds", MOST_SECONDS, USUAL_SECONDS)
    plans = _number(call, "plans", MOST_PLANS, MOST_PLANS)
    fleet = await take_picture(call.cloud, None)
    clock = call.cloud.clock
    until = clock.monotonic() + seconds

    def look() -> Survival:
        return survivable(fleet, failures, most_plans=plans, go_on=lambda: clock.monotonic() < until)

    found = await _apart(call, look)
    return Reply(200, {"survival": msgspec.to_builtins(found) | {"hosts": _names(fleet, found.hosts)}})


async def _apart(call: Call, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(call.cloud.rehearsing, work)


def _number(call: Call, name: str, most: int, usual: int | None = None) -> int:
    text = call.one(name)
    if text is None and usual is not None:
        return usual
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise Invalid(f"{name} must be a whole number from 1 to {most}.")
    return int(text)


def _named(tx: Tx, names: Iterable[str]) -> frozenset[HostId]:
    found = set()
    for name in names:
        host = hosts.by_name(tx, name)
        if host is None:
            raise unknown_host(name)
        if host.role is not Role.COMPUTE:
            raise Invalid(f"No server lives on {name}: it is a storage host.")
        found.add(host.id)
    return frozenset(found)


def _of_zone(tx: Tx, zone: str) -> frozenset[HostId]:
    found = frozenset(host.id for host in hosts.computing(tx) if aggregates.zone_of(tx, host.id) == zone)
    if not found:
        raise NotFound(f"There is no host in an availability zone {zone}: see `openstack availability zone list`.")
    return found


def _view(fleet: FleetView, dying: frozenset[HostId], found: Rehearsal) -> dict[str, Any]:
    return {
        "hosts": _names(fleet, sorted(dying)),
        "dead_already": _names(fleet, sorted(fleet.dead - dying)),
        "cut_off_already": _names(fleet, sorted(fleet.cut_off - dying)),
        "summary": msgspec.to_builtins(found.summary),
        "steps": [_step(fleet, step) for step in found.plan.steps],
        "circles": [list(circle) for circle in found.plan.circles],
    }


def _step(fleet: FleetView, step: Step) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(step)
    return shown | {
        "project": fleet.known[step.server].project,
        "source": fleet.name(step.source),
        "target": fleet.name(step.target) if step.target else None,
    }


def _names(fleet: FleetView, those: Iterable[HostId]) -> list[str]:
    return sorted(fleet.name(host) for host in those)
