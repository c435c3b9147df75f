"""Volumes are attached to servers and detached: one server has one, and a guest that holds on keeps it."""

import pytest

from renova.model.errors import Broken, CloudError, Conflict, Forbidden, Invalid, NotFound, NotNow, Refused
from renova.model.flavor import Flavor
from renova.model.ids import AttachmentId, ProjectId, ServerId, VolumeId
from renova.model.server import VmState
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.delete import accept_delete
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.reboot import accept_reboot
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.store import actions, volume_quotas
from tests.operations.failing_hosts import fails
from tests.operations.story import PROJECT, Told, told_story
from tests.operations.volumes import (
    a_new_volume,
    a_volume,
    attached,
    content,
    has,
    rows,
    status,
    write,
)


def test_a_running_guest_gets_the_volume_at_once_and_keeps_it_over_a_hard_reboot() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        (disk,) = has(told, server)["host1"]
        assert (disk.volume, disk.device, await status(told, volume)) == (volume, "vdb", "in-use")
        write(told, disk, "before")
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        (disk,) = has(told, server)["host1"]
        write(told, disk, "after")
        assert content(told, volume) == ["before", "after"]
        await told.ask(accept_reboot, server, hard=False)
        await told.idle(server)

    told_story(story)


def test_a_stopped_server_gets_the_volume_with_its_next_start() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_stop, server)
        await told.idle(server)
        volume = await attached(told, server)
        await told.ask(accept_start, server)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert [disk.volume for disk in has(told, server)["host1"]] == [volume]
        await told.ask(accept_stop, server)
        await told.idle(server)
        await told.ask(accept_detach_volume, server, volume)
        await told.idle(server)
        assert await status(told, volume) == "available"
        assert (await told.get(server)).volumes == ()

    told_story(story)


def test_a_detached_volume_is_free_and_its_export_dead() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        (disk,) = has(told, server)["host1"]
        await told.ask(accept_detach_volume, server, volume)
        await told.idle(server)
        assert has(told, server)["host1"] == ()
        assert await status(told, volume) == "available"
        with pytest.raises(NotNow):
            write(told, disk, "too late")
        other = await told.created("other")
        await told.ask(accept_attach_volume, other, NewAttachment(volume=volume))
        await told.idle(other)
        assert await status(told, volume) == "in-use"

    told_story(story)


@pytest.mark.parametrize("error", [Refused("no such export"), Broken("out of file handles")])
def test_a_volume_that_its_host_fails_to_cut_off_at_first_is_detached_all_the_same(error: CloudError) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        mend = fails(told.cloud.storage_hosts["storage1"].volumes, "have", error)
        await told.ask(accept_detach_volume, server, volume)
        await told.cloud.clock.sleep(5)
        assert [device.volume for device in await rows(told, server)] == [volume]
        mend()
        await told.idle(server)
        assert (await rows(told, server), await status(told, volume)) == ([], "available")

    told_story(story)


def test_a_guest_that_does_not_let_go_keeps_the_volume() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        told.cloud.hosts["host1"].hypervisor.holding_on.add(volume)
        await told.ask(accept_detach_volume, server, volume)
        await told.idle(server)
        assert await status(told, volume) == "in-use"
        newest = await told.cloud.database.read(lambda tx: actions.of_server(tx, server)[0])
        assert (newest.action, newest.message) == ("detach_volume", "Error")
        write(told, has(told, server)["host1"][0], "still mine")
        told.cloud.hosts["host1"].hypervisor.holding_on.clear()
        await told.ask(accept_detach_volume, server, volume)
        await told.idle(server)
        assert await status(told, volume) == "available"

    told_story(story)


def test_what_is_asked_for_meanwhile_is_done_afterwards_in_order() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        first, second = await a_volume(told), await a_volume(told)
        for volume in (first, second):
            await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        assert [(disk.volume, disk.device) for disk in has(told, server)["host1"]] == [(first, "vdb"), (second, "vdc")]
        done = await told.cloud.database.read(lambda tx: [each.action for each in actions.of_server(tx, server)])
        assert done == ["reboot", "attach_volume", "attach_volume", "create"]

    told_story(story)


def test_names_of_devices_are_as_wished_where_they_are_free() -> None:
    async def story(told: Told) -> None:
        flavor = Flavor(id="2", name="blank", vcpus=1, memory_mb=128, root_gb=1, ephemeral_gb=1, swap_mb=16)
        server = await told.created(flavor=flavor)
        for wish, got in (("/dev/vdx", "vdx"), ("/dev/vdb", "vdd"), ("/dev/sda", "vde"), (None, "vdf"), ("vdz", "vdg")):
            new = NewAttachment(volume=await a_volume(told), device=wish)
            assert (await told.ask(accept_attach_volume, server, new)).device == got
        await told.idle(server)

    told_story(story)


def test_a_server_has_a_limit_of_disks() -> None:
    async def story(told: Told) -> None:
        await told.cloud.database.transact(lambda tx: volume_quotas.change(tx, PROJECT, {"volumes": -1}))
        server = await told.created()
        for _ in range(24):
            await told.ask(accept_attach_volume, server, NewAttachment(volume=await a_volume(told)))
        with pytest.raises(Forbidden, match="maximum allowed number of disk devices"):
            await told.ask(accept_attach_volume, server, NewAttachment(volume=await a_volume(told)))
        await told.idle(server)

    told_story(story)


def test_a_volume_is_one_servers_and_only_that_one_gives_it_back() -> None:
    async def story(told: Told) -> None:
        one, two = await told.created("one"), await told.created("two")
        volume = await attached(told, one)
        with pytest.raises(Invalid, match="is attached"):
            await told.ask(accept_attach_volume, two, NewAttachment(volume=volume))
        with pytest.raises(NotFound):
            await told.ask(accept_detach_volume, two, volume)

    told_story(story)


@pytest.mark.parametrize("method", ["reserve", "connect", "complete"])
def test_an_attachment_that_fails_anywhere_leaves_the_volume_free(method: str) -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        mend = fails(told.cloud.cloud.volumes, method, Refused("broken"))
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        after = await told.idle(server)
        mend()
        assert (after.vm_state, after.volumes, await status(told, volume)) == (VmState.ACTIVE, (), "available")
        assert has(told, server)["host1"] == ()

    told_story(story)


def test_a_guest_that_cannot_have_the_volume_leaves_it_free() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        mend = fails(told.cloud.hosts["host1"].hypervisor, "attach_volume", Refused("no slot"))
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.idle(server)
        mend()
        assert await status(told, volume) == "available"

    told_story(story)


def test_volumes_that_servers_have_made_count_for_the_projects_quota_however_many_are_made_at_once() -> None:
    async def story(told: Told) -> None:
        await told.cloud.database.transact(lambda tx: volume_quotas.change(tx, PROJECT, {"volumes": 2}))
        devices = [a_new_volume(told, boot_index=None) for _ in range(3)]
        servers = [await told.create(devices=(device,)) for device in devices]
        ended = [await told.idle(server) for server in servers]
        assert sorted(server.vm_state for server in ended) == [VmState.ACTIVE, VmState.ACTIVE, VmState.ERROR]
        (refused,) = [server for server in ended if server.vm_state is VmState.ERROR]
        assert refused.fault is not None
        assert "Maximum number of volumes allowed (2) exceeded" in refused.fault.message
        made = [await status(told, device.volume) for device in devices if device.volume is not None]
        assert sorted(made) == ["gone", "in-use", "in-use"]

    told_story(story)


def test_deleting_a_server_frees_its_volumes_and_deletes_those_that_go_with_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        kept = await attached(told, server)
        gone = await a_volume(told)
        await told.ask(accept_attach_volume, server, NewAttachment(volume=gone, delete_on_termination=True))
        await told.idle(server)
        await told.ask(accept_delete, server)
        await told.idle(server)
        assert (await status(told, kept), await status(told, gone)) == ("available", "gone")

    told_story(story)


def test_a_volume_service_that_is_away_does_not_keep_a_server_from_a_hard_reboot() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        service = told.cloud.cloud.volumes
        mends = [fails(service, name, NotNow("away")) for name in ("attachments", "connect", "complete")]
        await told.ask(accept_reboot, server, hard=True)
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        for mend in mends:
            mend()
        assert [disk.volume for disk in has(told, server)["host1"]] == [volume]

    told_story(story)


def test_a_volume_that_is_being_detached_is_not_detached_once_more() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        await told.ask(accept_detach_volume, server, volume)
        with pytest.raises(Invalid, match="being detached already"):
            await told.ask(accept_detach_volume, server, volume)
        await told.idle(server)
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.idle(server)
        assert [row.volume for row in await rows(told, server)] == [volume]

    told_story(story)


def test_a_detach_needs_the_servers_host() -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        volume = await attached(told, server.id)
        told.cloud.hosts[server.host_name or ""].line.cut()
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
        with pytest.raises(Conflict, match="is down"):
            await told.ask(accept_detach_volume, server.id, volume)
        told.cloud.hosts[server.host_name or ""].line.heal()
        await told.host_up(server.host_name or "")

    told_story(story)


async def connected_by_hand(told: Told, server: ServerId) -> tuple[VolumeId, AttachmentId]:
    """Have another project's volume that somebody there attached to the server."""
    volume, attachment = await a_volume(told, project=ProjectId("other")), AttachmentId(told.cloud.chance.uuid())
    await told.cloud.cloud.volumes.reserve(attachment, volume, server)
    await told.cloud.cloud.volumes.connect(attachment, "host1", "10.0.0.1")
    return volume, attachment


def test_what_another_project_attached_by_hand_begins_no_operation_and_stays() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume, by_hand = await connected_by_hand(told, server)
        await told.ask(accept_reboot, server, hard=True)
        await told.idle(server)
        await told.cloud.clock.sleep(4000)  # some rounds
        begun = await told.cloud.database.read(lambda tx: [each.action for each in actions.of_server(tx, server)])
        assert (begun, await status(told, volume)) == (["reboot", "create"], "attaching")
        await told.cloud.cloud.volumes.detach(by_hand)

    told_story(story)


def test_what_another_project_attached_by_hand_does_not_keep_a_server_from_being_deleted() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        _, by_hand = await connected_by_hand(told, server)
        storage = told.cloud.storage_hosts["storage1"].id
        await told.cloud.cut_power("storage1")
        await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(storage))
        await told.ask(accept_delete, server)
        await told.idle(server, limit_s=60)
        assert (await told.get(server)).deleted
        await told.cloud.power_on("storage1")
        await told.cloud.until(lambda: told.cloud.cloud.hosts.up(storage))
        await told.cloud.cloud.volumes.detach(by_hand)

    told_story(story)


def test_an_administrator_may_give_a_server_another_projects_volume() -> None:
    async def story(told: Told) -> None:
        server, volume = await told.created(), await a_volume(told, project=ProjectId("other"))
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.idle(server)
        await told.ask(accept_reboot, server, hard=True)
        await told.idle(server)
        (row,) = await rows(told, server)
        assert (row.volume, row.attached, await status(told, volume)) == (volume, True, "in-use")

    told_story(story)
