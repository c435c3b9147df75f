"""A volume's storage is away, or refuses: what needs it waits, says so, goes on or ends true; no attachment is lost."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from renova.model.errors import Broken, CloudError, Refused
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.store import actions
from tests.operations.failing_hosts import dead_host_of, fails
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import a_volume, attached, has, rows, status

Ask = Callable[[Told, ServerId], Awaitable[Any]]


async def with_volume(told: Told) -> ServerId:
    server = await told.created()
    told.volume = await attached(told, server)
    return server


async def away(told: Told) -> None:
    await told.cloud.cut_power("storage1")


async def back(told: Told) -> None:
    await told.cloud.power_on("storage1")
    await told.cloud.until(lambda: told.cloud.cloud.hosts.up(told.cloud.storage_hosts["storage1"].id))


async def newest(told: Told, server: ServerId) -> tuple[str | None, str | None, str]:
    """Return the message of what was asked last, and how its last event ended, with the reason."""

    def read(tx: Any) -> tuple[str | None, str | None, str]:
        action = actions.newest(tx, server)
        assert action is not None
        event = actions.events_of(tx, action.id)[0]
        return action.message, event.result, event.details or ""

    return await told.cloud.database.read(read)


async def waits(told: Told, server: ServerId) -> None:
    """Have time pass until the action says what it waits for."""
    await told.cloud.clock.sleep(30)
    message, result, _ = await newest(told, server)
    assert message is not None
    assert message.startswith("Waiting for up to 300 s: "), message
    assert "storage host" in message
    assert result is None


async def hard_reboot(told: Told, server: ServerId) -> None:
    await told.ask(accept_reboot, server, hard=True)


async def soft_reboot(told: Told, server: ServerId) -> None:
    await told.ask(accept_reboot, server, hard=False)


async def rebuild(told: Told, server: ServerId) -> None:
    await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass=""))


async def start(told: Told, server: ServerId) -> None:
    await told.ask(accept_start, server)


async def resume(told: Told, server: ServerId) -> None:
    await told.ask(accept_resume, server)


async def evacuate(told: Told, server: ServerId) -> None:
    await told.ask(accept_evacuate, server, Evacuation())


async def running(told: Told, server: ServerId) -> None:
    pass


async def stopped(told: Told, server: ServerId) -> None:
    await told.ask(accept_stop, server)
    await told.idle(server)


async def suspended(told: Told, server: ServerId) -> None:
    await told.ask(accept_suspend, server)
    await told.idle(server)


async def host_dead(told: Told, server: ServerId) -> None:
    await dead_host_of(told, server)


@pytest.mark.parametrize(
    ("ready", "ask"),
    [
        (running, hard_reboot),
        (stopped, hard_reboot),
        (running, soft_reboot),
        (running, rebuild),
        (stopped, start),
        (suspended, resume),
        (host_dead, evacuate),
    ],
)
def test_whatever_needs_a_volume_waits_for_its_storage_and_goes_on(ready: Ask, ask: Ask) -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await ready(told, server)
        await away(told)
        await ask(told, server)
        await waits(told, server)
        await back(told)
        ended = await told.idle(server)
        assert (ended.vm_state, ended.fault) == (VmState.ACTIVE, None)
        assert (await newest(told, server))[:2] == (None, "Success")
        assert [disk.volume for disk in has(told, server)[ended.host_name or ""]] == [told.volume]

    told_story(story)


async def given_up(told: Told, server: ServerId, ask: Ask) -> Server:
    """Ask for what waits in vain, and have it end with the reason; then the storage is back."""
    await away(told)
    await ask(told, server)
    began = told.cloud.clock.monotonic()
    ended = await told.idle(server)
    assert 300 <= told.cloud.clock.monotonic() - began < 700
    message, result, details = await newest(told, server)
    assert (message, result) == ("Error", "Error")
    assert "it was waited for 300 s" in details
    assert ended.fault is not None
    assert "it was waited for 300 s" in ended.fault.message
    await back(told)
    return ended


@pytest.mark.parametrize(
    ("ready", "ask", "left", "mend"),
    [
        (running, hard_reboot, VmState.ACTIVE, hard_reboot),
        (running, soft_reboot, VmState.ACTIVE, hard_reboot),
        (running, rebuild, VmState.ACTIVE, rebuild),
        (stopped, hard_reboot, VmState.STOPPED, hard_reboot),
        (stopped, start, VmState.STOPPED, start),
        (suspended, resume, VmState.SUSPENDED, resume),
    ],
)
def test_storage_that_stays_away_leaves_a_true_state_from_which_it_goes_on(
    ready: Ask, ask: Ask, left: VmState, mend: Ask
) -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await ready(told, server)
        ended = await given_up(told, server, ask)
        assert (ended.vm_state, ended.task_state) == (left, None)
        await mend(told, server)
        mended = await told.idle(server)
        assert (mended.vm_state, mended.fault) == (VmState.ACTIVE, None)
        assert [disk.volume for disk in has(told, server)["host1"]] == [told.volume]

    told_story(story)


def test_a_guest_is_not_touched_for_a_hard_reboot_that_its_storage_forbids() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        hypervisor = told.cloud.hosts["host1"].hypervisor
        before = await hypervisor.started_as(server)
        ended = await given_up(told, server, hard_reboot)
        assert (ended.vm_state, ended.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
        assert await hypervisor.started_as(server) == before

    told_story(story)


def test_a_server_whose_guest_went_with_its_host_says_so_and_a_hard_reboot_mends_it() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        host = await dead_host_of(told, server)
        await away(told)
        await told.cloud.power_on(host)  # which has its servers started again, by hard reboots
        await told.cloud.until(lambda: told.cloud.cloud.hosts.up(told.cloud.hosts[host].id))
        await told.cloud.clock.sleep(5)
        assert (await told.get(server)).task_state is TaskState.REBOOT_STARTED_HARD
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ERROR
        await back(told)
        await hard_reboot(told, server)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


@pytest.mark.parametrize("stays", [False, True])
def test_storage_that_goes_away_once_the_guest_is_ended_is_waited_for_too(stays: bool) -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        hypervisor: Any = told.cloud.hosts["host1"].hypervisor
        really = hypervisor.kill

        async def kill(which: ServerId) -> None:
            await really(which)
            if which == server and told.cloud.storage_hosts["storage1"].powered:
                await away(told)

        hypervisor.kill = kill
        await hard_reboot(told, server)
        await waits(told, server)
        hypervisor.kill = really
        if stays:
            ended = await told.idle(server)
            assert (ended.vm_state, ended.power_state) == (VmState.ERROR, PowerState.SHUTDOWN)
            await back(told)
            await hard_reboot(told, server)
        else:
            await back(told)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


def test_what_waits_for_its_host_after_its_storage_does_not_say_that_it_waits_for_storage() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await stopped(told, server)
        await away(told)
        await start(told, server)
        await waits(told, server)
        await told.cloud.cut_power("host1")
        await told.cloud.clock.sleep(30)
        message, result, _ = await newest(told, server)
        assert (message, result) == (None, None)
        await back(told)
        await told.cloud.power_on("host1")
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


@pytest.mark.parametrize("error", [Refused("no such export"), Broken("out of file handles")])
def test_storage_that_never_cuts_a_volume_off_is_given_up_too(error: CloudError) -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        mend = fails(told.cloud.storage_hosts["storage1"].volumes, "have", error)
        await rebuild(told, server)
        await waits(told, server)
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ERROR
        assert f"{error}; it was waited for 300 s" in str(ended.fault)
        mend()
        await hard_reboot(told, server)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert [disk.volume for disk in has(told, server)["host1"]] == [told.volume]

    told_story(story)


def test_a_volume_is_attached_once_its_storage_is_back() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        await away(told)
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await waits(told, server)
        await back(told)
        await told.idle(server)
        assert [disk.volume for disk in has(told, server)["host1"]] == [volume]

    told_story(story)


def test_an_attachment_that_is_given_up_leaves_the_volume_free() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        await away(told)
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.idle(server, 2000)
        assert (await newest(told, server))[:2] == ("Error", "Error")
        assert await rows(told, server) == []
        await back(told)
        await told.cloud.clock.sleep(10)
        assert await status(told, volume) == "available"

    told_story(story)


def test_a_detach_is_ended_by_itself_once_its_storage_is_back() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await away(told)
        await told.ask(accept_detach_volume, server, told.volume)
        await waits(told, server)
        await told.idle(server)
        assert (await newest(told, server))[:2] == (None, "Success")
        assert (await rows(told, server), await status(told, told.volume)) == ([], "detaching")
        await back(told)
        await told.cloud.clock.sleep(10)
        assert await status(told, told.volume) == "available"

    told_story(story)


def test_a_hard_reboot_behind_a_detach_that_waits_goes_on_without_the_volume() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await away(told)
        await told.ask(accept_detach_volume, server, told.volume)
        await waits(told, server)
        await hard_reboot(told, server)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert has(told, server)["host1"] == ()
        await back(told)
        await told.cloud.clock.sleep(10)
        assert await status(told, told.volume) == "available"

    told_story(story)


def test_an_evacuation_over_a_detach_that_waits_goes_on_without_the_volume() -> None:
    async def story(told: Told) -> None:
        server = await with_volume(told)
        await away(told)
        await told.ask(accept_detach_volume, server, told.volume)
        await waits(told, server)
        await dead_host_of(told, server)
        await evacuate(told, server)
        ended = await told.idle(server)
        assert ended.vm_state is VmState.ACTIVE
        assert ended.host_name != "host1"
        assert await rows(told, server) == []
        await back(told)
        await told.cloud.clock.sleep(10)
        assert await status(told, told.volume) == "available"

    told_story(story)
