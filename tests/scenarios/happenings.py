"""What can happen in a scenario: each sentence that a timeline may have, and what it does to the cloud.

`{}` stands for a name: of a host, a controller or a server. What the operator says goes over the API.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.ids import ServerId
from renova.simulation.channel import Line
from renova.simulation.front import COMPUTE
from renova.simulation.world import World

RENOVA = "/renova/v1"


class Stage(Protocol):
    """Where it happens."""

    world: World

    def server(self, name: str) -> ServerId: ...

    async def add_host(self, name: str) -> None: ...

    async def operator(self, method: str, path: str, body: Any = None) -> Any:
        """Ask in an operator's name; the answer stands in the log."""
        ...


Effect = Callable[..., Awaitable[None]]
HAPPENINGS: dict[str, Effect] = {}


def happens(sentence: str) -> Callable[[Effect], Effect]:
    """Have the decorated function do what the sentence says."""

    def add(effect: Effect) -> Effect:
        HAPPENINGS[sentence] = effect
        return effect

    return add


def find(sentence: str) -> tuple[Effect, tuple[str, ...]]:
    """Return what a sentence does, and to whom; `LookupError` for one that nobody understands."""
    for known, effect in HAPPENINGS.items():
        pattern = re.escape(known).replace(r"\{\}", r"(\S+)")
        if found := re.fullmatch(pattern, sentence):
            return effect, found.groups()
    raise LookupError(f"{sentence!r} is not understood; what is: {'; '.join(HAPPENINGS)}")


# --- hosts ---


@happens("{} loses power")
async def lose_power(stage: Stage, host: str) -> None:
    await stage.world.cut_power(host)


@happens("{} gets power")
async def get_power(stage: Stage, host: str) -> None:
    await stage.world.power_on(host)


@happens("{} is cut off")
async def cut_off(stage: Stage, name: str) -> None:
    """A host from the controllers and from other hosts; a controller from all hosts."""
    if name not in stage.world.controllers:
        stage.world.any_host(name).walled = True
    await cut_off_from_controllers(stage, name)


@happens("{} is cut off from the controllers")
async def cut_off_from_controllers(stage: Stage, name: str) -> None:
    for line in _lines(stage, name):
        line.cut()


@happens("{} hears nothing")
async def hear_nothing(stage: Stage, host: str) -> None:
    for line in _lines(stage, host):
        line.cut(to_controller=False)


@happens("{} is not heard")
async def be_not_heard(stage: Stage, host: str) -> None:
    for line in _lines(stage, host):
        line.cut(to_host=False)


@happens("{} is connected again")
async def connect(stage: Stage, name: str) -> None:
    if name not in stage.world.controllers:
        stage.world.any_host(name).walled = False
    for line in _lines(stage, name):
        line.heal()


def _lines(stage: Stage, name: str) -> list[Line]:
    if name in stage.world.controllers:
        return [host.lines[name] for host in stage.world.every_host()]
    return list(stage.world.any_host(name).lines.values())


@happens("{} stands still")
async def stand_still(stage: Stage, name: str) -> None:
    """Without its clock: one that is frozen, or asleep. A controller's process, a whole host."""
    stopped = stage.world.freeze_controller if name in stage.world.controllers else stage.world.suspend_host
    assert stopped(name), f"{name} does not run"


@happens("{} goes on")
async def go_on(stage: Stage, name: str) -> None:
    if name in stage.world.controllers:
        stage.world.thaw_controller(name)
    else:
        stage.world.wake_host(name, virtual=False)


@happens("{} goes on without knowing")
async def go_on_unknowing(stage: Stage, host: str) -> None:
    """As a virtual machine does: not even the clock that runs in suspend has gone on."""
    stage.world.wake_host(host, virtual=True)


@happens("the agent of {} is killed")
async def kill_agent(stage: Stage, host: str) -> None:
    stage.world.end_agent(host)


@happens("the agent of {} starts")
async def start_agent(stage: Stage, host: str) -> None:
    stage.world.start_agent(host)


@happens("the agent of {} stands still")
async def freeze_agent(stage: Stage, host: str) -> None:
    assert stage.world.freeze_agent(host)


@happens("the agent of {} goes on")
async def thaw_agent(stage: Stage, host: str) -> None:
    stage.world.thaw_agent(host)


@happens("the guard of {} is killed")
async def kill_guard(stage: Stage, host: str) -> None:
    stage.world.end_guard(host)


@happens("the guard of {} starts")
async def start_guard(stage: Stage, host: str) -> None:
    stage.world.start_guard(host)


@happens("the guard of {} stands still")
async def freeze_guard(stage: Stage, host: str) -> None:
    assert stage.world.freeze_guard(host)


@happens("the guard of {} goes on")
async def thaw_guard(stage: Stage, host: str) -> None:
    stage.world.thaw_guard(host)


@happens("the gate of {} sticks")
async def stick(stage: Stage, host: str) -> None:
    """Guests do not stand still; they can be killed."""
    gate = stage.world.hosts[host].gate
    assert gate is not None
    gate.sticks = True


@happens("guests of {} do not die")
async def be_immortal(stage: Stage, host: str) -> None:
    gate = stage.world.hosts[host].gate
    assert gate is not None
    gate.immortal = True


@happens("the disks of {} fail")
async def fail_disks(stage: Stage, host: str) -> None:
    stage.world.disk_of(host).failing = 1.0


@happens("the disks of {} work")
async def mend_disks(stage: Stage, host: str) -> None:
    stage.world.disk_of(host).failing = 0.0


@happens("{} joins")
async def join(stage: Stage, host: str) -> None:
    await stage.add_host(host)


# --- their power controllers ---


@happens("the BMC of {} lies")
async def lie(stage: Stage, host: str) -> None:
    """It says that the host is off, and switches nothing."""
    stage.world.switches.lying[host] = _unheard


@happens("the BMC of {} hangs")
async def hang(stage: Stage, host: str) -> None:
    stage.world.switches.hanging[host] = _unheard


@happens("the BMC of {} refuses")
async def refuse(stage: Stage, host: str) -> None:
    stage.world.switches.refusing[host] = _unheard


@happens("the BMC of {} works")
async def mend_bmc(stage: Stage, host: str) -> None:
    for spoilt in (stage.world.switches.lying, stage.world.switches.hanging, stage.world.switches.refusing):
        spoilt.pop(host, None)


def _unheard() -> None:
    """Nobody counts how often."""


# --- controllers and their database ---


@happens("{} is killed")
async def kill(stage: Stage, controller: str) -> None:
    await stage.world.kill_controller(controller)


@happens("{} starts")
async def start(stage: Stage, controller: str) -> None:
    await stage.world.start_controller(controller)


@happens("the database goes away")
async def lose_database(stage: Stage) -> None:
    stage.world.data.go_away()


@happens("the database comes back")
async def have_database(stage: Stage) -> None:
    stage.world.data.come_back()


@happens("the standby of the database falls behind")
async def lag(stage: Stage) -> None:
    """What is committed from now on is lost in a failover."""
    stage.world.data.lag()


@happens("the standby of the database is cut off")
async def cut_standby_off(stage: Stage) -> None:
    """No commit is confirmed from now on; in a failover they are lost."""
    stage.world.data.cut_standby_off()


@happens("the database fails over")
async def fail_over(stage: Stage) -> None:
    stage.world.data.promote()


@happens("{} is cut off from the database")
async def cut_off_from_database(stage: Stage, controller: str) -> None:
    stage.world.link_of(controller).go_away()


@happens("{} reaches the database again")
async def reach_database(stage: Stage, controller: str) -> None:
    stage.world.link_of(controller).come_back()


# --- guests ---


@happens("the guest of {} crashes")
async def crash(stage: Stage, server: str) -> None:
    guest = stage.server(server)
    for host in stage.world.hosts.values():
        if guest in host.hypervisor.executing():
            host.hypervisor.crash(guest)


@happens("the guest of {} hangs")
async def hang_guest(stage: Stage, server: str) -> None:
    """It executes, its agent is there, and answers nobody."""
    _hypervisor_of(stage, server).hang(stage.server(server))


@happens("the agent inside {} is ended")
async def end_agent_inside(stage: Stage, server: str) -> None:
    _hypervisor_of(stage, server).end_agent_inside(stage.server(server))


@happens("the watchdog of {} fires")
async def fire_watchdog(stage: Stage, server: str) -> None:
    _hypervisor_of(stage, server).fire_watchdog(stage.server(server))


def _hypervisor_of(stage: Stage, server: str) -> SimulatedHypervisor:
    guest = stage.server(server)
    return next(host.hypervisor for host in stage.world.hosts.values() if guest in host.hypervisor.executing())


# --- what the operator says ---


@happens("the operator says that {} is off")
async def vouch(stage: Stage, host: str) -> None:
    await stage.operator("POST", f"{RENOVA}/hosts/{host}/vouch", {"now": False})


@happens("the operator says that {} is off for certain")
async def vouch_now(stage: Stage, host: str) -> None:
    await stage.operator("POST", f"{RENOVA}/hosts/{host}/vouch", {"now": True})


@happens("the operator believes the BMC of {} again")
async def trust_power(stage: Stage, host: str) -> None:
    await stage.operator("POST", f"{RENOVA}/hosts/{host}/trust-power")


@happens("the operator releases the brake")
async def release_brake(stage: Stage) -> None:
    await stage.operator("POST", f"{RENOVA}/brake/release")


@happens("the operator goes on with the database")
async def begin_era(stage: Stage) -> None:
    await stage.operator("POST", f"{RENOVA}/eras")


@happens("the operator dismisses {}")
async def dismiss(stage: Stage, host: str) -> None:
    await stage.operator("POST", f"{RENOVA}/strangers/{host}/dismiss")


@happens("the operator forces {} down")
async def force_down(stage: Stage, host: str) -> None:
    await _change_service(stage, host, forced_down=True)


@happens("the operator forces {} down no more")
async def let_up(stage: Stage, host: str) -> None:
    await _change_service(stage, host, forced_down=False)


@happens("the operator disables {}")
async def disable(stage: Stage, host: str) -> None:
    await _change_service(stage, host, status="disabled")


@happens("the operator enables {}")
async def enable(stage: Stage, host: str) -> None:
    await _change_service(stage, host, status="enabled")


@happens("the operator empties {}")
async def drain(stage: Stage, host: str) -> None:
    await stage.operator("PUT", f"{RENOVA}/hosts/{host}/drain", {"reason": "fans"})


@happens("the operator has {} back")
async def end_drain(stage: Stage, host: str) -> None:
    await stage.operator("DELETE", f"{RENOVA}/hosts/{host}/drain")


@happens("the operator evacuates {}")
async def evacuate(stage: Stage, server: str) -> None:
    await stage.operator("POST", f"{COMPUTE}/servers/{stage.server(server)}/action", {"evacuate": {}})


@happens("the operator stops {}")
async def stop(stage: Stage, server: str) -> None:
    await stage.operator("POST", f"{COMPUTE}/servers/{stage.server(server)}/action", {"os-stop": None})


@happens("the operator deletes {}")
async def delete(stage: Stage, server: str) -> None:
    await stage.operator("DELETE", f"{COMPUTE}/servers/{stage.server(server)}")


async def _change_service(stage: Stage, host: str, **values: Any) -> None:
    listed = await stage.operator("GET", f"{COMPUTE}/os-services?host={host}")
    await stage.operator("PUT", f"{COMPUTE}/os-services/{listed['services'][0]['id']}", values)
