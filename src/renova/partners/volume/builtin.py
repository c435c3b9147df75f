"""The built-in volume service, as operations use it: rows in the database, data on storage hosts.

`requests` says what may be asked of a volume in which status, `settling` brings its host to it; `api.volume` serves
both to users, on the same tables.
"""

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Broken, CloudError, Conflict, Invalid, NotFound, NotNow, Refused, StorageAway
from renova.model.host import Host
from renova.model.ids import AttachmentId, HostId, ImageId, ProjectId, ServerId, VolumeId
from renova.model.storage import OfImage
from renova.model.volume import Attachment, Connection, NbdExport, Volume
from renova.partners.image import Images
from renova.partners.volume import NewVolume, StorageAgents, StorageHosts
from renova.partners.volume.belonging import of_server
from renova.partners.volume.limits import exceeded
from renova.partners.volume.requests import (
    Making,
    begin_volume,
    delete_volume,
    image_source,
    port_for,
    reserve_volume,
    volume_here,
)
from renova.partners.volume.settling import Settling
from renova.partners.volume.statuses import RESTING, of_attachments
from renova.store import cluster, volumes
from renova.store import hosts as host_rows
from renova.store import volume_attachments as attachments
from renova.store import volume_snapshots as snapshots
from renova.store.database import Database, Tx
from renova.store.volume_attachments import StoredAttachment
from renova.store.volumes import StoredVolume

log = structlog.get_logger()

PATIENCE_S = 5.0  # for a volume to be made or filled, until whoever waits is told to come again


class BuiltinVolumes:
    """Volumes on storage hosts of this cloud."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        chance: Chance,
        images: Images,
        hosts: StorageHosts,
        agents: StorageAgents,
    ) -> None:
        self._database = database
        self._chance = chance
        self._images = images
        self.hosts = hosts
        self.settling = Settling(database, clock, hosts, agents)

    def up(self, host: HostId) -> bool:
        """Say whether the storage host is heard."""
        return self.hosts.up(host)

    async def serve(self) -> None:
        await self.settling.serve()

    # --- what there is ---

    async def volume(self, volume: VolumeId, project: ProjectId | None) -> Volume | None:
        row = await self._database.read(lambda tx: volumes.volume(tx, volume))
        return _described(row) if row is not None and project in (None, row.project) else None

    async def snapshot_size_gb(self, snapshot: str, project: ProjectId | None) -> int | None:
        row = await self._database.read(lambda tx: snapshots.snapshot(tx, snapshot))
        usable = row is not None and row.status == "available" and project in (None, row.project)
        return row.size_gb if row is not None and usable else None

    async def attachments(self, server: ServerId) -> list[Attachment]:
        rows = await self._database.read(lambda tx: of_server(tx, server))
        return [
            Attachment(
                id=row.id,
                volume=row.volume,
                server=row.server,
                connected=row.export is not None,
                complete=row.status == "attached",
                leaving=row.gone,
                host=row.host,
            )
            for row in rows
        ]

    # --- attaching ---

    async def reserve(self, attachment: AttachmentId, volume: VolumeId, server: ServerId) -> None:
        await self._database.transact(lambda tx: reserve_volume(tx, attachment, volume, server))

    async def connect(self, attachment: AttachmentId, host: str, address: str) -> Connection:
        fresh = self._chance.secret()

        def begin(tx: Tx) -> tuple[StoredAttachment, Host]:
            row = _attachment(tx, attachment)
            found = volume_here(tx, row.volume)
            storage = host_rows.get(tx, found.host)
            if storage is None or storage.storage is None:
                raise NotNow(f"The storage host of volume {row.volume} is not known.")
            to = host_rows.compute_host_named(tx, host)
            if to is None:
                raise Invalid(f"Host {host} is no compute host of this cloud: volumes are served to these only.")
            if row.export is not None:
                if row.host_id != to.id:
                    raise Conflict(
                        f"Attachment {attachment} is connected already; detach it first.",
                        details=f"for host {row.host}",
                    )
                return row, storage
            for other in attachments.of_volume(tx, row.volume):
                where = f"host {other.host}"
                if other.export is not None and other.gone:
                    raise StorageAway(f"Volume {row.volume} is still being cut off from where it was.", details=where)
                if other.export is not None:
                    raise Conflict(f"Volume {row.volume} is connected elsewhere; detach it there first.", details=where)
            if found.status not in RESTING:
                raise Conflict(f"Volume {row.volume} cannot be connected while it is {found.status}.")
            # The cut comes first, the export after: settling sends both in one, and the host keeps that order.
            reached = {"export": fresh, "host": host, "host_id": to.id, "port": port_for(tx, storage, to)}
            attachments.change(tx, attachment, status="attaching", **reached)
            status = "attaching" if found.status in ("available", "reserved") else found.status
            volumes.want(tx, row.volume, status=status)
            return replace(row, **reached), storage

        row, storage = await self._database.transact(begin)
        # Even if it was confirmed before: its host may serve nothing since, and not have been told again yet.
        await self.settling.tell(row.volume)
        assert row.export is not None
        tls = storage.storage is not None and storage.storage.tls
        return NbdExport(storage.address, row.port, row.export, tls, storage.id if tls else "")

    async def complete(self, attachment: AttachmentId, device: str) -> None:
        def end(tx: Tx) -> None:
            row = _attachment(tx, attachment)
            if row.export is None:
                raise Conflict(f"Attachment {attachment} is not connected.")
            attached_at = row.attached_at or tx.now
            attachments.change(tx, attachment, status="attached", device=device, attached_at=attached_at)
            volumes.swap_status(tx, row.volume, ("reserved", "attaching", "available"), "in-use")

        await self._database.transact(end)

    async def detach(self, attachment: AttachmentId, check: Callable[[Tx], object] = lambda _tx: None) -> None:
        """Have the attachment gone, unless `check` raises: it is called in the transaction that begins the cut."""

        def begin(tx: Tx) -> VolumeId | None:
            check(tx)
            row = attachments.attachment(tx, attachment)
            if row is None:
                return None
            found = volumes.volume(tx, row.volume)
            if row.export is None or found is None:
                attachments.remove(tx, attachment)
                if found is not None and found.status in (*RESTING, "downloading"):
                    status = of_attachments(attachments.of_volume(tx, row.volume), found.status)
                    column = "former_status" if found.status == "downloading" else "status"
                    volumes.change(tx, row.volume, **{column: status})
                return None
            if not row.gone:
                attachments.change(tx, attachment, gone=True, status="detaching")
                volumes.want(tx, row.volume)
            return row.volume

        volume = await self._database.transact(begin)
        if volume is not None:
            try:
                await self._tell(volume)
            except (Refused, Broken) as error:
                # Who was told that it failed would go on with an attachment that ends later.
                raise StorageAway(f"the storage host of volume {volume} has it not cut off yet: {error}") from error

    async def _tell(self, volume: VolumeId) -> None:
        """Have the volume's host told now: whoever settles it may wait for it to end what it was told before."""
        try:
            await self.settling.tell(volume)
        except CloudError:
            self.settling.settle_volume(volume)  # it goes on, even if nobody asks again
            raise

    async def begin_detaching(self, volume: VolumeId) -> None:
        def begin(tx: Tx) -> None:
            found = volume_here(tx, volume)
            if not volumes.swap_status(tx, volume, ("in-use", "detaching"), "detaching"):
                raise Conflict(
                    "Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' "
                    f"to detach; volume {volume} is {found.status}."
                )

        await self._database.transact(begin)

    async def roll_detaching(self, volume: VolumeId) -> None:
        await self._database.transact(lambda tx: volumes.swap_status(tx, volume, ("detaching",), "in-use"))

    # --- making and filling ---

    async def create(self, new: NewVolume) -> Volume:
        found = await self._database.read(lambda tx: volumes.volume(tx, new.id))
        if found is None:
            image = await image_source(self._images, new.image) if new.image is not None else None
            making = Making(
                id=new.id,
                project=new.project,
                user=new.user,
                name=new.name,
                size_gb=new.size_gb,
                image=image,
                snapshot=new.snapshot,
                source=new.source,
                type=new.type,
                zone=new.zone,
            )
            await self._database.transact(lambda tx: self._begin(tx, making))
        found = await self._settled(new.id)
        if found.status in ("creating", "downloading"):
            raise NotNow(f"Volume {new.id} is being made.")
        if found.status == "error":
            raise Refused(f"Volume {new.id} could not be made: {found.error}")
        return _described(found)

    def _begin(self, tx: Tx, making: Making) -> None:
        """Begin to make the volume, within its project's quota, which servers made at once share."""
        if volumes.volume(tx, making.id) is not None:
            return  # that it was begun is known only now
        if (reason := exceeded(tx, making.project, making.size_gb, "volumes")) is not None:
            raise Refused(reason)
        begin_volume(tx, making, self.hosts.up)

    async def delete(self, volume: VolumeId) -> None:
        def begin(tx: Tx) -> bool:
            found = volumes.volume(tx, volume)
            if found is None:
                return False
            if found.status != "deleting":
                # What nobody has had yet is only on its way: whoever wanted it made wants it no more.
                on_its_way = found.status in ("creating", "downloading")
                delete_volume(tx, found, cascade=False, force=on_its_way)
            return True

        if await self._database.transact(begin):
            try:
                await self._tell(volume)
            except (Refused, Broken) as error:
                raise Refused(f"Volume {volume} could not be deleted: {error}") from error

    async def reimage(self, attachment: AttachmentId, image: ImageId) -> None:
        source, properties = await image_source(self._images, image)

        def begin(tx: Tx) -> VolumeId:
            row = _attachment(tx, attachment)
            if row.reimaged == image:
                return row.volume
            found = volume_here(tx, row.volume)
            refill(tx, found, source, properties)
            attachments.change(tx, attachment, reimaged=image)
            return row.volume

        volume = await self._database.transact(begin)
        found = await self._settled(volume)
        if found.status == "downloading":
            raise NotNow(f"Volume {volume} is being filled from image {image}.")
        if found.status == "error":
            raise Refused(f"Volume {volume} could not be filled from image {image}: {found.error}")

    async def _settled(self, volume: VolumeId) -> StoredVolume:
        """Give the volume a moment to be as wanted, and return it as it is then."""
        await asyncio.wait([self.settling.settle_volume(volume)], timeout=PATIENCE_S)
        found = await self._database.read(lambda tx: volumes.volume(tx, volume))
        if found is None:
            raise NotFound(f"Volume {volume} could not be found.")
        return found


def refill(tx: Tx, volume: StoredVolume, source: OfImage, properties: dict[str, str]) -> None:
    """Have the volume hold an image's content afresh. `Conflict` while it is connected or being changed."""
    if any(each.export is not None for each in attachments.of_volume(tx, volume.id)):
        raise Conflict(f"Volume {volume.id} is connected: it cannot be filled anew.")
    if volume.status not in ("available", "reserved", "error"):
        raise Conflict(f"Volume {volume.id} cannot be filled anew while it is {volume.status}.")
    former = "available" if volume.status == "error" else volume.status
    volumes.want(
        tx,
        volume.id,
        status="downloading",
        former_status=former,
        # Above what a database may have lost: its storage host would take that for this one.
        generation=max(volume.generation, cluster.get(tx).floor) + 1,
        source=source,
        image_properties=properties,
        bootable=True,
        error="",
    )


def _attachment(tx: Tx, attachment: AttachmentId) -> StoredAttachment:
    row = attachments.attachment(tx, attachment)
    if row is None:
        raise NotFound(f"Volume attachment {attachment} could not be found.")
    if row.gone:
        raise Conflict(f"Volume attachment {attachment} is being removed.")
    return row


def _described(row: StoredVolume) -> Volume:
    if row.size_gb < 1:
        raise Broken(f"volume {row.id} has no size")
    return Volume(
        id=row.id,
        name=row.name,
        project=row.project,
        size_gb=row.size_gb,
        status=row.status,
        zone=row.zone,
        bootable=row.bootable,
        image_properties=row.image_properties,
    )
