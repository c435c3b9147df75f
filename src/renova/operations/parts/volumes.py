"""A server's volumes on their way: reserved, reachable from one host, given back. Shared by the stories.

What is promised: outside of these functions a volume of a server has exactly one attachment, whatever failed. So an
attachment is replaced in an order that can be gone on with from anywhere: the new id is written down, the volume is
reserved under it (nobody else can take the volume in between), the old one is detached (its export is cut off, for
certain), and the row is switched. Only then the new one is connected: a volume is never served to two hosts.
Every function may run again, also under another operation that took the place of the one that died in the middle.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import structlog
from msgspec.structs import replace

from renova.model.block_device import BlockDevice
from renova.model.errors import Broken, CloudError, NotFound, NotNow, Refused, StorageAway, whole
from renova.model.guest import VolumeDisk
from renova.model.host import Host
from renova.model.ids import AttachmentId, HostId, ImageId, VolumeId
from renova.model.server import Server
from renova.operations.parts.storage_wait import with_storage
from renova.operations.work import Work
from renova.partners.volume import NewVolume
from renova.store import block_devices, hosts
from renova.store.database import Tx

log = structlog.get_logger()
T = TypeVar("T")


def disk_of(device: BlockDevice) -> VolumeDisk | None:
    """Return the volume as its guest has it; None for one that no host can reach now."""
    if device.volume is None or device.attachment is None or device.connection is None:
        return None
    return VolumeDisk(
        volume=device.volume,
        attachment=device.attachment,
        device=device.device,
        connection=device.connection,
        boot=device.boots,
        tag=device.tag,
    )


def disks_of(devices: Sequence[BlockDevice]) -> tuple[VolumeDisk, ...]:
    """Return the volumes that the guest is to be defined with: not those that are still being attached."""
    return tuple(disk for device in devices if device.attached and (disk := disk_of(device)) is not None)


async def volumes(work: Work) -> list[BlockDevice]:
    """List the server's volumes as the rows are now."""
    return await work.cloud.database.read(lambda tx: block_devices.volumes_of(tx, work.held.server))


async def have_reachable(work: Work, host: HostId) -> bool:
    """Have every volume of the server reachable from this host, and from no other; says whether there are any.

    One that was connected for another host gets a new attachment: the other's export is cut off for good.
    """
    return await with_storage(work, lambda: _have_reachable(work, host))


async def _have_reachable(work: Work, host: HostId) -> bool:
    attached = [device for device in await volumes(work) if device.attached]
    if not attached:
        return False
    target = await work.cloud.database.read(lambda tx: hosts.get(tx, host))
    if target is None:
        raise Broken(f"host {host} is gone")
    for device in attached:
        await reach(work, device, target)
    return True


async def reach(work: Work, device: BlockDevice, host: Host, *, complete: bool = True) -> BlockDevice:
    """Have the volume reachable from this host only, and return its row with the way to it.

    `complete`: the guest will have it with its definition, so it is in use from now on.
    """
    found = await _attachment_for(work, device, host)
    attachment = found.attachment
    assert attachment is not None
    if found.host != host.id:
        # Before: from here on it may be connected for this host, and only this one, however that ends.
        await _note(work, found, host=host.id)
    try:
        connection = await work.cloud.volumes.connect(attachment, host.name, host.address)
        if complete:
            await work.cloud.volumes.complete(attachment, device.device)
    except NotNow:
        if attachment != device.attachment or device.connection is None:
            raise
        # Connected for this host already: what the service said then still holds.
        log.info("volume taken as it was: the volume service is away", volume=device.volume)
        return device
    await _note(work, device, connection=connection, host=host.id)
    return replace(device, attachment=attachment, next_attachment=None, connection=connection, host=host.id)


async def _attachment_for(work: Work, device: BlockDevice, host: Host) -> BlockDevice:
    if device.attachment is None or device.next_attachment is not None or device.host not in (None, host.id):
        return await renew(work, device)
    return device


async def renew(work: Work, device: BlockDevice) -> BlockDevice:
    """Have a new attachment, connected nowhere, in place of the volume's; goes on with one that was begun before."""
    if device.volume is None:
        raise Broken(f"device {device.id} has no volume")
    new = device.next_attachment
    if new is None:
        new = AttachmentId(work.cloud.chance.uuid())
        await _note(work, device, next_attachment=new)
    try:
        await work.cloud.volumes.reserve(new, device.volume, device.server)
    except Refused:
        await _note(work, device, next_attachment=None)  # nothing was made, and the old one stands
        raise
    if device.attachment is not None:
        await work.cloud.volumes.detach(device.attachment)
    values = {"attachment": new, "next_attachment": None, "connection": None, "host": None}
    await _note(work, device, **values)
    return replace(device, **values)


async def let_go(work: Work, device: BlockDevice) -> None:
    """Have no attachment of the volume left; its row stays."""
    # The one that is connected nowhere first: to have it gone, nobody has to be there.
    for attachment in (device.next_attachment, device.attachment):
        if attachment is not None:
            await work.cloud.volumes.detach(attachment)


async def holds(work: Work, device: BlockDevice) -> bool:
    """Say whether the server has an attachment of the volume that is not being cut off."""
    known = await work.cloud.volumes.attachments(work.held.server)
    return any(each.id in (device.attachment, device.next_attachment) and not each.leaving for each in known)


async def renew_all(work: Work, *, root: bool) -> None:
    """Have a new attachment for every volume, connected nowhere; for the one it boots from only where `root`."""
    await with_storage(work, lambda: _renew_all(work, root=root))


async def _renew_all(work: Work, *, root: bool) -> None:
    for device in await volumes(work):
        fresh = device.next_attachment is None and device.host is None
        if device.attached and (root or not device.boots) and not fresh:
            await renew(work, device)


async def disconnect_others(work: Work, host: HostId | None) -> None:
    """Have no volume reachable from any host but this; those that were keep a fresh attachment, connected nowhere.

    For undoing: whatever was begun with an attachment is brought to its end, so that there is one a volume.
    """
    for device in await volumes(work):
        if device.next_attachment is not None or (device.host is not None and device.host != host):
            await renew(work, device)


async def reconcile(work: Work) -> None:
    """Have rows and attachments agree (spec: reboot, section 6): what only one of them knows is dropped.

    With the volume service away, all goes on with what is written down.
    """
    try:
        # What is being cut off has left: a detach that was superseded, or died, had come that far.
        known = {each.id for each in await work.cloud.volumes.attachments(work.held.server) if not each.leaving}
    except NotNow:
        log.info("attachments not compared: the volume service is away")
        return
    wanted: set[AttachmentId] = set()
    for device in await volumes(work):
        if device.next_attachment in known or device.attachment in known:
            wanted |= {each for each in (device.attachment, device.next_attachment) if each is not None}
        elif device.attachment is not None and device.boots:
            # Without it the server could never run again: the volume is asked for once more.
            await _note(work, device, attachment=None, connection=None, host=None)
        elif device.attachment is not None and device.attached:
            log.warning("volume dropped: its attachment is gone", volume=device.volume, attachment=device.attachment)
            await work.note(lambda tx, device=device: block_devices.remove(tx, device))  # type: ignore[misc]
    for stray in sorted(known - wanted):
        log.warning("attachment dropped: no volume of the server has it", attachment=stray)
        with suppress(CloudError):  # next time
            await work.cloud.volumes.detach(stray)


async def make(work: Work, server: Server, device: BlockDevice) -> None:
    """Have the volume that is to be made for the server. `NotNow` while it is being made."""
    if not device.made or device.volume is None or device.attachment is not None:
        return
    await work.cloud.volumes.create(
        NewVolume(
            id=device.volume,
            project=server.project,
            user=server.user,
            name="",
            size_gb=device.size_gb or 0,
            image=device.image,
            snapshot=device.snapshot,
            type=device.volume_type,
        )
    )


async def release(work: Work, *, delete: Callable[[BlockDevice], bool]) -> None:
    """Have no attachment of the server left, whoever knows of it, and delete the volumes of the devices named."""
    await with_storage(work, lambda: _release(work, delete))


async def _release(work: Work, delete: Callable[[BlockDevice], bool]) -> None:
    for device in await volumes(work):
        await let_go(work, device)
        if delete(device) and device.volume is not None:
            await delete_volume(work, device.volume)
        await work.note(lambda tx, device=device: block_devices.remove(tx, device))  # type: ignore[misc]
    for stray in await work.cloud.volumes.attachments(work.held.server):
        await work.cloud.volumes.detach(stray.id)


async def delete_volume(work: Work, volume: VolumeId) -> None:
    """Have the volume deleted; one that may not be (it has snapshots) stays, as in Nova, and is said."""
    try:
        await work.cloud.volumes.delete(volume)
    except NotFound:
        pass
    except StorageAway as away:
        log.info("volume is deleted once its storage host is back", volume=volume, reason=whole(away))
    except Refused as error:
        log.warning("volume not deleted with its server", volume=volume, reason=whole(error))


async def reimage_root(work: Work, image: ImageId) -> None:
    """Have the volume that the server boots from, connected nowhere, hold the image afresh."""
    for device in await volumes(work):
        if device.boots and device.attachment is not None:
            await work.cloud.volumes.reimage(device.attachment, image)


async def _note(work: Work, device: BlockDevice, **values: object) -> None:
    await work.note(lambda tx: block_devices.change(tx, device, **values))


def boot_volume(tx: Tx, server: Server) -> BlockDevice | None:
    """Return the device that the server boots from, if that is a volume."""
    return next((device for device in block_devices.volumes_of(tx, server.id) if device.boots), None)
