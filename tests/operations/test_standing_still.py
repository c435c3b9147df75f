"""Pause and suspend keep a guest's memory, and no longer than it fits to its disk; what is lost is said."""

from collections.abc import Callable

import pytest

from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.delete import accept_delete
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.reboot import accept_reboot
from renova.operations.suspend import accept_resume, accept_suspend
from renova.store import actions
from tests.operations.story import Told, told_story


def boots(told: Told, server: Server) -> int:
    """Count how often the server's guest has booted from its disk."""
    return told.cloud.hosts[server.host_name or ""].storage.disks[server.id, 1].boots


async def last_action(told: Told, server: ServerId) -> tuple[str, str | None, list[tuple[str, str | None, str | None]]]:
    def work(tx: object) -> tuple[str, str | None, list[tuple[str, str | None, str | None]]]:
        every = actions.of_server(tx, server)  # type: ignore[arg-type]
        newest = next(each for each in every if not each.action.startswith("heal_"))  # what users asked for
        events = actions.events_of(tx, newest.id)  # type: ignore[arg-type]
        return newest.action, newest.message, [(event.event, event.result, event.host_name) for event in events]

    return await told.cloud.database.read(work)


def test_a_paused_server_stands_still_and_goes_on_without_a_boot() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(5)
        await told.ask(accept_pause, server)
        assert (await told.get(server)).task_state is TaskState.PAUSING
        paused = await told.idle(server)
        assert (paused.vm_state, paused.power_state) == (VmState.PAUSED, PowerState.PAUSED)
        assert told.cloud.running(server) == []
        event = ("compute_pause_instance", "Success", paused.host_name)
        assert await last_action(told, server) == ("pause", None, [event])
        await told.ask(accept_unpause, server)
        assert (await told.get(server)).task_state is TaskState.UNPAUSING
        again = await told.idle(server)
        assert (again.vm_state, again.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert boots(told, again) == 1

    told_story(story)


def test_a_suspended_server_uses_no_host_power_and_goes_on_without_a_boot() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(5)
        await told.ask(accept_suspend, server)
        assert (await told.get(server)).task_state is TaskState.SUSPENDING
        asleep = await told.idle(server)
        assert (asleep.vm_state, asleep.power_state) == (VmState.SUSPENDED, PowerState.SHUTDOWN)
        assert told.cloud.running(server) == []
        await told.ask(accept_resume, server)
        assert (await told.get(server)).task_state is TaskState.RESUMING
        again = await told.idle(server)
        assert (again.vm_state, again.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert boots(told, again) == 1
        event = ("compute_resume_instance", "Success", again.host_name)
        assert await last_action(told, server) == ("resume", None, [event])

    told_story(story)


@pytest.mark.parametrize("accept", [accept_pause, accept_suspend])
def test_a_hard_reboot_drops_the_memory(accept: Callable[..., object]) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(5)
        await told.ask(accept, server)
        await told.idle(server)
        await told.ask(accept_reboot, server, hard=True)
        again = await told.idle(server)
        assert again.vm_state is VmState.ACTIVE, again.fault
        await told.cloud.clock.sleep(5)
        await told.cloud.hosts[again.host_name or ""].hypervisor.console(server)
        assert boots(told, again) == 2

    told_story(story)


@pytest.mark.parametrize("accept", [accept_pause, accept_suspend])
def test_a_server_that_stands_still_can_be_deleted(accept: Callable[..., object]) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept, server)
        host = (await told.idle(server)).host_name or ""
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert await told.cloud.hosts[host].hypervisor.guest(server) is None

    told_story(story)


async def cut_and_power_on(told: Told, host: str) -> None:
    await told.cloud.cut_power(host)
    await told.back(host)


def test_a_suspended_server_keeps_its_memory_over_a_power_cut() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(5)
        await told.ask(accept_suspend, server)
        host = (await told.idle(server)).host_name or ""
        await cut_and_power_on(told, host)
        assert (await told.get(server)).vm_state is VmState.SUSPENDED
        await told.ask(accept_resume, server)
        assert boots(told, await told.idle(server)) == 1

    told_story(story)


def test_a_paused_server_that_lost_its_memory_is_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_pause, server)
        host = (await told.idle(server)).host_name or ""
        await cut_and_power_on(told, host)

        async def settled() -> Server:
            while (found := await told.get(server)).vm_state is VmState.PAUSED:
                await told.cloud.clock.sleep(0.1)
            return found

        found = await settled()
        assert (found.vm_state, found.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
        await told.cloud.clock.sleep(1)

    told_story(story)


@pytest.mark.parametrize("accept", [accept_pause, accept_suspend])
def test_what_needs_a_living_guest_and_finds_none_leaves_the_server_stopped(accept: Callable[..., object]) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = (await told.get(server)).host_name or ""
        await told.cloud.kill_agent(host)
        await told.ask(accept, server)
        await cut_and_power_on(told, host)
        found = await told.idle(server)
        assert (found.vm_state, found.task_state) == (VmState.STOPPED, None)
        assert found.fault is not None
        assert "the guest is off" in found.fault.message
        assert (await last_action(told, server))[1] == "Error"

    told_story(story)


def test_an_unpause_that_finds_the_guest_dead_leaves_the_server_stopped() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_pause, server)
        host = (await told.idle(server)).host_name or ""
        await told.cloud.kill_agent(host)
        await told.ask(accept_unpause, server)
        await cut_and_power_on(told, host)
        assert (await told.idle(server)).vm_state is VmState.STOPPED

    told_story(story)


def test_a_hard_reboot_ends_a_pause_that_waits_for_its_host() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = (await told.get(server)).host_name or ""
        await told.cloud.kill_agent(host)
        await told.ask(accept_pause, server)
        await told.cloud.clock.sleep(1)
        await told.ask(accept_reboot, server, hard=True)
        told.cloud.start_agent(host)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)
