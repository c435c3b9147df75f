"""Servers that boot from volumes, and volumes that are made for a server: filled once, and gone with it where asked."""

import pytest

from renova.hosts import eras
from renova.model.block_device import BlockDevice
from renova.model.errors import Invalid, Refused
from renova.model.ids import VolumeId
from renova.model.server import VmState
from renova.operations.delete import accept_delete
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import cluster, volumes
from renova.store.placement import allocations
from tests.operations.failing_hosts import break_start, evacuated, fails
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import (
    a_new_volume,
    a_volume,
    booted_from_volume,
    content,
    has,
    rows,
    status,
    write,
)


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
