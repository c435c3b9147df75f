"""What may be asked of a volume, and in which status: each in one transaction, checked before anything is changed.

Called by `builtin` for operations and by `api.volume` for users; what is begun here, `settling` brings to its end.
"""

from collections.abc import Callable, Mapping

import msgspec

from renova.model.errors import Conflict, Invalid, NotFound, NotNow
from renova.model.host import Host, HostState
from renova.model.ids import AttachmentId, HostId, ImageId, ProjectId, ServerId, SnapshotId, UserId, VolumeId
from renova.model.storage import Blank, OfImage, OfSnapshot, OfVolume, Source
from renova.partners.image import Images
from renova.store import cluster, volume_types, volumes
from renova.store import hosts as host_rows
from renova.store import volume_attachments as attachments
from renova.store import volume_snapshots as snapshots
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment
from renova.store.volume_snapshots import StoredSnapshot
from renova.store.volumes import StoredVolume

ZONE = "nova"  # the only one
GIB = 1 << 30
THIN = 20.0  # times what a storage host has may be promised of it (Cinder's max_over_subscription_ratio)
DELETABLE = ("available", "in-use", "error", "error_restoring", "error_extending", "error_managing", "error_deleting")

ImageSource = tuple[OfImage, dict[str, str]]  # the content, and what a volume keeps of the image's description


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is to be made; at most one of image, snapshot and source is given."""

    id: VolumeId
    project: ProjectId
    user: UserId
    name: str
    size_gb: int
    description: str | None = None
    image: ImageSource | None = None
    snapshot: str | None = None
    source: VolumeId | None = None
    type: str | None = None
    zone: str | None = None
    metadata: dict[str, str] = {}


async def image_source(images: Images, image: ImageId) -> ImageSource:
    """Return how a volume is filled from the image. `Invalid` when it cannot be, with the reason."""
    found = await images.image(image, None)
    if found is None:
        raise Invalid(f"Image {image} could not be found.")
    if found.status != "active" or found.disk_format is None or found.size is None or found.sha256 is None:
        raise Invalid(f"Image {image} is not active.")
    properties = {
        **found.properties,
        "image_id": found.id,
        "image_name": found.name,
        "disk_format": found.disk_format,
        "container_format": found.container_format or "",
        "checksum": found.md5 or "",
        "min_disk": str(found.min_disk),
        "min_ram": str(found.min_ram),
        "size": str(found.size),
        "virtual_size": str(found.virtual_size or found.size),
    }
    return OfImage(found.id, found.disk_format, found.size, found.sha256), properties


def begin_volume(tx: Tx, making: Making, up: Callable[[HostId], bool]) -> StoredVolume:
    """Begin to make the volume. `Invalid`, `NotFound`; `NotNow` where no storage host can take it now."""
    if making.size_gb < 1:
        raise Invalid(f"Volume size '{making.size_gb}GB' must be an integer and greater than 0.")
    if making.zone not in (None, ZONE):
        raise Invalid(f"Availability zone '{making.zone}' is invalid.")
    kind = volume_types.find(tx, making.type) if making.type else volume_types.default(tx)
    if kind is None:
        raise NotFound(f"Volume type {making.type} could not be found.")
    source, properties, at = _content(tx, making)
    host = _place(tx, making.size_gb, at, up)
    new = StoredVolume(
        id=making.id,
        project=making.project,
        user=making.user,
        name=making.name,
        description=making.description,
        size_gb=making.size_gb,
        status="creating",
        bootable=bool(properties),
        zone=ZONE,
        host=host,
        type=kind.id,
        metadata=making.metadata,
        image_properties=properties,
        snapshot=SnapshotId(making.snapshot) if making.snapshot else None,
        source_volume=making.source,
        source=source,
        # An operation that a restored database has under way makes one again that its host may know of what was lost.
        version=cluster.get(tx).floor + 1,
        created_at=tx.now,
        updated_at=tx.now,
    )
    volumes.add(tx, new)
    return new


def _content(tx: Tx, making: Making) -> tuple[Source, dict[str, str], HostId | None]:
    """Return the source of the new volume, the image properties it inherits, and which host alone can make it."""
    if making.image is not None:
        image, properties = making.image
        least = max(-(-int(properties["virtual_size"]) // GIB), int(properties["min_disk"]))
        if making.size_gb < least:
            raise Invalid(f"Size of specified image {least}GB is larger than volume size {making.size_gb}GB.")
        return image, properties, None
    if making.snapshot is not None:
        snapshot = snapshots.snapshot(tx, making.snapshot)
        if snapshot is None:
            raise NotFound(f"Snapshot {making.snapshot} could not be found.")
        if snapshot.status != "available":
            raise Invalid(
                f"Invalid snapshot: Originating snapshot status must be one of 'available' values, not "
                f"{snapshot.status}."
            )
        _demand_size(making.size_gb, snapshot.size_gb, "snapshot")
        return OfSnapshot(snapshot.id), snapshot.image_properties, snapshot.host
    if making.source is not None:
        volume = volume_here(tx, making.source)
        if volume.status not in ("available", "in-use"):
            raise Invalid(f"Invalid volume: volume {volume.id} cannot be copied while it is {volume.status}.")
        _demand_size(making.size_gb, volume.size_gb, "source volume")
        return OfVolume(volume.id), volume.image_properties, volume.host
    return Blank(), {}, None


def _demand_size(size_gb: int, least: int, what: str) -> None:
    if size_gb < least:
        raise Invalid(f"Volume size '{size_gb}'GB cannot be smaller than the {what} size {least}GB.")


def _place(tx: Tx, size_gb: int, at: HostId | None, up: Callable[[HostId], bool]) -> HostId:
    """Choose the storage host with most room that is not promised yet."""
    usable = [host for host in host_rows.storing(tx) if _can_take(host, up) and at in (None, host.id)]
    if not usable:
        raise NotNow("No storage host is up that could hold the volume.")
    promised = volumes.promised_gb(tx)
    room = {host.id: _room_gb(host, promised) for host in usable}
    best = max(usable, key=lambda host: (room[host.id], -host.serial))
    if room[best.id] < size_gb:
        raise Conflict(f"No storage host has room for {size_gb} GiB more.")
    return best.id


def _room_gb(host: Host, promised: Mapping[HostId, int]) -> float:
    """Return how many GiB of the host's may be promised yet."""
    return THIN * (host.storage.total_gb if host.storage else 0) - promised.get(host.id, 0)


def _can_take(host: Host, up: Callable[[HostId], bool]) -> bool:
    return host.state is HostState.UP and not host.disabled and not host.forced_down and up(host.id)


def volume_here(tx: Tx, volume: VolumeId) -> StoredVolume:
    found = volumes.volume(tx, volume)
    if found is None:
        raise NotFound(f"Volume {volume} could not be found.")
    return found


def reserve_volume(tx: Tx, attachment: AttachmentId, volume: VolumeId, server: ServerId) -> StoredAttachment:
    """Have the attachment: the volume is the server's. `Conflict` unless it is available or has it already."""
    known = attachments.attachment(tx, attachment)
    if known is not None:
        if (known.volume, known.server) != (volume, server) or known.gone:
            raise Conflict(f"Volume attachment {attachment} is another one.")
        return known
    found = volume_here(tx, volume)
    others = attachments.of_volume(tx, volume)
    if any(other.server != server for other in others):
        raise Conflict(f"Volume {volume} is attached to another server: multiattach is not supported.")
    allowed = ("reserved", "attaching", "in-use", "detaching") if others else ("available",)
    if found.status not in allowed:
        raise Conflict(
            f"Invalid volume: Volume {volume} status must be available or downloading to reserve, but the current "
            f"status is {found.status}."
        )
    new = StoredAttachment(id=attachment, volume=volume, project=found.project, server=server, created_at=tx.now)
    attachments.add(tx, new)
    volumes.swap_status(tx, volume, ("available",), "reserved")
    return new


def port_for(tx: Tx, storage: Host, to: Host) -> int:
    """Return the storage host's port for this compute host: its own for as long as a volume there is connected to it.

    It must not change meanwhile: guests that wait for their storage host come back to the port they know. `Conflict`
    when all ports are in use for other hosts.
    """
    taken = attachments.ports(tx, storage.id)
    if to.id in taken:
        return taken[to.id]
    assert storage.storage is not None
    first, count = storage.storage.port, storage.storage.ports
    free = set(range(first, first + count)) - set(taken.values())
    if not free:
        raise Conflict(
            f"All {count} ports of storage host {storage.name} are in use for other hosts: raise its nbd_ports."
        )
    return min(free)


def delete_volume(tx: Tx, volume: StoredVolume, *, cascade: bool, force: bool) -> list[StoredSnapshot]:
    """Begin to delete the volume, and with `cascade` its snapshots: those are returned. `force`: in any status.

    `Invalid` while it is attached, has snapshots that stay, is being copied, or is in a status that forbids it.
    """
    if volume.status not in DELETABLE and not force:
        raise Invalid(
            f"Invalid volume: Volume status must be {' or '.join(DELETABLE)} and must not be migrating, attached, "
            "belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume "
            f"transfer; it is {volume.status}."
        )
    if attachments.of_volume(tx, volume.id):
        raise Invalid(f"Invalid volume: Volume {volume.id} is attached; detach it first.")
    if volumes.being_copied(tx, source=volume.id):
        raise Invalid(f"Invalid volume: Volume {volume.id} is being copied into another.")
    taken = snapshots.of_volume(tx, volume.id)
    if taken and not cascade:
        raise Invalid(f"Invalid volume: Volume {volume.id} has {len(taken)} snapshots; delete them first.")
    for snapshot in taken:
        delete_snapshot(tx, snapshot)
    volumes.want(tx, volume.id, status="deleting")
    return taken


def begin_snapshot(tx: Tx, new: StoredSnapshot, *, force: bool) -> None:
    """Begin to take the snapshot. `Invalid` unless the volume is available, or in use and `force` says so."""
    volume = volume_here(tx, new.volume)
    allowed = ("available", "in-use") if force else ("available",)
    if volume.status not in allowed:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} status must be {' or '.join(allowed)}, but current status is: "
            f"{volume.status}."
        )
    snapshots.add(tx, new)


def delete_snapshot(tx: Tx, snapshot: StoredSnapshot, *, force: bool = False) -> None:
    """Begin to delete the snapshot. `Invalid` while it is being taken, or copied into a volume."""
    if snapshot.status == "deleting":
        return
    if snapshot.status not in ("available", "error", "error_deleting") and not force:
        raise Invalid(
            f"Invalid snapshot: Snapshot status must be available or error, but current status is {snapshot.status}."
        )
    if volumes.being_copied(tx, snapshot=snapshot.id):
        raise Invalid(f"Invalid snapshot: Snapshot {snapshot.id} is being copied into a volume.")
    snapshots.change(tx, snapshot.id, status="deleting")


def extend_volume(tx: Tx, volume: StoredVolume, size_gb: int) -> None:
    """Begin to make the volume larger. `Invalid` unless it is available, and smaller now; `Conflict` without room."""
    if volume.status != "available":
        raise Invalid(
            f"Invalid volume: Volume {volume.id} status must be 'available' to extend, currently {volume.status}."
        )
    if size_gb <= volume.size_gb:
        raise Invalid(
            f"Invalid input received: New size for extend must be greater than current size. (current: "
            f"{volume.size_gb}, extended: {size_gb})."
        )
    host, more_gb = host_rows.get(tx, volume.host), size_gb - volume.size_gb
    if host is None or _room_gb(host, volumes.promised_gb(tx)) < more_gb:
        raise Conflict(f"The storage host of volume {volume.id} has no room for {more_gb} GiB more.")
    volumes.want(tx, volume.id, status="extending", size_gb=size_gb, former_size_gb=volume.size_gb)
