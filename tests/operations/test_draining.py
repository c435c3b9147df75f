"""A host is emptied for whoever is to work there, and nothing is done to it, or brought up elsewhere, by mistake."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from renova.ha.draining import begin_drain, leavers, undo_drain
from renova.ha.leaving import Leaver, Progress, Stage, progress
from renova.model.errors import Conflict, Refused
from renova.model.host import Host, HostState
from renova.model.ids import ServerId
from renova.model.recovery import RecoveryState
from renova.model.server import TaskState, VmState
from renova.operations.compute_service import disable, enable
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.settings import MaintenanceSettings
from renova.store import drains, hosts, migrations, recoveries
from renova.store.database import Tx
from tests.operations.failing_hosts import break_start
from tests.operations.story import Told, told_story
from tests.operations.test_recovery import RECOVERY, SETTINGS, ended, on_one_host

Story = Callable[[Told], Awaitable[None]]
QUICK = replace(SETTINGS, maintenance=MaintenanceSettings(again=5.0, leave="cold"))


def tell(story: Story, **options: Any) -> None:
    told_story(story, **{"settings": QUICK} | options)


async def row(told: Told, name: str) -> Host:
    found = await told.cloud.database.read(lambda tx: hosts.by_name(tx, name))
    assert found is not None
    return found


async def drain(told: Told, name: str) -> None:
    host, cloud = await row(told, name), told.cloud.cloud
    await cloud.database.transact(lambda tx: begin_drain(cloud, tx, host, "ann", "new fans"))


async def undo(told: Told, name: str) -> None:
    host, cloud = await row(told, name), told.cloud.cloud
    await cloud.database.transact(lambda tx: undo_drain(cloud, tx, host))


async def left(told: Told, name: str) -> list[Leaver]:
    def work(tx: Tx) -> list[Leaver]:
        wish = drains.get(tx, told.cloud.hosts[name].id)
        assert wish is not None
        return leavers(tx, wish, told.cloud.settings.maintenance)

    return await told.cloud.database.read(work)


async def until_progress(told: Told, name: str, wanted: Progress, within_s: float = 120.0) -> list[Leaver]:
    until = told.cloud.clock.monotonic() + within_s
    while progress(found := await left(told, name)) is not wanted:
        assert told.cloud.clock.monotonic() < until, found
        await told.cloud.clock.sleep(0.2)
    return found


async def places(told: Told, made: list[ServerId]) -> set[str | None]:
    return {(await told.get(server)).host_name for server in made}


def test_a_drained_host_is_empty_and_its_servers_are_as_they_were_elsewhere() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 4)
        await told.ask(accept_stop, made[0])
        await told.idle(made[0])
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.DRAINED)
        assert "host1" not in await places(told, made)
        assert (await told.get(made[0])).vm_state is VmState.STOPPED
        assert all([(await told.get(server)).vm_state is VmState.ACTIVE for server in made[1:]])
        host = await row(told, "host1")
        assert (host.disabled, host.disabled_by, host.disabled_reason) == (True, "ann", "new fans")

    tell(story)


def test_no_more_servers_leave_at_once_than_may() -> None:
    async def story(told: Told) -> None:
        await on_one_host(told, 6)
        most = 0
        await drain(told, "host1")
        while found := await left(told, "host1"):
            most = max(most, sum(each.stage is Stage.MOVING for each in found))
            await told.cloud.clock.sleep(0.05)
        assert most == 2

    tell(story, shut_down_s=1.0)


def test_what_cannot_leave_is_told_with_the_reason_and_leaves_when_it_can() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await told.ask(accept_suspend, server)
        await told.idle(server)
        await drain(told, "host1")
        (only,) = await until_progress(told, "host1", Progress.HELD_UP)
        assert "vm_state suspended" in only.reason
        await told.ask(accept_resume, server)
        await until_progress(told, "host1", Progress.DRAINED)

    tell(story)


def test_a_server_that_another_host_cannot_have_is_tried_elsewhere() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        break_start(told.cloud, "host2", Refused("never (planted)"))
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.DRAINED)
        assert told.cloud.running(server) == ["host3"]

    tell(story)


async def use(told: Told, name: str, *, used: bool) -> None:
    host, cloud = await row(told, name), told.cloud.cloud
    if used:
        await cloud.database.transact(lambda tx: enable(cloud, tx, host))
    else:
        await cloud.database.transact(lambda tx: disable(cloud, tx, host, "full", "test"))


def test_a_server_without_a_place_runs_on_until_there_is_one_and_says_so() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        for name in ("host2", "host3"):
            await use(told, name, used=False)
        await drain(told, "host1")
        until = told.cloud.clock.monotonic() + 60
        while not (found := await left(told, "host1"))[0].attempts:
            assert told.cloud.clock.monotonic() < until, found
            await told.cloud.clock.sleep(0.2)
        assert "No valid host" in found[0].reason
        assert told.cloud.running(server) == ["host1"]
        await use(told, "host2", used=True)
        await until_progress(told, "host1", Progress.DRAINED)

    tell(story)


def test_a_drain_that_is_taken_back_has_the_host_used_again_and_nothing_come_back() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 2)
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.DRAINED)
        gone = await places(told, made)
        await undo(told, "host1")
        assert not (await row(told, "host1")).disabled
        await told.cloud.clock.sleep(30)
        assert await places(told, made) == gone
        with pytest.raises(Conflict, match="is not drained"):
            await undo(told, "host1")

    tell(story)


def test_a_dead_host_is_not_drained_and_its_servers_come_back_elsewhere() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: told.cloud.running(server) != ["host1"])
        while (await row(told, "host1")).state is not HostState.DEAD:
            await told.cloud.clock.sleep(0.2)
        with pytest.raises(Conflict, match="Host host1 is dead"):
            await drain(told, "host1")
        assert not (await row(told, "host1")).disabled
        await told.cloud.until(lambda: bool(told.cloud.running(server)))
        assert "host1" not in told.cloud.running(server)

    tell(story)


def test_a_host_that_was_out_of_use_before_stays_so_after_its_drain() -> None:
    async def story(told: Told) -> None:
        await use(told, "host1", used=False)
        await drain(told, "host1")
        await undo(told, "host1")
        assert (await row(told, "host1")).disabled_reason == "full"

    tell(story)


def test_who_enables_the_compute_service_ends_the_drain() -> None:
    async def story(told: Told) -> None:
        await drain(told, "host1")
        await use(told, "host1", used=True)
        assert await told.cloud.database.read(drains.every) == []

    tell(story)


def test_the_servers_of_a_host_that_goes_off_while_it_is_drained_are_not_recovered_and_run_when_it_is_back() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 3)
        for server in made[1:]:
            told.cloud.hosts["host1"].hypervisor.ignoring_acpi.add(server)
        await drain(told, "host1")
        await told.cloud.until(lambda: told.cloud.running(made[0]) in (["host2"], ["host3"]))
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(120)
        known = await told.cloud.database.read(lambda tx: (recoveries.find(tx), migrations.find(tx)))
        assert known[0] == []
        assert {each.type for each in known[1]} == {"migration"}
        for server in made[1:]:
            assert told.cloud.running(server) in ([], ["host2"], ["host3"])
        await told.back("host1")
        await until_progress(told, "host1", Progress.DRAINED, within_s=900)
        assert all([(await told.get(server)).vm_state is VmState.ACTIVE for server in made])

    tell(story)


def test_a_host_in_maintenance_may_be_off_and_on_as_long_as_it_takes() -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        await told.ask(accept_suspend, server)
        await told.idle(server)
        await drain(told, "host1")
        await until_progress(told, "host1", Progress.HELD_UP)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(600)
        await told.back("host1")
        after = await told.get(server)
        assert (after.host_name, after.vm_state) == ("host1", VmState.SUSPENDED)
        assert await told.cloud.database.read(recoveries.find) == []

    tell(story)


def test_another_controller_goes_on_where_one_dies_that_drains() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 4)
        await drain(told, "host1")
        until = told.cloud.clock.monotonic() + 60
        while not any([(await told.get(server)).task_state is TaskState.RESIZE_FINISH for server in made]):
            assert told.cloud.clock.monotonic() < until
            await told.cloud.clock.sleep(0.02)
        await told.cloud.kill_controller("controller1")
        await until_progress(told, "host1", Progress.DRAINED)
        for server in made:
            await told.idle(server)
        assert "host1" not in await places(told, made)

    tell(story, controller_count=2, start_s=1.0)


def test_servers_that_stayed_on_a_dead_host_are_recovered_once_nobody_is_at_work_there_any_more() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 2)
        await use(told, "host1", used=False)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(60)
        assert await places(told, made) == {"host1"}
        await use(told, "host1", used=True)
        for server in made:
            await ended(told, server, RecoveryState.UP)

    tell(story)


def test_recoveries_stand_still_while_somebody_is_at_work_there_and_go_on_afterwards() -> None:
    async def story(told: Told) -> None:
        made = await on_one_host(told, 3)
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: any(told.cloud.running(server) for server in made))
        await use(told, "host1", used=False)
        await told.cloud.clock.sleep(60)
        assert "host1" in await places(told, made)
        await use(told, "host1", used=True)
        for server in made:
            await ended(told, server, RecoveryState.UP)

    tell(story, settings=replace(QUICK, recovery=replace(RECOVERY, at_once=1)), start_s=2.0)
