"""Who takes the place of another operation leaves nothing of it behind, and none is cut off that nobody else would end.

An administrator may reset a server's task state at any moment (`os-resetState`): then it no longer keeps others away.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from renova.model.errors import Conflict, Invalid
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.migrate import accept_migrate
from renova.operations.migrate_live import accept_migrate_live
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.stop import accept_stop
from renova.store import rights, servers
from tests.operations.failing_hosts import dead_host_of, evacuating
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import a_volume

Ask = Callable[[Told, ServerId], Awaitable[object]]


async def evacuate(told: Told, server: ServerId) -> object:
    await dead_host_of(told, server)
    return await told.ask(accept_evacuate, server, Evacuation())


async def delete(told: Told, server: ServerId) -> object:
    return await told.ask(accept_delete, server)


async def make_image(told: Told, server: ServerId) -> object:
    return await told.make_image(server)


async def migrate(told: Told, server: ServerId) -> object:
    await told.ask(accept_migrate, server)
    return await granted_elsewhere(told, server)


async def migrate_live(told: Told, server: ServerId) -> object:
    await told.cloud.clock.sleep(2 * told.cloud.boot_s)
    await told.ask(accept_migrate_live, server)
    return await granted_elsewhere(told, server)


async def granted_elsewhere(told: Told, server: ServerId) -> Right:
    """Wait until another host than the server's may run it: cut off now, nobody would know where it is to be."""
    home = (await told.get(server)).host
    limit = told.cloud.clock.monotonic() + 60
    while (right := await told.cloud.database.read(lambda tx: rights.right(tx, server))) is None or right.host == home:
        assert told.cloud.clock.monotonic() < limit
        await told.cloud.clock.sleep(0.001)
    return right


async def reset(told: Told, server: ServerId) -> None:
    await told.cloud.database.transact(
        lambda tx: servers.change(tx, server, vm_state=VmState.ACTIVE, task_state=None),
    )


@pytest.mark.parametrize("ask", [evacuate, delete, make_image, migrate, migrate_live])
def test_a_hard_reboot_does_not_cut_off_what_only_goes_on_by_itself_though_the_state_was_reset(ask: Ask) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await ask(told, server)
        await reset(told, server)
        with pytest.raises(Conflict, match="Another operation"):
            await told.ask(accept_reboot, server, hard=True)
        after = await told.idle(server)
        assert (after.task_state, after.fault) == (None, None)
        assert told.cloud.running(server) == ([] if after.deleted else [after.host_name])

    told_story(story)


@pytest.mark.parametrize("ask", [migrate, migrate_live])
@pytest.mark.parametrize("accept", [accept_stop, accept_migrate, accept_migrate_live])
def test_nothing_else_is_begun_with_a_server_that_moves_though_the_state_was_reset(ask: Ask, accept: Any) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await ask(told, server)
        await reset(told, server)
        with pytest.raises(Conflict, match="Another operation"):
            await told.ask(accept, server)
        after = await told.idle(server)
        assert told.cloud.running(server) == [after.host_name]

    told_story(story)


def test_a_host_that_boots_leaves_a_server_to_its_move_though_the_state_was_reset() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        home = (await told.get(server)).host_name or ""
        await told.ask(accept_migrate, server)
        while (await told.get(server)).power_state is not PowerState.SHUTDOWN:
            await told.cloud.clock.sleep(0.001)
        await told.cloud.cut_power(home)
        await reset(told, server)
        await told.back(home)
        after = await told.idle(server)
        assert (after.host_name != home, after.fault) == (True, None)
        assert told.cloud.running(server) == [after.host_name]

    told_story(story)


def test_an_evacuation_does_not_cut_off_a_deletion_though_the_state_was_reset() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        await told.ask(accept_delete, server)
        await reset(told, server)
        with pytest.raises(Conflict, match="Another operation"):
            await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).deleted

    told_story(story)


def test_two_that_set_a_task_state_never_wait_together_though_the_state_was_reset() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_attach_volume, server, NewAttachment(volume=await a_volume(told)))
        await told.ask(accept_stop, server)
        await reset(told, server)
        with pytest.raises(Conflict, match="Another operation"):
            await told.ask(accept_stop, server)
        assert (await told.idle(server)).vm_state is VmState.STOPPED

    told_story(story)


@pytest.mark.parametrize("asked", [[delete], [evacuate], [evacuate, delete]])
def test_whoever_takes_the_place_of_an_image_that_still_waits_removes_it(asked: list[Ask]) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_attach_volume, server, NewAttachment(volume=await a_volume(told)))
        image = await told.make_image(server)
        for ask in asked:
            await ask(told, server)
        await told.idle(server)
        assert image not in told.cloud.images.images

    told_story(story)


def disks_of(told: Told, server: ServerId) -> list[int]:
    """Return the generations of the server's disks, on the storage that the hosts share."""
    storage = next(iter(told.cloud.hosts.values())).storage
    return [generation for disk_of, generation in storage.disks if disk_of == server]


@pytest.mark.parametrize("after_s", [0.005, 0.02, 0.05, 0.08, 0.12])
def test_no_disk_is_left_of_a_rebuild_that_an_evacuation_without_any_host_took_the_place_of(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x"))
        await told.cloud.clock.sleep(after_s)
        source = await dead_host_of(told, server)
        others = [name for name in told.cloud.hosts if name != source]
        for name in others:
            await told.cloud.cut_power(name)
        away = {told.cloud.hosts[name].id for name in others}
        await told.cloud.until(lambda: not any(map(told.cloud.cloud.hosts.up, away)))
        await told.ask(accept_evacuate, server, Evacuation())
        while (ended := await told.get(server)).task_state is not None:
            await told.cloud.clock.sleep(0.05)
        assert ended.host_name == source
        assert "No valid host was found" in str(ended.fault)
        await told.back(source, *others)
        ended = await told.idle(server)
        assert (ended.vm_state, told.cloud.running(server)) == (VmState.ACTIVE, [source])
        assert disks_of(told, server) == [ended.root_generation]

    told_story(story, start_s=0.05)


@pytest.mark.parametrize("after_s", [0.005, 0.02, 0.05, 0.08, 0.12])
def test_no_disk_is_left_of_a_rebuild_that_a_hard_reboot_took_the_place_of(after_s: float) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x"))
        await told.cloud.clock.sleep(after_s)
        await reset(told, server)
        await told.ask(accept_reboot, server, hard=True)
        ended = await told.idle(server)
        assert (ended.vm_state, told.cloud.running(server)) == (VmState.ACTIVE, [ended.host_name])
        assert disks_of(told, server) == [ended.root_generation]

    told_story(story, start_s=0.05)


def test_a_server_starts_again_at_its_host_once_a_destination_that_was_away_has_cleaned_up() -> None:
    async def story(told: Told) -> None:
        server, source = await evacuating(told)
        await told.cloud.clock.sleep(0.03)
        right = await told.cloud.database.read(lambda tx: rights.right(tx, server))
        assert right is not None
        destination = next(name for name, host in told.cloud.hosts.items() if host.id == right.host)
        told.cloud.hosts[destination].line.cut()
        assert (await told.idle(server)).host_name == source
        # The destination was not proven dead: it may run the guest, so nobody else does.
        with pytest.raises(Invalid, match=f"Compute service of {destination} is still in use"):
            await told.ask(accept_evacuate, server, Evacuation())
        await told.back(source)
        told.cloud.hosts[destination].line.heal()
        await told.host_up(destination)
        await told.cloud.until(lambda: told.cloud.running(server) == [source])
        await told.idle(server)

    told_story(story)
