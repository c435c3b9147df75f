"""Servers of hosts that are proven dead come up elsewhere by themselves, in their order, whatever dies meanwhile."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.ha.picture import FleetView
from renova.ha.plan import Plan
from renova.ha.recovery import Recoverer
from renova.ha.rehearse import rehearse
from renova.ha.survey import expected_times, limits, take_picture
from renova.model.errors import NotNow
from renova.model.host import HostState
from renova.model.ids import ServerId
from renova.model.recovery import Recovery, RecoveryState
from renova.model.server import VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.settings import ControllerSettings, RecoverySettings
from renova.simulation.cloud import NO_BRAKE, QUICK_LEASE
from renova.simulation.loop import run_virtual
from renova.store import hosts, recoveries, rights, servers
from renova.store.database import Tx
from tests.operations.failing_hosts import break_start
from tests.operations.story import Told, told_story

RECOVERY = RecoverySettings(automatic=True, again=10.0)
SETTINGS = ControllerSettings(
    lease=QUICK_LEASE, soft_reboot_wait=10, shutdown_wait=10, recovery=RECOVERY, brake=NO_BRAKE
)
Story = Callable[[Told], Awaitable[None]]


def tell(story: Story, *, recovery: RecoverySettings = RECOVERY, **options: Any) -> None:
    told_story(story, **{"settings": replace(SETTINGS, recovery=recovery)} | options)


async def on_one_host(told: Told, count: int, host: str = "host1", **changes: Any) -> list[ServerId]:
    """Have servers on this host only: the others are disabled meanwhile."""
    for name in told.cloud.hosts:
        await change(told, name, disabled=name != host)
    made = [await told.created(f"server{nth}", **changes) for nth in range(count)]
    for name in told.cloud.hosts:
        await change(told, name, disabled=False)
    return made


async def change(told: Told, name: str, **values: Any) -> None:
    host = told.cloud.hosts[name].id
    await told.cloud.database.transact(lambda tx: hosts.change(tx, host, **values))


def at(told: Told, server: ServerId, host: str | None) -> bool:
    return told.cloud.running(server) == [host]


async def recovery_of(told: Told, server: ServerId) -> Recovery | None:
    found = await told.cloud.database.read(lambda tx: recoveries.find(tx, server=server))
    return found[0] if found else None


async def ended(told: Told, server: ServerId, *states: RecoveryState, within_s: float = 120.0) -> Recovery:
    until = told.cloud.clock.monotonic() + within_s
    while True:
        found = await recovery_of(told, server)
        if found is not None and found.state in states:
            return found
        assert told.cloud.clock.monotonic() < until, found
        await told.cloud.clock.sleep(0.2)


def test_servers_of_a_dead_host_are_up_elsewhere_without_anybodys_command() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 3)
        died = told.cloud.clock.monotonic()
        await told.cloud.cut_power("host1")
        for server in made:
            found = await ended(told, server, RecoveryState.UP)
            assert told.cloud.running(server) == [found.reached] == [(await told.get(server)).host_name]
            assert (await told.get(server)).vm_state is VmState.ACTIVE
            assert found.host_name == "host1"
            assert found.attempts == 1
            took_s = told.cloud.clock.monotonic() - died
            assert found.up_s is not None
            assert 0 < found.up_s <= took_s + QUICK_LEASE.renew
            assert found.predicted_up_s is not None
        assert told.cloud.clock.monotonic() - died < 20

    tell(story)


def test_what_happens_is_what_a_rehearsal_said_would() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 5)
        dying = frozenset({told.cloud.hosts["host1"].id})
        fleet = await take_picture(told.cloud.cloud, dying)
        plan = rehearse(fleet, dying, limits(RECOVERY), expected_times(RECOVERY)).plan
        said = {step.server: fleet.name(step.target) for step in plan.steps if step.target}
        await told.cloud.cut_power("host1")
        assert {server: (await ended(told, server, RecoveryState.UP)).reached for server in made} == said

    tell(story, count=4)


def test_the_urgent_come_first_and_no_more_at_once_than_may_be() -> None:
    async def story(told: Told) -> None:
        usual = await on_one_host(told, 2)
        (urgent,) = [
            server for server in await on_one_host(told, 1, metadata={"renova:priority": "900"}) if server not in usual
        ]
        (last,) = await on_one_host(told, 1, metadata={"renova:priority": "1000", "renova:after": usual[0]})
        await told.cloud.cut_power("host1")
        found = [await ended(told, server, RecoveryState.UP) for server in (usual[0], last, urgent, usual[1])]
        assert sorted(found, key=lambda each: each.begun_at or "") == found, "who is waited for is as urgent"
        for one, other in pairwise(found):
            assert (one.ended_at or "") <= (other.begun_at or "")

    tell(story, recovery=replace(RECOVERY, at_once=1))


def test_servers_are_left_or_stopped_where_somebody_wished_it() -> None:
    async def story(told: Told) -> None:
        (left,) = await on_one_host(told, 1, metadata={"renova:recovery": "leave"})
        (stopped,) = await on_one_host(told, 1, metadata={"renova:recovery": "stop"})
        await told.cloud.cut_power("host1")
        found = await ended(told, left, RecoveryState.LEFT)
        assert "renova:recovery=leave" in found.reason
        await ended(told, stopped, RecoveryState.STOPPED)
        assert (await told.get(stopped)).vm_state is VmState.STOPPED
        await told.cloud.power_on("host1")
        await ended(told, left, RecoveryState.OVER)
        await told.cloud.until(lambda: told.cloud.running(left) == ["host1"])
        await told.cloud.clock.sleep(30)
        assert told.cloud.running(stopped) == []

    tell(story)


def test_those_of_a_dead_host_at_which_somebody_is_at_work_hold_up_nobody() -> None:
    async def story(told: Told) -> None:
        first = await on_one_host(told, 2)
        second = await on_one_host(told, 2, host="host2")
        await told.cloud.cut_power("host1")
        begun = [await ended(told, each, RecoveryState.WAITING, RecoveryState.MOVING) for each in first]
        await change(told, "host1", disabled=True)
        await told.cloud.cut_power("host2")
        for server in second:
            await ended(told, server, RecoveryState.UP)
        found = [await recovery_of(told, each.server) for each in begun]
        assert RecoveryState.WAITING in [each.state for each in found if each], "nobody has gone to work there in vain"
        await change(told, "host1", disabled=False)
        for server in first:
            await ended(told, server, RecoveryState.UP)

    tell(story, recovery=replace(RECOVERY, at_once=1), count=4)


def test_those_whose_host_is_given_back_while_others_are_planned_for_come_up() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 2)
        await on_one_host(told, 1, host="host2")
        await told.cloud.cut_power("host1")
        for server in made:
            await ended(told, server, RecoveryState.WAITING, RecoveryState.MOVING)
        await change(told, "host1", disabled=True)
        await told.cloud.cut_power("host2")
        await told.cloud.clock.sleep(30)
        controller = told.cloud.controller
        assert controller is not None

        class Interrupted(Recoverer):
            async def _make(self, fleet: FleetView) -> Plan:
                await change(told, "host1", disabled=False)
                return await super()._make(fleet)

        await Interrupted(controller.cloud, controller.recoverer.me)._plan()
        for server in made:
            await ended(told, server, RecoveryState.UP)

    tell(story, recovery=replace(RECOVERY, at_once=1), count=4)


def test_a_server_that_somebody_evacuates_while_the_plan_is_made_is_not_stopped_where_it_has_come_up() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1, metadata={"renova:recovery": "stop"})
        controller = told.cloud.controller
        assert controller is not None
        await change(told, "host1", disabled=True)  # so that nobody plans but us
        await told.cloud.cut_power("host1")
        host = told.cloud.hosts["host1"].id
        while await told.cloud.database.read(lambda tx: hosts.proof(tx, host)) is None:
            await told.cloud.clock.sleep(0.5)

        class Slow(Recoverer):
            async def _make(self, fleet: FleetView) -> Plan:
                await told.ask(accept_evacuate, server, Evacuation())
                await told.idle(server)
                return await super()._make(fleet)

        await change(told, "host1", disabled=False)
        await Slow(controller.cloud, controller.recoverer.me)._plan()
        row = await told.get(server)
        assert (row.vm_state, told.cloud.running(server)) == (VmState.ACTIVE, [row.host_name])

    tell(story)


def test_a_server_of_which_no_plan_can_say_anything_does_not_have_one_made_each_second() -> None:
    async def story() -> None:
        told = await Told(settings=SETTINGS).begin()
        (server,) = await on_one_host(told, 1)

        def unmade(tx: Tx) -> None:
            """Leave it as a server is whose build had begun, and which no host may run."""
            servers.change(tx, server, vm_state=VmState.BUILDING)
            rights.release(tx, server)

        await told.cloud.database.transact(unmade)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(60)
        await told.cloud.down()

    with structlog.testing.capture_logs() as events:
        run_virtual(story())
    planned = [event for event in events if event["event"] == "recovery planned"]
    assert 0 < len(planned) <= 60 / RECOVERY.again


def test_what_finds_no_room_is_told_with_the_reason_and_tried_again_when_there_is_some() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await change(told, "host2", disabled=True)
        await told.cloud.cut_power("host1")
        found = await ended(told, server, RecoveryState.FAILED)
        assert "disabled" in found.reason
        assert (await told.get(server)).task_state is None
        await told.cloud.clock.sleep(60)
        await change(told, "host2", disabled=False)
        assert (await ended(told, server, RecoveryState.UP)).reached == "host2"

    tell(story, count=2)


def test_no_second_host_is_tried_while_the_first_may_yet_start_the_guest() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        fleet = await take_picture(told.cloud.cloud, frozenset({told.cloud.hosts["host1"].id}))
        dying = frozenset({told.cloud.hosts["host1"].id})
        (step,) = rehearse(fleet, dying, limits(RECOVERY), expected_times(RECOVERY)).plan.steps
        planned = fleet.name(step.target) if step.target else ""
        break_start(told.cloud, planned, NotNow("it cannot"))
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(40)
        assert told.cloud.running(server) == []
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server))
        assert right is not None
        assert right.host == told.cloud.hosts[planned].id, "nobody else is tried while it may yet start"
        del told.cloud.hosts[planned].hypervisor.start
        assert (await ended(told, server, RecoveryState.UP)).reached == planned

    tell(story, count=3)


@pytest.mark.parametrize("values", [{"disabled": True}, {"forced_down": True}])
def test_servers_of_hosts_where_somebody_is_at_work_are_not_recovered(values: dict[str, Any]) -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await change(told, "host1", **values)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(60)
        rows = await told.cloud.database.read(hosts.every)
        assert HostState.DEAD in {row.state for row in rows}
        assert await recovery_of(told, server) is None
        assert told.cloud.running(server) == []
        await change(told, "host1", forced_down=False)
        await told.back("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host1"])

    tell(story)


def test_nothing_comes_back_by_itself_where_that_is_not_wanted() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(60)
        assert await recovery_of(told, server) is None
        await told.back("host1")
        await told.cloud.until(lambda: told.cloud.running(server) == ["host1"])

    tell(story, recovery=replace(RECOVERY, automatic=False))


@pytest.mark.parametrize("seconds", [4.0, 5.0, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0])
def test_recoveries_go_on_whenever_a_controller_dies(seconds: float) -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 4)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(seconds)
        await told.cloud.kill_controller("controller1")
        for server in made:
            found = await ended(told, server, RecoveryState.UP)
            assert told.cloud.running(server) == [found.reached]
        await told.cloud.start_controller("controller1")

    tell(story, controller_count=2, recovery=replace(RECOVERY, at_once=2))


def test_a_host_that_comes_back_before_its_turn_keeps_its_servers() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 4)
        await told.cloud.cut_power("host1")
        await ended(told, made[0], *RecoveryState)
        await told.cloud.power_on("host1")
        states = [await ended(told, server, RecoveryState.UP, RecoveryState.OVER) for server in made]
        assert {each.state for each in states} == {RecoveryState.UP, RecoveryState.OVER}
        for each in states:
            home = each.reached if each.state is RecoveryState.UP else "host1"
            await told.cloud.until(partial(at, told, each.server, home))

    tell(story, recovery=replace(RECOVERY, at_once=1))


def test_a_destination_that_dies_is_recovered_from_in_its_turn() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 3)
        await told.cloud.cut_power("host1")
        first = await ended(told, made[0], RecoveryState.UP)
        await told.cloud.cut_power(first.reached or "")
        until = told.cloud.clock.monotonic() + 200
        alive = [name for name, host in told.cloud.hosts.items() if host.powered]
        while any(told.cloud.running(server) != alive for server in made):
            assert told.cloud.clock.monotonic() < until
            await told.cloud.clock.sleep(1)

    tell(story, count=3)


def test_a_new_host_is_room() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 2)
        await told.cloud.cut_power("host1")
        for server in made:
            await ended(told, server, RecoveryState.FAILED)
        await told.cloud.add_host("host9", "10.1.0.9", SimulatedStorage("other"))
        for server in made:
            assert (await ended(told, server, RecoveryState.UP)).disks == "lost"

    tell(story, count=1, facts=SMALL_HOST)
