"""A simulated host that is switched off while something else befalls it boots like a real one, whatever that was."""

from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace

from renova.settings import ControllerSettings
from renova.simulation.cloud import QUICK_LEASE
from renova.simulation.loop import run_virtual
from renova.simulation.run import Plan
from renova.simulation.world import World

SETTINGS = ControllerSettings(lease=QUICK_LEASE, fence_after=QUICK_LEASE.ttl)


def tell(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(1, count=3, controller_count=1, storage_count=1, settings=replace(SETTINGS), switchable=True)
        await world.up()
        await story(world)
        await world.until(lambda: world.cloud.hosts.up(world.hosts["host1"].id))
        assert world.hosts["host1"].boots == 2
        await world.down()
        assert world.ended == []

    with structlog.testing.capture_logs():
        run_virtual(main(), limit_s=3000)


async def switched_off(world: World) -> None:
    await world.until(lambda: not world.hosts["host1"].powered)
    assert list(world.switches.off_since) == ["host1"]


def test_a_suspended_host_that_was_switched_off_goes_on_when_it_boots_and_not_when_it_is_woken() -> None:
    async def story(world: World) -> None:
        assert world.suspend_host("host1")
        await switched_off(world)
        await world.power_on("host1")
        await world.clock.sleep(30)
        world.wake_host("host1", virtual=True)
        assert not world.clock_of("host1").was_stopped

    tell(story)


def test_what_was_killed_does_not_begin_on_a_host_without_power() -> None:
    async def story(world: World) -> None:
        host = world.hosts["host1"]
        world.end_agent("host1")
        world.end_guard("host1")  # who holds the lease: while it runs, nobody takes the host for dead
        await switched_off(world)
        world.start_agent("host1")
        world.start_guard("host1")
        assert (host.agent, host.guard) == (None, None)
        await world.power_on("host1")
        assert None not in (host.agent, host.guard)

    tell(story)


def test_a_host_that_lost_its_power_is_switched_on_once() -> None:
    async def story(world: World) -> None:
        await world.cut_power("host1")
        await world.cut_power("host1")
        await world.power_on("host1")
        running = world.hosts["host1"].agent
        await world.power_on("host1")
        assert world.hosts["host1"].agent is running

    tell(story)


def test_hosts_are_switched_off_in_some_of_all_runs_and_in_those_that_are_to() -> None:
    assert {Plan(seed=seed).fences for seed in range(4)} == {True, False}
    assert Plan(seed=1, fencing=True).fences
    assert not Plan(seed=2, fencing=False).fences
