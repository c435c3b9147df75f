"""Volumes of servers, told from the request to the end: attached, detached, and taken along wherever a server goes."""

import pytest

from renova.hosts import eras
from renova.model.block_device import BlockDevice
from renova.model.errors import Broken, CloudError, Conflict, Forbidden, Invalid, NotFound, NotNow, Refused, StorageAway
from renova.model.flavor import Flavor
from renova.model.ids import AttachmentId, NetworkId, ProjectId, ServerId, VolumeId
from renova.model.server import VmState
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.delete import accept_delete
from renova.operations.detach_interface import accept_detach_interface
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.rounds import Round
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.partners.network import PortWish
from renova.store import actions, block_devices, cluster, volume_attachments, volume_quotas, volumes
from renova.store.placement import allocations
from tests.operations.failing_hosts import break_start, dead_host_of, fails
from tests.operations.story import PROJECT, Told, an_image, told_story
from tests.operations.volumes import a_new_volume, a_volume, attached, content, has, rows, status, write


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


def test_a_rebuild_keeps_data_volumes_under_new_attachments() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        write(told, has(told, server)["host1"][0], "kept")
        (before,) = await rows(told, server)
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x"))
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        (after,) = await rows(told, server)
        assert (after.id, after.volume, after.device) == (before.id, volume, before.device)
        assert after.attachment != before.attachment
        assert content(told, volume) == ["kept"]

    told_story(story)


def test_a_rebuild_that_fails_leaves_one_attachment_and_the_data() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        write(told, has(told, server)["host1"][0], "kept")
        hypervisor = told.cloud.hosts["host1"].hypervisor
        really = hypervisor.start

        async def start(guest: object) -> object:
            if guest.disks.generation == 2:  # type: ignore[attr-defined]
                raise Refused("the new guest does not start")
            return await really(guest)  # type: ignore[arg-type]

        hypervisor.start = start  # type: ignore[assignment,method-assign]
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x"))
        after = await told.idle(server)
        assert (after.vm_state, content(told, volume)) == (VmState.ACTIVE, ["kept"])

    told_story(story)


async def evacuated(told: Told, server: ServerId) -> str:
    """Evacuate the server, and return the host that it came from."""
    source = await dead_host_of(told, server)
    await told.ask(accept_evacuate, server, Evacuation())
    await told.idle(server)
    return source


def test_an_evacuated_server_has_its_volumes_and_the_dead_hosts_export_is_dead() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        (disk,) = has(told, server)["host1"]
        write(told, disk, "before")
        source = await evacuated(told, server)
        after = await told.get(server)
        assert after.vm_state is VmState.ACTIVE, after.fault
        (now,) = has(told, server)[after.host_name or ""]
        write(told, now, "after")
        with pytest.raises(NotNow):
            write(told, disk, "from the grave")
        assert content(told, volume) == ["before", "after"]
        await told.back(source)

    told_story(story)


def test_an_evacuation_that_no_host_takes_leaves_one_attachment_and_the_server_comes_back_with_it() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        source = (await told.get(server)).host_name or ""
        for name in told.cloud.hosts:
            if name != source:
                break_start(told.cloud, name, Refused("no such machine type"))
        await evacuated(told, server)
        assert len(await rows(told, server)) == 1
        attachments = await told.cloud.database.read(lambda tx: volume_attachments.of_volume(tx, volume))
        assert [each.export for each in attachments] == [None], "a host that does not run it could write it"
        await told.back(source)
        await told.cloud.until(lambda: told.cloud.running(server) == [source], 30.0)
        await told.idle(server)

    told_story(story)


async def stopped_and_left_behind(told: Told) -> tuple[ServerId, VolumeId, str]:
    """Have a stopped server with a volume whose evacuation no host took; returns it, the volume and the dead host."""
    server = await told.created()
    volume = await attached(told, server)
    await told.ask(accept_stop, server)
    source = (await told.idle(server)).host_name or ""
    for name in told.cloud.hosts:
        if name != source:
            break_start(told.cloud, name, Refused("no such machine type"))
    await evacuated(told, server)
    return server, volume, source


async def look_over_attachments(told: Told) -> Round:
    assert told.cloud.cloud.rounds is not None
    done: Round = await told.cloud.cloud.rounds.do("attachments")
    return done


def test_a_volume_that_a_failed_evacuation_left_reserved_is_in_use_again_once_its_servers_host_is_back() -> None:
    async def story(told: Told) -> None:
        server, volume, source = await stopped_and_left_behind(told)
        assert await status(told, volume) == "reserved"
        assert (await look_over_attachments(told)).mended == 0, "a host that is dead could write it"
        await told.back(source)
        assert (await look_over_attachments(told)).mended == 1
        await told.idle(server)
        assert await status(told, volume) == "in-use"
        (row,) = await rows(told, server)
        assert row.host == (await told.get(server)).host
        assert (await look_over_attachments(told)).findings == ()
        await told.ask(accept_start, server)
        await told.idle(server)
        assert [disk.volume for disk in has(told, server)[source]] == [volume]

    told_story(story)


def test_a_volume_that_cannot_be_connected_now_is_tried_again_with_the_next_round() -> None:
    async def story(told: Told) -> None:
        server, volume, source = await stopped_and_left_behind(told)
        await told.back(source)
        for error in (Refused("never"), Broken("unheard of"), StorageAway("away")):
            mend = fails(told.cloud.cloud.volumes, "connect", error)
            assert (await look_over_attachments(told)).mended == 1
            began = told.cloud.clock.monotonic()
            await told.idle(server)
            assert told.cloud.clock.monotonic() - began < 1.0, "whoever asks for something had to wait"
            assert await status(told, volume) == "reserved"
            mend()
        assert (await look_over_attachments(told)).mended == 1
        await told.idle(server)
        assert await status(told, volume) == "in-use"

    told_story(story)


def test_an_attachment_that_its_hosts_death_cut_off_is_gone_on_with_at_the_destination() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await a_volume(told)
        told.cloud.hosts["host1"].hypervisor.go_away()
        await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
        await told.cloud.clock.sleep(1)
        told.cloud.hosts["host1"].hypervisor.come_back()
        await evacuated(told, server)
        after = await told.get(server)
        assert [disk.volume for disk in has(told, server)[after.host_name or ""]] == [volume]
        await told.back("host1")

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


def test_a_row_without_attachment_is_dropped_and_a_stray_attachment_too() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        lost, stray = await attached(told, server), await a_volume(told)
        (row,) = await rows(told, server)
        assert row.attachment is not None
        await told.cloud.cloud.volumes.detach(row.attachment)
        await told.cloud.cloud.volumes.reserve(told.cloud.chance.uuid(), stray, server)
        await told.ask(accept_reboot, server, hard=True)
        await told.idle(server)
        assert await rows(told, server) == []
        assert (await status(told, lost), await status(told, stray)) == ("available", "available")
        assert await told.cloud.database.read(lambda tx: block_devices.by_volume(tx, lost)) is None

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


async def booted_from_volume(told: Told) -> tuple[ServerId, BlockDevice]:
    """Return a server that boots from a volume made of an image, and that volume."""
    device = a_new_volume(told, source="image", image=an_image("one").id, boot_index=0)
    server = await told.created(image=None, devices=(device,))
    return server, (await rows(told, server))[0]


def test_a_server_boots_from_a_volume_and_claims_no_disk() -> None:
    async def story(told: Told) -> None:
        server, root = await booted_from_volume(told)
        (disk,) = has(told, server)["host1"]
        assert (disk.boot, disk.device, root.device) == (True, "vda", "vda")
        held = await told.cloud.database.read(lambda tx: allocations.held(tx, server))
        assert {allocation.resource_class for allocation in held} == {"VCPU", "MEMORY_MB"}
        with pytest.raises(Invalid, match="root device"):
            await told.ask(accept_detach_volume, server, root.volume)
        write(told, disk, "kept")
        source = await evacuated(told, server)
        assert root.volume is not None
        assert content(told, root.volume) == ["kept"]
        await told.back(source)

    told_story(story)


@pytest.mark.parametrize("reimage", [False, True])
def test_a_rebuild_fills_the_volume_a_server_boots_from_only_where_it_is_told_to(reimage: bool) -> None:
    async def story(told: Told) -> None:
        server, root = await booted_from_volume(told)
        assert root.volume is not None
        write(told, has(told, server)["host1"][0], "old")
        image = an_image("two") if reimage else an_image("one")
        await told.ask(accept_rebuild, server, Rebuild(image=image, admin_pass="x", reimage=reimage))
        after = await told.idle(server)
        assert (after.vm_state, after.image) == (VmState.ACTIVE, None), after.fault
        assert content(told, root.volume) == ([] if reimage else ["old"])
        (now,) = await rows(told, server)
        assert (now.attachment == root.attachment) is not reimage

    told_story(story)


def test_a_boot_volume_is_filled_anew_under_a_number_that_no_lost_filling_had() -> None:
    """A storage host would take what it has of that for what is wanted now."""

    async def story(told: Told) -> None:
        server, root = await booted_from_volume(told)
        await told.cloud.database.transact(lambda tx: eras.begin(tx, "the operator"))
        await told.cloud.database.transact(cluster.end_hold)
        for name in told.cloud.hosts:
            await told.host_up(name)
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x", reimage=True))
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        volume = await told.cloud.database.read(lambda tx: volumes.volume(tx, VolumeId(root.volume or "")))
        assert volume is not None
        assert volume.generation > eras.GAP

    told_story(story)


def test_a_boot_volume_that_cannot_be_filled_leaves_the_server_in_error_with_one_attachment() -> None:
    async def story(told: Told) -> None:
        server, _ = await booted_from_volume(told)
        mend = fails(told.cloud.cloud.volumes, "reimage", Refused("the image is not what it claims"))
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x", reimage=True))
        after = await told.idle(server)
        mend()
        assert after.vm_state is VmState.ERROR
        assert after.fault is not None
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="x", reimage=True))
        assert (await told.idle(server)).vm_state is VmState.ACTIVE

    told_story(story)


def test_a_create_that_fails_leaves_no_volume_of_its_own_and_the_users_free() -> None:
    async def story(told: Told) -> None:
        for name in told.cloud.hosts:
            break_start(told.cloud, name, Refused("no such machine type"))
        mine = await a_volume(told)
        data = a_new_volume(told, source="volume", volume=mine, made=False)
        made = a_new_volume(told)
        server = await told.create(devices=(data, made))
        after = await told.idle(server)
        assert (after.vm_state, after.volumes) == (VmState.ERROR, ())
        assert (await status(told, mine), await status(told, made.volume or mine)) == ("available", "gone")

    told_story(story)


async def on_its_way(told: Told, state: str) -> BlockDevice:
    """Return a volume for a server to be created, that is not made for long: its storage is away, or copies it."""
    if state == "creating":
        await told.cloud.cut_power("storage1")
        return a_new_volume(told, delete_on_termination=True)
    told.cloud.storage_hosts["storage1"].volumes.copy_s = 7200.0
    return a_new_volume(told, delete_on_termination=True, source="image", image=an_image("one").id)


async def leaves_nothing(told: Told, state: str, made: BlockDevice) -> None:
    assert made.volume is not None
    if state == "creating":
        assert await status(told, made.volume) == "deleting"
        await told.cloud.power_on("storage1")
        await told.cloud.clock.sleep(30)
    assert await status(told, made.volume) == "gone"
    assert made.volume not in told.cloud.storage_hosts["storage1"].volumes.volumes


@pytest.mark.parametrize("state", ["creating", "downloading"])
def test_a_create_that_fails_leaves_no_volume_that_was_still_being_made(state: str) -> None:
    async def story(told: Told) -> None:
        made = await on_its_way(told, state)
        server = await told.create(devices=(made,))
        await told.cloud.clock.sleep(60)
        assert await status(told, made.volume or VolumeId("")) == state
        after = await told.idle(server, 2000)
        assert (after.vm_state, after.volumes) == (VmState.ERROR, ())
        await leaves_nothing(told, state, made)
        await told.cloud.clock.sleep(7200)
        assert told.cloud.storage_hosts["storage1"].volumes.volumes == {}

    told_story(story)


@pytest.mark.parametrize("state", ["creating", "downloading"])
def test_deleting_a_server_leaves_no_volume_that_is_still_being_made_for_it(state: str) -> None:
    async def story(told: Told) -> None:
        made = await on_its_way(told, state)
        server = await told.create(devices=(made,))
        await told.cloud.clock.sleep(20)
        assert await status(told, made.volume or VolumeId("")) == state
        await told.ask(accept_delete, server)
        assert (await told.idle(server, 60)).deleted
        await leaves_nothing(told, state, made)

    told_story(story)


def test_a_port_comes_and_goes_with_its_address_shown() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        await told.ask(accept_attach_interface, server, PortWish(NetworkId("net-1"), tag="second"))
        after = await told.idle(server)
        ports = await told.cloud.networks.ports(server)
        assert [nic.port for nic in told.cloud.hosts["host1"].hypervisor.nics(server)] == [port.id for port in ports]
        assert (len(ports), ports[1].tag, ports[1].host) == (2, "second", after.host_name)
        assert len(after.networks[0].addresses) == 2
        await told.ask(accept_detach_interface, server, ports[1].id, ports[1].mac)
        after = await told.idle(server)
        assert [port.id for port in await told.cloud.networks.ports(server)] == [ports[0].id]
        assert len(told.cloud.hosts["host1"].hypervisor.nics(server)) == 1
        assert len(after.networks[0].addresses) == 1
        told.cloud.hosts["host1"].hypervisor.holding_on.add(ports[0].id)
        await told.ask(accept_detach_interface, server, ports[0].id, ports[0].mac)
        await told.idle(server)
        assert len(await told.cloud.networks.ports(server)) == 1

    told_story(story)
