"""What every hypervisor promises of volumes and nics that come and go while a guest runs."""

import asyncio

import msgspec
import pytest

from renova.model.errors import Refused
from renova.model.guest import FoundDevices, Guest, Nic, VolumeDisk
from renova.model.ids import AttachmentId, NetworkId, PortId, ServerId, VolumeId

from .benches import Bench

VOLUME = VolumeId("0c0ffee0-0000-4000-8000-000000000001")
NIC = Nic(
    port=PortId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
    mac="fa:16:3e:00:00:99",
    network=NetworkId("net"),
    vni=77,
    mtu=1450,
    addresses=(),
)


async def a_disk(bench: Bench, device: str = "vdb") -> VolumeDisk:
    return VolumeDisk(VOLUME, AttachmentId("attachment"), device, await bench.export())


async def booted(bench: Bench, **devices: object) -> Guest:
    """Return a guest that runs on the first host and lets go of devices when asked."""
    guest = msgspec.structs.replace(bench.obedient_guest(), **devices)
    await bench.first.prepare(guest, bench.images)
    await bench.first.start(guest)
    async with asyncio.timeout(90):
        while b"GUEST-READY" not in await bench.first.console(guest.server):  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.1)
    return guest


async def test_a_volume_comes_to_a_running_guest_and_goes_again(bench: Bench) -> None:
    guest, disk = await booted(bench), await a_disk(bench)
    for _twice in range(2):
        await bench.first.attach_volume(guest.server, disk)
        assert await bench.volumes(guest.server) == {VOLUME: "vdb"}
        assert VOLUME in (await bench.first.devices(guest.server)).serials
    other = msgspec.structs.replace(disk, connection=await bench.export())
    with pytest.raises(Refused):
        await bench.first.attach_volume(guest.server, other)
    for _twice in range(2):
        assert await bench.first.detach_volume(guest.server, VOLUME, 60.0)
        assert await bench.volumes(guest.server) == {}
        assert VOLUME not in (await bench.first.devices(guest.server)).serials
    await bench.first.attach_volume(guest.server, other)
    assert await bench.volumes(guest.server) == {VOLUME: "vdb"}


async def test_a_volume_comes_with_the_definition_and_goes_from_the_running_guest(bench: Bench) -> None:
    guest = await booted(bench, volumes=(await a_disk(bench),))
    assert await bench.volumes(guest.server) == {VOLUME: "vdb"}
    assert await bench.first.detach_volume(guest.server, VOLUME, 60.0)
    assert await bench.volumes(guest.server) == {}


async def test_a_guest_that_does_not_hear_keeps_its_volume(bench: Bench) -> None:
    guest = msgspec.structs.replace(bench.deaf_guest(), volumes=(await a_disk(bench),))
    await bench.first.prepare(guest, bench.images)
    await bench.first.start(guest)
    bench.hold_on(VOLUME)
    assert not await bench.first.detach_volume(guest.server, VOLUME, 1.0)
    assert await bench.volumes(guest.server) == {VOLUME: "vdb"}


async def test_a_guest_that_still_boots_is_asked_again_until_it_hears(bench: Bench) -> None:
    guest = msgspec.structs.replace(bench.obedient_guest(), volumes=(await a_disk(bench),))
    await bench.first.prepare(guest, bench.images)
    await bench.first.start(guest)
    assert await bench.first.detach_volume(guest.server, VOLUME, 60.0)
    assert await bench.volumes(guest.server) == {}


async def test_a_guest_that_is_off_or_absent_has_let_go_of_everything(bench: Bench) -> None:
    guest = bench.deaf_guest()
    await bench.first.attach_volume(guest.server, await a_disk(bench))
    assert await bench.first.detach_volume(guest.server, VOLUME, 1.0)
    await bench.first.prepare(guest, bench.images)
    await bench.first.define(guest)
    await bench.first.attach_volume(guest.server, await a_disk(bench))
    await bench.first.attach_nic(guest.server, NIC)
    assert await bench.first.detach_volume(guest.server, VOLUME, 1.0)
    assert await bench.first.detach_nic(guest.server, NIC.port, NIC.mac, 1.0)
    assert await bench.first.devices(guest.server) == FoundDevices()


async def test_an_export_that_is_dead_is_refused_and_the_guest_runs_on(bench: Bench) -> None:
    guest, disk = await booted(bench), await a_disk(bench)
    await bench.cut(disk.connection)
    with pytest.raises(Refused):
        await bench.first.attach_volume(guest.server, disk)
    assert await bench.volumes(guest.server) == {}
    assert (await bench.first.guest(ServerId(guest.server))) is not None


async def test_a_nic_comes_to_a_running_guest_and_goes_again(bench: Bench) -> None:
    guest = await booted(bench)
    await bench.have_bridge(NIC)
    for _twice in range(2):
        await bench.first.attach_nic(guest.server, NIC)
        assert await bench.macs(guest.server) == {NIC.mac}
        assert (await bench.first.devices(guest.server)).macs == (NIC.mac,)
    for _twice in range(2):
        assert await bench.first.detach_nic(guest.server, NIC.port, NIC.mac, 60.0)
        assert await bench.macs(guest.server) == set()
        assert (await bench.first.devices(guest.server)).macs == ()
