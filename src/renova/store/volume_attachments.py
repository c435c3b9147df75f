"""Attachments of volumes, and under which name each is served. Called by `partners.volume` and `api.volume`.

At most one attachment of a volume has an export: the database itself refuses a second. The row of one that is being
cut off keeps its export until the storage host has confirmed the cut, and so keeps others out.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Index, String, Table, bindparam, delete, insert, select, update

from renova.model.ids import AttachmentId, HostId, ImageId, ProjectId, ServerId, VolumeId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata, only_where
from renova.store.volumes import volumes

attachments = Table(
    "volume_attachments",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("volume", String(36), nullable=False, index=True),
    Column("project", String(36), nullable=False, index=True),
    Column("server", String(36), nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("host_id", String(36), nullable=False),
    Column("port", Number, nullable=False),
    Column("device", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("export", String(64)),
    Column("gone", Boolean, nullable=False),
    Column("reimaged", String(36)),
    Column("attached_at", Stamp),
    Column("created_at", Stamp, nullable=False),
)

_served = attachments.c.export.is_not(None)
Index("one_export", attachments.c.volume, unique=True, **only_where(_served))


class StoredAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment's row."""

    id: AttachmentId
    volume: VolumeId
    project: ProjectId
    server: ServerId
    host: str = ""  # name of the one for which it was connected
    host_id: HostId = HostId("")
    port: int = 0  # of the storage host, on which it is served; kept for as long as it has an export
    device: str = ""
    status: str = "reserved"  # Cinder's: reserved, attaching, attached, detaching
    export: str | None = None  # the name under which the volume is served to it: a secret
    gone: bool = False  # it is to be removed once its export is cut off for certain
    reimaged: ImageId | None = None  # with which image the volume was filled anew for it
    attached_at: str | None = None
    created_at: str


_COLUMNS = [attachments.c[name] for name in StoredAttachment.__struct_fields__]
_ALL = select(*_COLUMNS).order_by(attachments.c.serial)
# Made once: making a statement costs five times as much as running it, and every reboot asks.
_BY_ID = _ALL.where(attachments.c.id == bindparam("attachment"))
_OF_VOLUME = _ALL.where(attachments.c.volume == bindparam("volume"))
_OF_VOLUMES = _ALL.where(attachments.c.volume.in_(bindparam("volumes", expanding=True)))
_OF_SERVER = _ALL.where(attachments.c.server == bindparam("of"))
_SERVED = select(attachments.c.volume).where(_served)
_ADD = insert(attachments)
_CHANGE = update(attachments).where(attachments.c.id == bindparam("attachment"))
_REMOVE_GONE = delete(attachments).where(attachments.c.volume == bindparam("of"), attachments.c.gone.is_(True))


def _attachments(rows: Any) -> list[StoredAttachment]:
    return [StoredAttachment(**row._mapping) for row in rows]


def attachment(tx: Tx, attachment_id: str) -> StoredAttachment | None:
    found = _attachments(tx.execute(_BY_ID, {"attachment": attachment_id}))
    return found[0] if found else None


def every(tx: Tx, project: ProjectId | None) -> list[StoredAttachment]:
    """List the attachments of a project's volumes (None: all)."""
    return _attachments(tx.execute(_ALL if project is None else _ALL.where(attachments.c.project == project)))


def of_volume(tx: Tx, volume: VolumeId) -> list[StoredAttachment]:
    return _attachments(tx.execute(_OF_VOLUME, {"volume": volume}))


def of_volumes(tx: Tx, some: Sequence[VolumeId]) -> list[StoredAttachment]:
    """List the attachments of some volumes: of a page, not of all that there are."""
    return _attachments(tx.execute(_OF_VOLUMES, {"volumes": list(some)})) if some else []


def of_server(tx: Tx, server: ServerId) -> list[StoredAttachment]:
    return _attachments(tx.execute(_OF_SERVER, {"of": server}))


def served(tx: Tx) -> set[VolumeId]:
    """Name the volumes that should be served to somebody, or were and have yet to be cut off."""
    return {VolumeId(each) for each in tx.execute(_SERVED).scalars()}


def ports(tx: Tx, storage: HostId) -> dict[HostId, int]:
    """Return on which port of the storage host each compute host is served, or was and has yet to be cut off."""
    found = select(attachments.c.host_id, attachments.c.port).join(volumes, volumes.c.id == attachments.c.volume)
    rows = tx.execute(found.where(volumes.c.host == storage, _served).distinct())
    return {HostId(host): port for host, port in rows}


def add(tx: Tx, new: StoredAttachment) -> None:
    tx.execute(_ADD, msgspec.structs.asdict(new))


def change(tx: Tx, attachment_id: AttachmentId, **values: Any) -> None:
    tx.execute(_CHANGE, {"attachment": attachment_id, **values})


def remove(tx: Tx, attachment_id: AttachmentId) -> None:
    tx.execute(delete(attachments).where(attachments.c.id == attachment_id))


def remove_gone(tx: Tx, volume: VolumeId) -> None:
    """Remove the attachments of the volume that were to go: its host has confirmed that they are served no more."""
    tx.execute(_REMOVE_GONE, {"of": volume})
