"""Make an image of a server: its root disk as it is at one moment, copied on its host and sent to the image service.

The image is described before the request is accepted, without bytes: clients look at it at once. It becomes active
only when it is whole. When anything fails it is removed, and the server is as it was: its guest is never touched.
Deleting or evacuating the server wins; whoever supersedes this operation removes the copy of the disk, and the image
unless that is whole by then (`unfinished_images`), however that ends.

A backup is an image of a kind ("daily"), of which only the newest few are kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog

from renova.engine.journal import Held
from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import CloudError, NotFound, NotNow, whole
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import ImageId, ProjectId, ServerId
from renova.model.image import Image
from renova.model.local_disks import disks_of
from renova.model.server import Server, TaskState
from renova.operations.cloud import Cloud
from renova.operations.parts.follow_guest import follow_guest
from renova.operations.parts.leaves import Leaves
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import leave_as_it_was
from renova.operations.report import follow_unheard
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, operations, servers
from renova.store.database import Tx
from renova.wire.acts import DropSnapshot, Snapshot, Upload
from renova.wire.results import Copied, State

log = structlog.get_logger()

# What says how an image's own bytes came about, and not how servers of it are to be: not handed on (Nova's list).
NOT_INHERITED = frozenset({"cache_in_nova", "bittorrent"})
NOT_INHERITED_PREFIXES = ("img_signature", "cinder_encryption_", "os_glance_")

CARRIED = "disk on its way"  # the type of an image that no user has asked for (`carry_disk`)

REMOVAL_PAUSES = (0.1, 0.4, 0.5)  # seconds between tries to remove an image


class Backup(msgspec.Struct, frozen=True):
    """The kind of backup, and how many of the kind are kept of the server."""

    kind: str
    rotation: int


class CreateImage(msgspec.Struct, frozen=True):
    """The image, which is described already."""

    image: ImageId
    backup: Backup | None = None


def describe(
    server: Server,
    base: Image | None,
    *,
    image: ImageId,
    name: str,
    metadata: dict[str, str],
    owner: ProjectId,
    backup: Backup | None = None,
) -> Image:
    """Describe the image that is to be made of the server; `base` is the one it was made of, if there is that still.

    What the owner says goes before what the server's image said of itself.
    """
    inherited = {
        key: value
        for key, value in server.image_properties.items()
        if key not in NOT_INHERITED and not key.startswith(NOT_INHERITED_PREFIXES)
    }
    own = {
        "instance_uuid": server.id,
        "user_id": server.user,
        "owner_id": server.project,
        "base_image_ref": server.image or "",
        "image_type": "snapshot",
        "image_location": "snapshot",
        "image_state": "available",
    }
    if backup is not None:
        own |= {"image_type": "backup", "backup_type": backup.kind}
    return Image(
        id=image,
        name=name,
        status="queued",
        owner=owner,
        visibility="private",
        disk_format="qcow2",
        container_format="bare",
        size=None,
        virtual_size=None,
        sha256=None,
        md5=None,
        # The copy is as large as the disk is, however little is in it.
        min_disk=max(base.min_disk if base else 0, server.flavor.root_gb),
        min_ram=base.min_ram if base else 0,
        protected=False,
        tags=(),
        properties={**inherited, **metadata, **own},
        created_at="",
        updated_at="",
    )


def accept_create_image(
    cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, image: ImageId, backup: Backup | None = None
) -> None:
    word = "createImage" if backup is None else "createBackup"
    server = permitted(tx, server_id, word, asked)
    take_task(tx, server, word, TaskState.IMAGE_SNAPSHOT_PENDING if backup is None else TaskState.IMAGE_BACKUP)
    submit(tx, cloud.operations, asked, server.id, Submission(CREATE_IMAGE, word, CreateImage(image, backup)))


async def create_image(run: Run, want: CreateImage) -> None:
    right = await run(begin_image, want)
    await run(copy_root, want, right)
    await run(note_copied, want)
    await run(note_uploading, want)
    await run(upload_copy, want, right)
    if want.backup is not None:
        await run(rotate_backups, want)
    power = await run(drop_copy, want, right)
    await run(conclude, want, power)


@write(patience=FOREVER)
def begin_image(work: Work, tx: Tx, want: CreateImage) -> Right:
    event = "compute_snapshot_instance" if want.backup is None else "compute_backup_instance"
    actions.open_event(tx, work.held.action, event, work.server_now(tx).host_name)
    if want.backup is None:
        servers.change(tx, work.held.server, task_state=TaskState.IMAGE_SNAPSHOT)
    notify(work.cloud, tx, work.held.server, "instance.snapshot.start", snapshot=want.image)
    return work.right_here(tx)


@begin_image.undo
async def remove_image(work: Work, want: CreateImage) -> None:
    """Have no image, and follow what the guest has done meanwhile."""
    home = (await work.server()).host
    if home is not None:
        await follow_guest(work, home)
    await work.cloud.images.remove(want.image)


@act(patience=FOREVER)
async def copy_root(work: Work, want: CreateImage, right: Right) -> int:
    """Have the host copy the disk; returns the copy's size in bytes."""
    disks = disks_of(await work.server())
    result = await work.command(right.host, right.incarnation, Snapshot(image=want.image, disks=disks))
    assert isinstance(result, Copied)
    return result.size


@copy_root.undo
async def forget_copy(work: Work, want: CreateImage, right: Right) -> None:
    await work.command(right.host, right.incarnation, DropSnapshot(image=want.image))


@write()
def note_copied(work: Work, tx: Tx, want: CreateImage) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.IMAGE_PENDING_UPLOAD)


@write()
def note_uploading(work: Work, tx: Tx, want: CreateImage) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.IMAGE_UPLOADING)


@act()
async def upload_copy(work: Work, want: CreateImage, right: Right) -> None:
    """Have the copy in the image service, whole; what an earlier try had sent is sent again."""
    images = work.cloud.images
    image = await images.image(want.image, None)
    if image is None:
        raise NotFound(f"image {want.image} was deleted while it was being made")
    if image.status == "active":
        return
    with work.cloud.agents.uploads.of(right.host, want.image) as upload:
        writing = asyncio.get_running_loop().create_task(images.write(want.image, upload.pieces()))
        # The host waits for every piece to be taken: it must hear when nobody takes them any more.
        writing.add_done_callback(lambda _: upload.end("the image service takes no more"))
        try:
            await work.command(right.host, right.incarnation, Upload(image=want.image))
            await writing
        except CloudError:
            if writing.done():
                await writing  # what went wrong here says more than what the host heard of it
            raise
        finally:
            writing.cancel()
            await asyncio.wait([writing])


@act()
async def rotate_backups(work: Work, want: CreateImage) -> None:
    """Remove the oldest backups of this kind but protected ones; what cannot be removed is left to the next rotation.

    Only its owner's own: anybody may say of an image that it is a backup of this server, and a new one.
    """
    assert want.backup is not None
    made = await work.cloud.images.image(want.image, None)
    if made is None:
        return  # its owner has deleted it, or this was told before
    of_kind = {"instance_uuid": work.held.server, "image_type": "backup", "backup_type": want.backup.kind}
    found = await work.cloud.images.having(of_kind)
    backups = [image for image in found if image.status == "active" and image.owner == made.owner]
    for old in reversed(backups[want.backup.rotation :]):
        if old.protected:
            continue
        try:
            await patiently(work, partial(work.cloud.images.remove, old.id))
        except CloudError:
            log.warning("old backup not removed", image=old.id, exc_info=True)


@act(patience=FOREVER)
async def drop_copy(work: Work, want: CreateImage, right: Right) -> PowerState:
    """Have no copy on the host any more; returns how the guest is now."""
    result = await work.command(right.host, right.incarnation, DropSnapshot(image=want.image))
    assert isinstance(result, State)
    power = result.guest.power if result.guest else PowerState.NOSTATE
    if power not in (PowerState.RUNNING, PowerState.PAUSED):
        await work.cloud.networks.settle(work.held.server, active=False)
    return power


@end()
def conclude(work: Work, tx: Tx, want: CreateImage, power: PowerState) -> None:
    follow_unheard(work.cloud, tx, work.server_now(tx), power)
    servers.change(tx, work.held.server, task_state=None)
    notify(work.cloud, tx, work.held.server, "instance.snapshot.end", snapshot=want.image)
    actions.close_events(tx, work.held.action)


def settle_create_image(work: Work, tx: Tx, want: CreateImage, failure: Failure) -> None:
    """Leave the server as it was, with the reason; the image is gone."""
    leave_as_it_was(tx, work.held, failure)


def unfinished_images(tx: Tx, server: ServerId) -> tuple[ImageId, ...]:
    """Return the images that are being made of the server, or are to be.

    For who supersedes that: nobody else will remove them, nor the copies of the disk for them. Nor those that were to
    be removed by who is superseded now.
    """
    every = operations.under_way(tx, server)
    return tuple(dict.fromkeys(image for held in every for image in _left_by(held)))


def _left_by(held: Held) -> tuple[ImageId, ...]:
    """Return the images that nobody removes if this operation ends here."""
    if held.story == CREATE_IMAGE.name:
        return (msgspec.json.decode(held.want, type=CreateImage).image,)
    return msgspec.json.decode(held.want, type=Leaves).unfinished_images


async def remove_unless_whole(work: Work, image: ImageId) -> None:
    """Have the image gone, unless it is whole, and what its owner asked for."""
    found = await work.cloud.images.image(image, None)
    if found is not None and (found.status != "active" or found.properties.get("image_type") == CARRIED):
        await work.cloud.images.remove(image)


@act()
async def remove_unfinished_images(work: Work, images: tuple[ImageId, ...]) -> None:
    """Have no image left of an operation that was superseded."""
    await have_no_unfinished_images(work, images)


@remove_unfinished_images.undo
async def have_no_unfinished_images(work: Work, images: tuple[ImageId, ...]) -> None:
    """Have them gone also when what superseded that operation fails: nobody else will remove them."""
    for image in images:
        await _remove_unfinished(work, image)


async def _remove_unfinished(work: Work, image: ImageId) -> None:
    try:
        await patiently(work, partial(remove_unless_whole, work, image))
    except NotNow as away:
        # What took its place must not wait for the image service; the image is seen, unfinished, and can be deleted.
        log.warning("unfinished image not removed", image=image, reason=whole(away))


async def patiently(work: Work, remove: Callable[[], Awaitable[None]]) -> None:
    """Have it removed, though the image service be away for a moment."""
    for pause in REMOVAL_PAUSES:
        try:
            return await remove()
        except NotNow:
            await work.cloud.clock.sleep(pause)
    return await remove()


CREATE_IMAGE = Story("create-image", 1, CreateImage, create_image, settle_create_image)
