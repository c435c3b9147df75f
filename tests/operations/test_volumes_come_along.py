"""A rebuilt or evacuated server has its volumes, each by one attachment; what a failure left is mended."""

import pytest

from renova.model.errors import Broken, NotNow, Refused, StorageAway
from renova.model.ids import ServerId, VolumeId
from renova.model.server import VmState
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.rounds import Round
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.store import block_devices, volume_attachments
from tests.operations.failing_hosts import break_start, evacuated, fails
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import (
    a_volume,
    attached,
    content,
    has,
    rows,
    status,
    write,
)


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
