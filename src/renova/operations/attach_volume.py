"""Attach a volume to a server: reserve it, have it reachable from the server's host, give it to the guest.

Shows no task state: what is asked for meanwhile waits. A running guest gets the volume at once, one that is off with
its next start. When it fails, the volume is free again and the server is as it was; unless the guest has the volume by
then and does not let go of it: nothing is cut off under a guest, and the server keeps the volume.
"""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.block_device import BlockDevice
from renova.model.errors import Broken, Conflict, Invalid
from renova.model.host import Right
from renova.model.ids import ServerId, VolumeId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.devices import next_device
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted
from renova.operations.parts.state import close_failed
from renova.operations.parts.storage_wait import with_storage
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, block_devices, hosts
from renova.store.database import Tx
from renova.wire.acts import AttachVolume as Give
from renova.wire.acts import DetachVolume as Take

HAS_GUEST = (VmState.ACTIVE, VmState.PAUSED)  # there is a guest that has devices, running or standing still


class NewAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, already found valid in form; the volume is available."""

    volume: VolumeId
    device: str | None = None  # as the user wishes it
    tag: str | None = None
    delete_on_termination: bool = False


class AttachVolume(msgspec.Struct, frozen=True):
    """What the story needs beside the row."""

    volume: VolumeId


def accept_attach_volume(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, new: NewAttachment) -> BlockDevice:
    """Begin to attach the volume; returns its row, which has a device's name already."""
    server = permitted(tx, server_id, "attach_volume", asked)
    holder = block_devices.by_volume(tx, new.volume)
    if holder is not None:
        raise Invalid(f"Invalid volume: volume {new.volume} is attached, or being attached, to server {holder.server}.")
    devices = block_devices.of_server(tx, server.id)
    if new.tag is not None and any(device.tag == new.tag for device in devices):
        raise Invalid(f"Another device of server {server.id} has the tag {new.tag}.")
    device = block_devices.add(
        tx,
        BlockDevice(
            id=cloud.chance.uuid(),
            server=server.id,
            source="volume",
            destination="volume",
            volume=new.volume,
            tag=new.tag,
            delete_on_termination=new.delete_on_termination,
            device=next_device(server, devices, new.device),
            attached=False,
        ),
    )
    submit(tx, cloud.operations, asked, server.id, Submission(ATTACH_VOLUME, "attach_volume", AttachVolume(new.volume)))
    return device


async def attach_volume(run: Run, want: AttachVolume) -> None:
    right = await run(begin_attach, want)
    await run(have_volume_reachable, want, right)
    await run(give_to_guest, want, right)
    await run(mark_attached, want)


@write()
def begin_attach(work: Work, tx: Tx, want: AttachVolume) -> Right:
    server = work.server_now(tx)
    if actions.open_event(tx, work.held.action, "compute_attach_volume", server.host_name):
        notify(work.cloud, tx, server.id, "instance.volume_attach.start", volume=want.volume)
    if server.vm_state not in (*HAS_GUEST, VmState.STOPPED):
        raise Conflict(f"Cannot 'attach_volume' instance {server.id} while it is in vm_state {server.vm_state}")
    return work.right_here(tx)


@act()
async def have_volume_reachable(work: Work, want: AttachVolume, right: Right) -> None:
    """Reserve the volume, and have it reachable from the server's host."""
    host = await work.cloud.database.read(lambda tx: hosts.get(tx, right.host))
    if host is None:
        raise Broken(f"host {right.host} is gone")

    async def reach() -> None:
        _, device = await _here(work, want)
        await volumes.reach(work, device, host, complete=False)

    await with_storage(work, reach)


@have_volume_reachable.undo
async def give_volume_back(work: Work, want: AttachVolume, right: Right) -> None:
    """Have the volume free again, and reachable from nowhere; it stays where the guest still has it."""
    server, device = await _here(work, want)
    take = Take(volume=want.volume, wait_s=0)
    if server.vm_state in HAS_GUEST and await run_guest.holds_on(work, right.host, right.incarnation, take):
        if device.attachment is not None:
            await work.cloud.volumes.complete(device.attachment, device.device)
        await work.note(lambda tx: block_devices.change(tx, device, attached=True))
    else:
        await volumes.let_go(work, device)


@act()
async def give_to_guest(work: Work, want: AttachVolume, right: Right) -> None:
    """Give the volume to the guest, if there is one; then it is in use."""
    server, device = await _here(work, want)
    disk = volumes.disk_of(device)
    if disk is None:
        raise Broken(f"volume {want.volume} is not reachable")
    if server.vm_state in HAS_GUEST:
        await with_storage(work, lambda: work.command(right.host, right.incarnation, Give(disk=disk)))
    await work.cloud.volumes.complete(disk.attachment, disk.device)


@give_to_guest.undo
async def take_back(work: Work, want: AttachVolume, right: Right) -> None:
    """Have the guest without it; once it has let go, the export is cut off next."""
    server, _ = await _here(work, want)
    if server.vm_state in HAS_GUEST:
        settings = work.cloud.settings
        await work.command(right.host, right.incarnation, Take(volume=want.volume, wait_s=settings.detach_wait))


@end()
def mark_attached(work: Work, tx: Tx, want: AttachVolume) -> None:
    device = _row(work, tx, want)
    block_devices.change(tx, device, attached=True)
    notify(work.cloud, tx, work.held.server, "instance.volume_attach.end", volume=want.volume)
    actions.close_events(tx, work.held.action)


def settle_attach(work: Work, tx: Tx, want: AttachVolume, failure: Failure) -> None:
    """Leave the server without the volume, unless its guest has kept it."""
    device = block_devices.by_volume(tx, want.volume)
    if device is not None and device.server == work.held.server and not device.attached:
        block_devices.remove(tx, device)
    notify(work.cloud, tx, work.held.server, "instance.volume_attach.error", failure, volume=want.volume)
    close_failed(tx, work.held.action, failure)


async def _here(work: Work, want: AttachVolume) -> tuple[Server, BlockDevice]:
    return await work.cloud.database.read(lambda tx: (work.server_now(tx), _row(work, tx, want)))


def _row(work: Work, tx: Tx, want: AttachVolume) -> BlockDevice:
    device = block_devices.by_volume(tx, want.volume)
    if device is None or device.server != work.held.server:
        raise Broken(f"the row of volume {want.volume} is gone")
    return device


ATTACH_VOLUME = Story("attach_volume", 1, AttachVolume, attach_volume, settle_attach, quiet=True)
