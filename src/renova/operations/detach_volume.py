"""Detach a volume from a server: the guest lets go of it, then its export is cut off, then it is free.

Shows no task state: what is asked for meanwhile waits. A guest that does not let go keeps the volume, and so does the
server. Nothing is cut off under a guest that still has it.
"""

import msgspec
import structlog

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.block_device import BlockDevice
from renova.model.errors import Conflict, Invalid, NotFound, NotNow, Refused
from renova.model.host import Right
from renova.model.ids import AttachmentId, ServerId, VolumeId
from renova.operations.attach_volume import HAS_GUEST
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted
from renova.operations.parts.state import close_failed
from renova.operations.parts.storage_wait import StorageStaysAway, with_storage
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, block_devices, operations
from renova.store.database import Tx
from renova.wire.acts import AttachVolume as Give
from renova.wire.acts import DetachVolume as Take

log = structlog.get_logger()


class DetachVolume(msgspec.Struct, frozen=True):
    """Which volume, and by which attachment the server had it when it was asked for."""

    volume: VolumeId
    attempts: int


def accept_detach_volume(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, volume: VolumeId) -> None:
    """Begin to detach the volume. `NotFound` where the server does not have it, `Invalid` for what it boots from."""
    server = permitted(tx, server_id, "detach_volume", asked)
    device = block_devices.by_volume(tx, volume)
    if device is None or device.server != server.id:
        raise NotFound(f"volume_id not found: {volume}")
    if device.boots:
        raise Invalid("Cannot detach a root device volume")
    if not device.attached:
        raise Invalid(f"Invalid volume: volume {volume} is still being attached.")
    if volume in _leaving(tx, server.id):
        # A second one would take the volume away that was attached again meanwhile.
        raise Invalid(f"Invalid volume: volume {volume} is being detached already.")
    if server.host is not None and not cloud.hosts.up(server.host):
        if not cloud.hosts.settled:
            raise NotNow("this controller has only just come back, and has not heard of the hosts yet")
        details = f"host {server.host_name}"
        raise Conflict("Service is unavailable at this time: compute service of its host is down.", details=details)
    want = DetachVolume(volume, cloud.settings.detach_attempts)
    submit(tx, cloud.operations, asked, server.id, Submission(DETACH_VOLUME, "detach_volume", want))


def _leaving(tx: Tx, server: ServerId) -> set[VolumeId]:
    """Return the volumes that are being detached from the server, or wait for it."""
    waiting = operations.under_way(tx, server)
    wants = [held.want for held in waiting if held.story == DETACH_VOLUME.name]
    return {msgspec.json.decode(want, type=DetachVolume).volume for want in wants}


async def detach_volume(run: Run, want: DetachVolume) -> None:
    right = await run(begin_detach, want)
    await run(show_detaching, want)
    await run(take_from_guest, want, right)
    await run(let_go, want)
    await run(mark_detached, want)


@write()
def begin_detach(work: Work, tx: Tx, want: DetachVolume) -> Right:
    server = work.server_now(tx)
    if actions.open_event(tx, work.held.action, "compute_detach_volume", server.host_name):
        notify(work.cloud, tx, server.id, "instance.volume_detach.start", volume=want.volume)
    return work.right_here(tx)


@act()
async def show_detaching(work: Work, want: DetachVolume) -> None:
    if await _still_has(work, want):
        await work.cloud.volumes.begin_detaching(want.volume)


@show_detaching.undo
async def show_attached(work: Work, want: DetachVolume) -> None:
    if await _still_has(work, want):
        await work.cloud.volumes.roll_detaching(want.volume)


@act()
async def take_from_guest(work: Work, want: DetachVolume, right: Right) -> None:
    """Have the guest let go, asking it again and again; `Refused` when it does not."""
    server = await work.server()
    if server.vm_state not in HAS_GUEST:
        return
    take = Take(volume=want.volume, wait_s=work.cloud.settings.detach_wait)
    if not await run_guest.lets_go(work, right, take, want.attempts):
        raise Refused(f"the guest did not let go of volume {want.volume}")


@take_from_guest.undo
async def give_back(work: Work, want: DetachVolume, right: Right) -> None:
    """Have the guest have it again, where it let go and the volume is still this server's."""
    server = await work.server()
    device = await _row(work, want)
    disk = volumes.disk_of(device) if device is not None else None
    if disk is not None and server.vm_state in HAS_GUEST and await _still_has(work, want):
        await work.command(right.host, right.incarnation, Give(disk=disk))


@act()
async def let_go(work: Work, want: DetachVolume) -> None:
    """Have the export cut off, and the volume free.

    Where its storage host stays away, the volume is left detaching, and is free as soon as that is back: the guest is
    without it, and an export that is to go never comes back.
    """
    device = await _row(work, want)
    if device is None:
        return
    try:
        await with_storage(work, lambda: volumes.let_go(work, device))
    except StorageStaysAway:
        if await volumes.holds(work, device):
            raise
        log.warning("volume detached, and its storage host not told yet", volume=want.volume, exc_info=True)


@end()
def mark_detached(work: Work, tx: Tx, want: DetachVolume) -> None:
    device = block_devices.by_volume(tx, want.volume)
    if device is not None and device.server == work.held.server:
        block_devices.remove(tx, device)
    notify(work.cloud, tx, work.held.server, "instance.volume_detach.end", volume=want.volume)
    actions.close_events(tx, work.held.action)


def settle_detach(work: Work, tx: Tx, want: DetachVolume, failure: Failure) -> None:
    """Leave the volume with the server."""
    close_failed(tx, work.held.action, failure)


async def _row(work: Work, want: DetachVolume) -> BlockDevice | None:
    device = await work.cloud.database.read(lambda tx: block_devices.by_volume(tx, want.volume))
    return device if device is not None and device.server == work.held.server else None


async def _still_has(work: Work, want: DetachVolume) -> bool:
    """Say whether the server has an attachment of the volume: not after this very operation removed it before."""
    device = await _row(work, want)
    if device is None:
        return False
    its: set[AttachmentId | None] = {device.attachment, device.next_attachment}
    return any(each.id in its for each in await work.cloud.volumes.attachments(work.held.server))


DETACH_VOLUME = Story("detach_volume", 1, DetachVolume, detach_volume, settle_detach, quiet=True)
