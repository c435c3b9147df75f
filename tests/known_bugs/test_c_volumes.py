"""Rows C11 to C15 and A16: volumes of servers whose hosts die, come back, or never let go."""

import pytest

from renova.model.errors import NotNow, Refused
from renova.model.guest import VolumeDisk
from renova.model.ids import ServerId, VolumeId
from renova.model.server import VmState
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.store import block_devices, hosts, volume_attachments
from tests.operations.failing_hosts import break_start, dead_host_of
from tests.operations.story import Told, an_image, told_story
from tests.operations.volumes import a_new_volume, a_volume, attached, content, has, rows, write


async def served_names(told: Told, volume: VolumeId) -> list[str]:
    """Return under which names the volume can be written now, wherever from."""
    host = told.cloud.storage_hosts["storage1"]
    return [export.name for export in await host.volumes.exports(volume)]


async def come_back(told: Told, host: str) -> None:
    await told.back(host)


def test_c11_an_evacuation_whose_first_destination_fails_leaves_one_attachment() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        source = await dead_host_of(told, server)
        first = sorted(name for name in told.cloud.hosts if name != source)[0]
        break_start(told.cloud, first, Refused("no such machine type"))
        await told.ask(accept_evacuate, server, Evacuation())
        assert (await told.idle(server)).vm_state is VmState.ACTIVE
        attachments = await told.cloud.database.read(lambda tx: volume_attachments.of_volume(tx, volume))
        assert [each.id for each in attachments] == [(await rows(told, server))[0].attachment]
        assert len(await served_names(told, volume)) == 1
        await come_back(told, source)

    told_story(story)


def test_c12_what_the_dead_host_reached_the_volume_by_is_served_no_more_also_by_a_storage_host_that_restarts() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        (before,) = await served_names(told, volume)
        source = await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        (after,) = await served_names(told, volume)
        assert before != after
        await told.cloud.cut_power("storage1")
        await told.cloud.power_on("storage1")
        await told.cloud.until(lambda: bool(told.cloud.storage_hosts["storage1"].volumes.served.get(volume)))
        assert await served_names(told, volume) == [after]
        await come_back(told, source)

    told_story(story)


def test_c13_detaching_one_servers_volume_leaves_those_of_its_neighbours_alone() -> None:
    async def story(told: Told) -> None:
        one, two = await told.created("one", host="host1"), await told.created("two", host="host1")
        theirs, ours = await attached(told, one), await attached(told, two)
        await told.ask(accept_detach_volume, one, theirs)
        await told.idle(one)
        write(told, has(told, two)["host1"][0], "still here")
        assert content(told, ours) == ["still here"]

    told_story(story)


def test_c14_a_row_whose_attachment_is_gone_does_not_keep_a_server_from_a_reboot() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        lost, kept = await attached(told, server), await _another(told, server)
        row = next(device for device in await rows(told, server) if device.volume == lost)
        assert row.attachment is not None
        await told.cloud.cloud.volumes.detach(row.attachment)
        for hard in (False, True):
            await told.ask(accept_reboot, server, hard=hard)
            assert (await told.idle(server)).vm_state is VmState.ACTIVE
            assert [disk.volume for disk in has(told, server)["host1"]] == [kept]
        assert await told.cloud.database.read(lambda tx: block_devices.by_volume(tx, lost)) is None

    told_story(story)


async def _another(told: Told, server: ServerId) -> VolumeId:
    """Have one more volume."""
    volume = await a_volume(told)
    await told.ask(accept_attach_volume, server, NewAttachment(volume=volume))
    await told.idle(server)
    return volume


async def _cut_off(told: Told) -> tuple[ServerId, VolumeDisk, str]:
    """Return a server that boots from a volume, its disk, and its host, which is cut off while the guest runs on."""
    device = a_new_volume(told, source="image", image=an_image("one").id, boot_index=0)
    server = await told.get(await told.created(image=None, devices=(device,)))
    name = server.host_name or ""
    (disk,) = has(told, server.id)[name]
    told.cloud.hosts[name].line.cut()
    await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(server.host))
    await told.cloud.database.transact(lambda tx: hosts.change(tx, server.host, forced_down=True))  # type: ignore[arg-type]
    await told.cloud.clock.sleep(40)
    return server.id, disk, name


def test_c15_a_source_that_returns_has_nothing_of_the_volume_and_could_not_write_it_meanwhile() -> None:
    async def story(told: Told) -> None:
        server, disk, source = await _cut_off(told)
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        assert (after.vm_state, after.host_name == source) == (VmState.ACTIVE, False), after.fault
        assert server in told.cloud.hosts[source].hypervisor.executing(), "the old guest still runs, cut off"
        with pytest.raises(NotNow):
            write(told, disk, "from the other side")
        write(told, has(told, server)[after.host_name or ""][0], "mine")
        host = after.host
        await told.cloud.database.transact(lambda tx: hosts.change(tx, told.cloud.hosts[source].id, forced_down=False))
        told.cloud.hosts[source].line.heal()
        await told.host_up(source)
        assert told.cloud.hosts[source].hypervisor.volumes(server) == ()
        assert (await told.get(server)).host == host

    told_story(story)


def test_a16_a_server_starts_elsewhere_although_its_dead_host_never_let_go_of_the_volume() -> None:
    async def story(told: Told) -> None:
        server = await told.created()
        volume = await attached(told, server)
        write(told, has(told, server)["host1"][0], "before")
        source = await dead_host_of(told, server)
        assert len(await served_names(told, volume)) == 1, "nobody has cut it off yet"
        await told.ask(accept_evacuate, server, Evacuation())
        after = await told.idle(server)
        assert after.vm_state is VmState.ACTIVE, after.fault
        write(told, has(told, server)[after.host_name or ""][0], "after")
        assert content(told, volume) == ["before", "after"]
        await come_back(told, source)

    told_story(story)
