"""What the tests of volumes share: having one, attaching it, and what must always hold of all of them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from renova.model.block_device import BlockDevice
from renova.model.guest import VolumeDisk
from renova.model.ids import ServerId, VolumeId
from renova.model.volume import NbdExport
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.partners.volume import NewVolume
from renova.store import block_devices, volumes
from tests.operations.story import PROJECT, USER, Told, an_image


async def a_volume(told: Told, **values: Any) -> VolumeId:
    """Have an available volume of 1 GB."""
    volume = VolumeId(told.cloud.chance.uuid())
    new = NewVolume(id=volume, project=PROJECT, user=USER, name="data", size_gb=1)
    await told.cloud.cloud.volumes.create(msgspec.structs.replace(new, **values))
    return volume


def a_new_volume(told: Told, **values: Any) -> BlockDevice:
    """Return a device for a server to be created: a volume to be made, blank where nothing else is said."""
    usual: dict[str, Any] = {"source": "blank", "destination": "volume", "made": True, "size_gb": 1}
    usual["volume"] = VolumeId(told.cloud.chance.uuid())
    return BlockDevice(id=told.cloud.chance.uuid(), server=ServerId(""), **{**usual, **values})


async def attached(told: Told, server: ServerId, **values: Any) -> VolumeId:
    """Have a volume that the server has."""
    volume = await a_volume(told)
    await told.ask(accept_attach_volume, server, NewAttachment(volume=volume, **values))
    await told.idle(server)
    assert [device.volume for device in await rows(told, server)] == [volume]
    return volume


async def rows(told: Told, server: ServerId) -> list[BlockDevice]:
    return await told.cloud.database.read(lambda tx: block_devices.volumes_of(tx, server))


async def status(told: Told, volume: VolumeId) -> str:
    row = await told.cloud.database.read(lambda tx: volumes.volume(tx, volume))
    return row.status if row is not None else "gone"


def has(told: Told, server: ServerId) -> dict[str, Sequence[VolumeDisk]]:
    """Return, by the name of its host, which volumes each running guest of the server has."""
    return {
        name: host.hypervisor.volumes(server)
        for name, host in told.cloud.hosts.items()
        if server in host.hypervisor.executing()
    }


def write(told: Told, disk: VolumeDisk, what: str) -> None:
    """Write as a guest that has the volume does; `NotNow` when its export is dead."""
    assert isinstance(disk.connection, NbdExport)
    told.cloud.storage_hosts["storage1"].volumes.write(disk.connection.name, what)


def content(told: Told, volume: VolumeId) -> list[str]:
    return told.cloud.storage_hosts["storage1"].volumes.volumes[volume].writes


async def booted_from_volume(told: Told) -> tuple[ServerId, BlockDevice]:
    """Return a server that boots from a volume made of an image, and that volume."""
    device = a_new_volume(told, source="image", image=an_image("one").id, boot_index=0)
    server = await told.created(image=None, devices=(device,))
    return server, (await rows(told, server))[0]
