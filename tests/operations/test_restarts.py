"""A guest that crashes is started again, a few times and ever later; one that somebody stopped is not."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from renova.ha.restarting import pause
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.recovery import RecoveryState
from renova.model.server import Server, TaskState, VmState
from renova.operations.create_image import Backup
from renova.operations.heal_ports import accept_heal_ports
from renova.operations.migrate import accept_migrate
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.settings import RecoverySettings
from renova.store import actions, restarts
from tests.operations.story import Told, told_story
from tests.operations.test_duties import unreported
from tests.operations.test_recovery import RECOVERY, SETTINGS, ended
from tests.operations.volumes import attached

RESTARTS = replace(RECOVERY, restarts=3, restart_pause=10.0, restart_window=600.0)


def tell(story: Callable[[Told], Awaitable[None]], *, recovery: RecoverySettings = RESTARTS, **options: Any) -> None:
    told_story(story, **{"settings": replace(SETTINGS, recovery=recovery)} | options)


async def crash(told: Told, server: ServerId) -> None:
    """Have the server's guest die, and wait until that is known."""
    row = await told.get(server)
    told.cloud.hosts[row.host_name or ""].hypervisor.crash(server)
    await stands(told, server, VmState.STOPPED)


async def stands(told: Told, server: ServerId, state: VmState, within_s: float = 30.0) -> Server:
    until = told.cloud.clock.monotonic() + within_s
    while (row := await told.get(server)).vm_state is not state or row.task_state is not None:
        assert told.cloud.clock.monotonic() < until, row
        await told.cloud.clock.sleep(0.1)
    return row


@pytest.mark.parametrize(("crashes", "wanted"), [(1, 0.0), (2, 10.0), (3, 20.0), (4, None), (100, None)])
def test_how_long_a_guest_stays_off_after_a_crash(crashes: int, wanted: float | None) -> None:
    assert pause(crashes, RESTARTS) == wanted


def test_a_guest_that_crashes_is_started_again_at_once_then_later_and_then_given_up() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        for wait_s in (0.0, 10.0, 20.0):
            await crash(told, server)
            began = told.cloud.clock.monotonic()
            row = await stands(told, server, VmState.ACTIVE, wait_s + 5)
            assert told.cloud.clock.monotonic() - began >= wait_s - 1
            assert row.power_state is PowerState.RUNNING
        await crash(told, server)
        await told.cloud.clock.sleep(200)
        row = await told.get(server)
        assert row.vm_state is VmState.STOPPED
        assert row.fault is not None
        assert "crashed 4 times" in row.fault.message
        await told.ask(accept_start, server)
        await stands(told, server, VmState.ACTIVE)
        await told.cloud.clock.sleep(RESTARTS.restart_window)
        await crash(told, server)
        await stands(told, server, VmState.ACTIVE, 5)

    tell(story)


def test_a_guest_whose_storage_stays_away_is_started_again_when_that_is_back() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        told.volume = await attached(told, server)
        await told.cloud.cut_power("storage1")
        await crash(told, server)
        waits_s = told.cloud.settings.storage_wait + RESTARTS.again
        await told.cloud.clock.sleep(2.5 * waits_s)
        row = await told.get(server)
        assert row.fault is not None
        assert "storage host" in row.fault.message
        assert row.vm_state is VmState.STOPPED
        assert await asked(told, server) in (2, 3)  # and not again and again
        await told.cloud.power_on("storage1")
        row = await stands(told, server, VmState.ACTIVE, waits_s)
        assert row.power_state is PowerState.RUNNING

    tell(story)


async def asked(told: Told, server: ServerId) -> int:
    """Count the reboots in the server's history."""
    history = await told.cloud.database.read(lambda tx: actions.of_server(tx, server))
    return sum(each.action == "reboot" for each in history)


def test_a_guest_that_powered_itself_off_stays_off() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        told.cloud.hosts[row.host_name or ""].hypervisor.power_off_inside(server)
        await stands(told, server, VmState.STOPPED)
        await told.cloud.clock.sleep(60)
        assert (await told.get(server)).vm_state is VmState.STOPPED

    tell(story)


@pytest.mark.parametrize(
    ("recovery", "metadata"),
    [
        (replace(RESTARTS, restarts=0), {}),
        (replace(RESTARTS, automatic=False), {}),
        (RESTARTS, {"renova:recovery": "leave"}),
        (replace(RESTARTS, default="leave"), {}),
    ],
)
def test_no_guest_is_started_again_where_that_is_not_wished(
    recovery: RecoverySettings, metadata: dict[str, str]
) -> None:
    async def story(told: Told) -> None:
        server = await told.created(metadata=metadata)
        await crash(told, server)
        await told.cloud.clock.sleep(60)
        assert (await told.get(server)).vm_state is VmState.STOPPED

    tell(story, recovery=recovery)


def test_what_somebody_asks_of_the_server_meanwhile_counts() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await crash(told, server)
        await stands(told, server, VmState.ACTIVE)
        await crash(told, server)  # off for ten seconds
        await told.ask(accept_start, server)
        number = (await stands(told, server, VmState.ACTIVE, 5)).last_number
        await told.cloud.clock.sleep(60)
        assert (await told.get(server)).last_number == number
        assert await told.cloud.database.read(restarts.pending) == []

    tell(story)


def test_a_crash_that_no_report_told_of_is_followed_too() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await unreported(told, server, lambda hypervisor: hypervisor.crash(server.id))
        await told.cloud.cloud.rounds.do("power_states")
        await told.cloud.clock.sleep(20)
        assert (await stands(told, server.id, VmState.ACTIVE)).power_state is PowerState.RUNNING

    tell(story)


def test_a_crash_is_not_forgotten_while_its_server_is_being_stopped_for_it() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await unreported(told, server, lambda hypervisor: hypervisor.crash(server.id))
        await told.cloud.cloud.rounds.do("power_states")
        await told.cloud.kill_agent(server.host_name or "")
        await told.cloud.clock.sleep(5)
        assert (await told.get(server.id)).task_state is TaskState.POWERING_OFF
        told.cloud.start_agent(server.host_name or "")
        await told.cloud.clock.sleep(20)
        assert (await stands(told, server.id, VmState.ACTIVE)).power_state is PowerState.RUNNING

    tell(story)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 1.5])
def test_a_guest_is_started_again_whenever_a_controller_dies(seconds: float) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        told.cloud.hosts[server.host_name or ""].hypervisor.crash(server.id)
        await told.cloud.clock.sleep(seconds)
        await told.cloud.kill_controller("controller1")
        await stands(told, server.id, VmState.ACTIVE)
        await told.cloud.start_controller("controller1")

    tell(story, controller_count=2)


async def crashed_in_its_pause(told: Told) -> Server:
    """Have a server whose guest has crashed for the second time, and is to be off for a while."""
    server = await told.created()
    await crash(told, server)
    await stands(told, server, VmState.ACTIVE)
    await crash(told, server)
    return await told.get(server)


def test_a_guest_that_crashed_before_its_host_died_is_started_where_its_server_was_brought_up() -> None:
    async def story(told: Told) -> None:
        server = await crashed_in_its_pause(told)
        await told.cloud.cut_power(server.host_name or "")
        await ended(told, server.id, RecoveryState.UP)
        row = await stands(told, server.id, VmState.ACTIVE)
        assert told.cloud.running(server.id) == [row.host_name] != [server.host_name]

    tell(story)


def test_a_restart_that_the_hosts_death_cuts_off_is_made_where_the_server_was_brought_up() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        seen = told.watch_tasks()
        told.cloud.hosts[server.host_name or ""].hypervisor.crash(server.id)
        await told.cloud.until(lambda: TaskState.REBOOTING_HARD in seen)
        await told.cloud.cut_power(server.host_name or "")
        await ended(told, server.id, RecoveryState.UP)
        row = await stands(told, server.id, VmState.ACTIVE)
        assert told.cloud.running(server.id) == [row.host_name] != [server.host_name]

    tell(story)


def test_a_server_that_was_stopped_when_its_host_died_stays_off_though_its_guest_had_crashed_before() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await crash(told, server.id)
        await stands(told, server.id, VmState.ACTIVE)
        await told.ask(accept_stop, server.id)
        await stands(told, server.id, VmState.STOPPED)
        await told.cloud.cut_power(server.host_name or "")
        await ended(told, server.id, RecoveryState.UP)
        await told.cloud.clock.sleep(60)
        assert (await told.get(server.id)).vm_state is VmState.STOPPED
        assert told.cloud.running(server.id) == []

    tell(story)


async def heal_ports(told: Told, server: ServerId) -> None:
    await told.ask(accept_heal_ports, server)


async def migrate(told: Told, server: ServerId) -> None:
    await told.ask(accept_migrate, server)


async def back_up(told: Told, server: ServerId) -> None:
    await told.make_image(server, Backup("daily", 1))


async def both(told: Told, server: ServerId, then: Callable[[Told, ServerId], Awaitable[None]]) -> None:
    """Have something behind which the other waits: it gets its number only then."""
    await heal_ports(told, server)
    await then(told, server)


@pytest.mark.parametrize(
    "ask", [heal_ports, migrate, back_up, partial(both, then=migrate), partial(both, then=back_up)]
)
def test_what_decides_nothing_about_a_crashed_guest_keeps_it_from_nothing(
    ask: Callable[[Told, ServerId], Awaitable[None]],
) -> None:
    async def story(told: Told) -> None:
        server = await crashed_in_its_pause(told)
        await ask(told, server.id)
        row = await stands(told, server.id, VmState.ACTIVE)
        assert told.cloud.running(server.id) == [row.host_name]

    tell(story)
