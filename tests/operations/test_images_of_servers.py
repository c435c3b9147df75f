"""An image of a server holds its disk as it was at one moment, is whole or not there, and costs the server nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.errors import Conflict, NotNow, Refused
from renova.model.guest import PowerState
from renova.model.ids import ImageId, ProjectId, ServerId
from renova.model.image import Image
from renova.model.server import Server, TaskState, VmState
from renova.operations import inheriting
from renova.operations.clear_away import CLEAR_AWAY, accept_clear_away
from renova.operations.create_image import Backup, describe
from renova.operations.delete import accept_delete
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.parts.leaves import Leaves
from renova.operations.pause import accept_pause
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.store import operations, servers
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.story import CONTENT, PROJECT, Told, an_image, told_story
from tests.operations.test_recovery import SETTINGS
from tests.operations.test_restarts import RESTARTS, stands
from tests.operations.test_standing_still import last_action


def image(told: Told, wanted: ImageId) -> Image:
    return told.cloud.images.images[wanted][0]


def written(told: Told, server: Server) -> list[str]:
    disk = told.cloud.hosts[server.host_name or ""].storage.disks[server.id, server.root_generation]
    return [write.text for write in disk.writes]


async def busy_with(told: Told, server: ServerId, task: TaskState) -> Server:
    while (found := await told.get(server)).task_state is not task:
        await told.cloud.clock.sleep(0.001)
    return found


def test_a_server_made_of_an_image_of_another_finds_what_that_had_written() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await told.cloud.clock.sleep(5)
        told.cloud.hosts[server.host_name or ""].hypervisor.write(server.id, "precious")
        made = await told.make_image(server.id, colour="red")
        assert (await told.get(server.id)).task_state is TaskState.IMAGE_SNAPSHOT_PENDING
        after = await told.idle(server.id)
        assert (after.vm_state, after.power_state, after.fault) == (VmState.ACTIVE, PowerState.RUNNING, None)
        assert written(told, after) == ["boot", "precious"]
        event = ("compute_snapshot_instance", "Success", after.host_name)
        assert await last_action(told, server.id) == ("createImage", None, [event])
        whole = image(told, made)
        assert (whole.status, whole.visibility, whole.min_disk, whole.properties["colour"]) == (
            "active",
            "private",
            1,
            "red",
        )
        another = await told.get(await told.created("another", image=whole))
        assert written(told, another)[:2] == ["boot", "precious"]

    told_story(story)


def test_an_image_inherits_what_the_servers_image_said_and_tells_where_it_is_from() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        server = replace(server, image_properties={"hw_disk_bus": "scsi", "img_signature": "x", "os_type": "linux"})
        base = an_image("one", min_ram=64, min_disk=3)
        made = describe(server, base, image=ImageId("i"), name="n", metadata={"os_type": "bsd"}, owner=PROJECT)
        assert (made.min_ram, made.min_disk, made.disk_format, made.owner) == (64, 3, "qcow2", PROJECT)
        assert made.properties == {
            "hw_disk_bus": "scsi",
            "os_type": "bsd",
            "instance_uuid": server.id,
            "user_id": server.user,
            "owner_id": server.project,
            "base_image_ref": "image-one",
            "image_type": "snapshot",
            "image_location": "snapshot",
            "image_state": "available",
        }

    told_story(story)


@pytest.mark.parametrize(
    ("accept", "state"),
    [(accept_pause, VmState.PAUSED), (accept_suspend, VmState.SUSPENDED), (accept_stop, VmState.STOPPED)],
)
def test_a_server_that_does_not_run_stays_as_it_is(accept: Callable[..., object], state: VmState) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.cloud.clock.sleep(5)
        await told.ask(accept, server)
        before = await told.idle(server)
        made = await told.make_image(server)
        after = await told.idle(server)
        assert (after.vm_state, after.power_state) == (state, before.power_state)
        assert image(told, made).status == "active"
        if state is VmState.SUSPENDED:
            await told.ask(accept_resume, server)
            assert written(told, await told.idle(server)) == ["boot"]

    told_story(story)


async def refuse_copies(told: Told, server: Server) -> None:
    hypervisor = told.cloud.hosts[server.host_name or ""].hypervisor

    async def snapshot(*_: object) -> int:
        raise Refused("no space left on the host")

    hypervisor.snapshot = snapshot  # type: ignore[assignment, method-assign]


async def refuse_bytes(told: Told, _server: Server) -> None:
    async def write(*_: object) -> None:
        raise Refused("these bytes are of no format")

    told.cloud.images.write = write  # type: ignore[assignment, method-assign]


async def lose_store(told: Told, _server: Server) -> None:
    async def write(*_: object) -> None:
        raise NotNow("the image store does not work")

    told.cloud.images.write = write  # type: ignore[assignment, method-assign]


async def garble(told: Told, server: Server) -> None:
    """Have the host send other bytes than it has summed up."""
    uploads = told.cloud.cloud.agents.uploads
    take = uploads.take

    async def taken(host: object, message: object) -> object:
        return await take(host, replace(message, data=message.data[::-1]))  # type: ignore[attr-defined, type-var]

    uploads.take = taken


@pytest.mark.parametrize(
    ("hinder", "reason"),
    [
        (refuse_copies, "no space left on the host"),
        (refuse_bytes, "these bytes are of no format"),
        (lose_store, "the image store does not work"),
        (garble, "did not arrive as its host sent it"),
    ],
)
def test_an_image_that_cannot_be_made_is_removed_and_the_server_is_as_it_was(
    hinder: Callable[[Told, Server], Awaitable[None]], reason: str
) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        await hinder(told, server)
        made = await told.make_image(server.id)
        after = await told.idle(server.id)
        assert (after.vm_state, after.task_state) == (VmState.ACTIVE, None)
        assert after.fault is not None
        assert reason in after.fault.message
        assert made not in told.cloud.images.images
        assert (await last_action(told, server.id))[1] == "Error"

    told_story(story)


@pytest.mark.parametrize("at", [TaskState.IMAGE_SNAPSHOT, TaskState.IMAGE_UPLOADING])
def test_deleting_the_server_wins_over_its_image(at: TaskState) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        await busy_with(told, server, at)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert made not in told.cloud.images.images

    told_story(story)


def test_evacuating_the_server_wins_over_its_image() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_UPLOADING)
        host = row.host_name or ""
        await told.cloud.cut_power(host)
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(row.host))
        assert await told.cloud.cloud.hosts.seek_proof(row.host)
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert made not in told.cloud.images.images
        assert not told.cloud.hosts[host].storage.copies
        await told.back(host)

    told_story(story)


async def evacuated_while_uploading(told: Told, server: ServerId) -> str:
    """Have the server's host die while an image is made, and its evacuation asked for; returns the host."""
    await told.make_image(server)
    await busy_with(told, server, TaskState.IMAGE_UPLOADING)
    host = await dead_host_of(told, server)
    assert told.cloud.hosts[host].storage.copies
    await told.ask(accept_evacuate, server, Evacuation())
    return host


@pytest.mark.parametrize("stopped", [False, True])
def test_an_evacuation_that_finds_no_host_leaves_no_copy_of_the_disk_where_the_server_lives(stopped: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        if stopped:
            await told.ask(accept_stop, server)
            await told.idle(server)
        host = await evacuated_while_uploading(told, server)
        await told.cloud.clock.sleep(10)
        await told.back(host)
        after = await told.idle(server)
        assert (after.vm_state, after.host_name) == (VmState.STOPPED if stopped else VmState.ACTIVE, host)
        assert not told.cloud.hosts[host].storage.copies

    told_story(story, count=1)


def test_an_evacuation_whose_destination_fails_leaves_no_copy_of_the_disk_where_the_server_lives() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        for name in told.cloud.hosts:
            if name != row.host_name:
                break_start(told.cloud, name, Refused("no such machine type"))
        host = await evacuated_while_uploading(told, server)
        await told.cloud.clock.sleep(30)
        await told.back(host)
        after = await told.idle(server)
        assert (after.vm_state, after.host_name) == (VmState.ACTIVE, host)
        assert not told.cloud.hosts[host].storage.copies

    told_story(story, shared=False)


def test_a_server_whose_image_is_taken_back_is_resumed_by_whoever_finds_that_nobody_may_run_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(told: Told) -> None:
        row = await told.get(await told.created())
        name = row.host_name or ""
        host = told.cloud.hosts[name]
        for other in set(told.cloud.hosts) - {name}:
            break_start(told.cloud, other, Refused("no such machine type"))
        await told.make_image(row.id)
        await busy_with(told, row.id, TaskState.IMAGE_UPLOADING)
        host.line.cut()  # it goes on: no boot will say later that its guests are gone
        await told.down(row.host)
        await told.cloud.clock.sleep(20)
        await told.cloud.cloud.hosts.vouch(host.id, "the operator", False)
        await told.ask(accept_evacuate, row.id, Evacuation())
        await told.cloud.clock.sleep(30)
        # As of a controller that dies right then; and nobody looks before the taking back is tried again.
        told.cloud.cloud.hosts.on_up = lambda _host: None
        monkeypatch.setattr(inheriting, "LOOK", 20.0)
        await told.cloud.clock.sleep(5)
        host.line.heal()
        await told.host_up(name)
        await told.cloud.until(lambda: told.cloud.running(row.id) == [name], 60.0)
        await told.idle(row.id)
        assert not host.storage.copies

    told_story(story, shared=False)


def test_evacuations_that_fail_again_and_again_have_what_is_left_of_an_image_removed_once() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        host = await evacuated_while_uploading(told, server)
        await told.cloud.clock.sleep(10)
        for _ in range(3):
            await told.ask(accept_evacuate, server, Evacuation())
            await told.cloud.clock.sleep(10)
        waiting = await told.cloud.database.read(operations.unfinished)
        assert [held.story for held in waiting] == [CLEAR_AWAY.name]
        await told.back(host)
        await told.idle(server)

    told_story(story, count=1)


@pytest.mark.parametrize("method", ["kill", "drop_disks"])
def test_a_deletion_that_fails_leaves_nothing_of_the_image_it_took_the_place_of(method: str) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_UPLOADING)
        host = told.cloud.hosts[row.host_name or ""]
        assert host.storage.copies
        does = getattr(host.hypervisor, method)

        async def refuse(*_: object, **__: object) -> None:
            raise Refused("it is stuck")

        setattr(host.hypervisor, method, refuse)
        await told.ask(accept_delete, server)
        after = await told.idle(server)
        assert (after.vm_state, after.fault and after.fault.in_full) == (
            VmState.ERROR,
            f"it is stuck (host {host.name})",
        )
        assert made not in told.cloud.images.images
        assert not host.storage.copies
        setattr(host.hypervisor, method, does)
        await told.ask(accept_delete, server)
        assert (await told.idle(server)).vm_state is VmState.DELETED

    told_story(story)


def test_deleting_the_server_removes_every_image_that_was_to_go_or_to_be_made() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        row = await told.get(server)
        left = describe(row, None, image=ImageId("left"), name="left", metadata={}, owner=PROJECT)
        await told.cloud.images.add(left)
        host = told.cloud.hosts[row.host_name or ""]
        host.line.cut()
        await told.ask(accept_clear_away, server, Leaves((left.id,)))  # which waits for the host
        made = await told.make_image(server)  # behind it
        await told.ask(accept_delete, server)
        host.line.heal()
        assert (await told.idle(server)).vm_state is VmState.DELETED
        assert not {left.id, made} & set(told.cloud.images.images)
        await told.host_up(host.name)

    told_story(story)


def test_deleting_the_image_ends_its_making() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        await told.cloud.images.remove(made)
        after = await told.idle(server)
        assert (after.vm_state, after.task_state) == (VmState.ACTIVE, None)
        assert "was deleted while it was being made" in str(after.fault)

    told_story(story)


def test_a_guest_that_powers_itself_off_meanwhile_is_noticed() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        told.cloud.hosts[row.host_name or ""].hypervisor.power_off_inside(server)
        after = await told.idle(server)
        assert (after.vm_state, after.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
        assert image(told, made).status == "active"

    told_story(story)


@pytest.mark.parametrize("fails", [False, True], ids=["made", "not made"])
def test_a_guest_that_crashes_while_an_image_is_made_is_started_again(fails: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        if fails:
            await told.cloud.images.remove(made)
        told.cloud.hosts[row.host_name or ""].hypervisor.crash(server)
        after = await told.idle(server)
        assert (after.vm_state, after.power_state) == (VmState.STOPPED, PowerState.CRASHED)
        assert (after.fault is not None) == fails
        after = await stands(told, server, VmState.ACTIVE)
        assert after.power_state is PowerState.RUNNING

    told_story(story, settings=replace(SETTINGS, recovery=RESTARTS))


def test_the_ports_of_a_guest_that_ended_follow_though_the_network_service_is_away_for_a_moment() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        await told.cloud.images.remove(made)
        told.cloud.hosts[row.host_name or ""].hypervisor.crash(server)
        networks, away = told.cloud.cloud.networks, [NotNow("the network service is away")]
        settle = networks.settle

        async def sometimes(*arguments: Any, **options: Any) -> None:
            if away:
                raise away.pop()
            await settle(*arguments, **options)

        networks.settle = sometimes
        assert (await told.idle(server)).vm_state is VmState.STOPPED
        assert not away

    told_story(story)  # which looks at the ports in the end


def test_an_image_that_was_not_made_is_removed_though_its_host_says_nothing_of_the_guest() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        home: Any = told.cloud.hosts[(await told.get(server)).host_name or ""].hypervisor
        usual = home.guest

        async def refuses(_server: ServerId) -> None:
            raise Refused("libvirt refuses")

        made = await told.make_image(server)
        await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        home.guest = refuses
        await told.idle(server)
        home.guest = usual
        assert made not in told.cloud.images.images or image(told, made).status == "active"

    told_story(story)


def test_a_connection_that_breaks_has_the_image_sent_again() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_UPLOADING)
        told.cloud.hosts[row.host_name or ""].line.reset()
        assert (await told.idle(server)).fault is None
        assert image(told, made).status == "active"

    told_story(story)


def test_one_image_of_a_server_is_made_at_a_time() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.make_image(server)
        with pytest.raises(Conflict, match="image_snapshot_pending"):
            await told.make_image(server)
        leftover = [each.id for each, _ in told.cloud.images.images.values()][-1]
        await told.cloud.images.remove(leftover)  # as the API does with what was refused
        await told.idle(server)

    told_story(story)


def test_backups_of_a_kind_are_rotated() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made: dict[str, ImageId] = {}
        for name, kind in (("a", "daily"), ("b", "weekly"), ("c", "daily"), ("d", "daily")):
            made[name] = await told.make_image(server, Backup(kind, 2))
            assert (await told.get(server)).task_state is TaskState.IMAGE_BACKUP
            await told.idle(server)
        left = {name for name, each in made.items() if each in told.cloud.images.images}
        assert left == {"b", "c", "d"}
        assert image(told, made["d"]).properties["backup_type"] == "daily"
        event, result = (await last_action(told, server))[2][0][:2]
        assert (event, result) == ("compute_backup_instance", "Success")

    told_story(story)


def test_a_protected_backup_outlives_its_rotation() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        made = []
        for _ in range(4):
            made.append(await told.make_image(server, Backup("daily", 2)))
            await told.idle(server)
            first, content = told.cloud.images.images[made[0]]
            told.cloud.images.images[made[0]] = (replace(first, protected=True), content)
        assert [each for each in made if each in told.cloud.images.images] == [made[0], made[2], made[3]]

    told_story(story)


def test_what_another_project_says_is_a_backup_of_the_server_rotates_nothing_away_and_is_not_rotated() -> None:
    async def story(told: Told) -> None:
        server = await told.created()

        def say(name: str) -> ImageId:
            of_kind = {"instance_uuid": server, "image_type": "backup", "backup_type": "daily"}
            forged = an_image(name, owner=ProjectId("stranger"), properties=of_kind)
            told.cloud.images.have(forged, CONTENT)
            return forged.id

        wanted = [say("old"), await told.make_image(server, Backup("daily", 2))]
        await told.idle(server)
        wanted += [say("new"), say("newer"), await told.make_image(server, Backup("daily", 2))]
        await told.idle(server)
        assert [each for each in wanted if each not in told.cloud.images.images] == []

    told_story(story)


def test_a_host_that_boots_under_an_image_whose_task_an_administrator_has_reset_ends_no_controller() -> None:
    async def story(told: Told) -> None:
        server, other = await told.created("one"), await told.created("two")
        made = await told.make_image(server)
        row = await busy_with(told, server, TaskState.IMAGE_SNAPSHOT)
        await told.cloud.cut_power(row.host_name or "")
        await told.down(row.host)
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, task_state=None))
        await told.back(row.host_name or "")
        await told.cloud.until(lambda: bool(told.cloud.running(other)), 10)
        assert told.cloud.images.images[made][0].status != "active", "its copy is not whole yet"
        after = await told.idle(server)
        assert (after.vm_state, told.cloud.running(server)) == (VmState.STOPPED, [])
        assert told.cloud.ended == []

    told_story(story, count=1, start_s=2.0)
