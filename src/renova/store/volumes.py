"""Volumes of the built-in volume service, and how far their storage hosts are with them. Called by `partners.volume`
and `api.volume`.

What is wanted of a volume is numbered: whoever changes it raises `version` in the same transaction (`want`). Once the
volume's host has confirmed a version, `confirmed` says so; until then the host may still do what was wanted before.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, String, Table, Text, bindparam, delete, func, insert, select, update

from renova.model.ids import HostId, ProjectId, SnapshotId, UserId, VolumeId
from renova.model.storage import Source
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

volumes = Table(
    "volumes",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("project", String(36), nullable=False, index=True),
    Column("user", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", String(255)),
    Column("size_gb", Number, nullable=False),
    Column("former_size_gb", Number),  # to which an extension leads back that its host refuses
    Column("status", String(32), nullable=False),
    Column("former_status", String(32), nullable=False),  # to which a re-image leads back
    Column("bootable", Boolean, nullable=False),
    Column("zone", String(255), nullable=False),
    Column("host", String(36), nullable=False, index=True),
    Column("type", String(36), nullable=False),
    Column("metadata", Document(dict[str, str]), nullable=False),
    Column("image_properties", Document(dict[str, str]), nullable=False),
    Column("snapshot", String(36)),  # it was made from
    Column("source_volume", String(36)),  # it was made from
    Column("error", Text, nullable=False),
    Column("version", Number, nullable=False),
    Column("confirmed", Number, nullable=False),
    Column("generation", Number, nullable=False),
    Column("made", Number, nullable=False),  # the generation whose content is there
    Column("source", Document(Source), nullable=False),  # of the content of this generation
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)


class StoredVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's row."""

    id: VolumeId
    project: ProjectId
    user: UserId
    name: str
    description: str | None = None
    size_gb: int
    former_size_gb: int | None = None
    status: str
    former_status: str = ""
    bootable: bool = False
    zone: str
    host: HostId
    type: str
    metadata: dict[str, str] = {}
    image_properties: dict[str, str] = {}
    snapshot: SnapshotId | None = None
    source_volume: VolumeId | None = None
    error: str = ""
    version: int = 1
    confirmed: int = 0
    generation: int = 1
    made: int = 0
    source: Source
    created_at: str
    updated_at: str


_COLUMNS = [volumes.c[name] for name in StoredVolume.__struct_fields__]
_ALL = select(*_COLUMNS)
# Made once: making a statement costs five times as much as running it.
_BY_ID = _ALL.where(volumes.c.id == bindparam("volume"))
_ON_HOST = _ALL.where(volumes.c.host == bindparam("on")).order_by(volumes.c.serial)
_PROMISED = select(volumes.c.host, func.sum(volumes.c.size_gb)).group_by(volumes.c.host)
_ADD = insert(volumes)
_CHANGE = update(volumes).where(volumes.c.id == bindparam("volume"))
_WANT = _CHANGE.values(version=volumes.c.version + 1)
_SWAP_STATUS = _CHANGE.where(volumes.c.status.in_(bindparam("expected", expanding=True)))
_UNCONFIRMED = select(volumes.c.id).where(volumes.c.version > volumes.c.confirmed).order_by(volumes.c.serial)


def _volumes(rows: Any) -> list[StoredVolume]:
    return [StoredVolume(**row._mapping) for row in rows]


def volume(tx: Tx, volume_id: str) -> StoredVolume | None:
    row = tx.execute(_BY_ID, {"volume": volume_id}).first()
    return StoredVolume(**row._mapping) if row else None


def every(tx: Tx, project: ProjectId | None) -> list[StoredVolume]:
    """List the volumes of a project (None: all), newest first."""
    chosen = _ALL.order_by(volumes.c.serial.desc())
    return _volumes(tx.execute(chosen if project is None else chosen.where(volumes.c.project == project)))


def on_host(tx: Tx, host: HostId) -> list[StoredVolume]:
    return _volumes(tx.execute(_ON_HOST, {"on": host}))


def unconfirmed(tx: Tx) -> list[VolumeId]:
    """List the volumes of which more is wanted than their hosts have confirmed."""
    return [VolumeId(each) for each in tx.execute(_UNCONFIRMED).scalars()]


def being_copied(tx: Tx, snapshot: SnapshotId | None = None, source: VolumeId | None = None) -> bool:
    """Say whether a volume is just being made from this snapshot, or from this volume."""
    of = volumes.c.snapshot == snapshot if snapshot is not None else volumes.c.source_volume == source
    return tx.execute(select(volumes.c.id).where(of, volumes.c.status == "creating").limit(1)).first() is not None


def usage(tx: Tx, project: ProjectId) -> tuple[int, int]:
    """Return how many volumes a project has, and how many GiB they are together."""
    counted = select(func.count(), func.coalesce(func.sum(volumes.c.size_gb), 0)).where(volumes.c.project == project)
    count, size = tx.execute(counted).one()
    return int(count), int(size)


def promised_gb(tx: Tx) -> dict[HostId, int]:
    """Return how many GiB of volumes each storage host has, whether they are filled or not."""
    return {HostId(host): int(size) for host, size in tx.execute(_PROMISED)}


def add(tx: Tx, new: StoredVolume) -> None:
    tx.execute(_ADD, msgspec.structs.asdict(new))


def change(tx: Tx, volume_id: VolumeId, **values: Any) -> None:
    """Change what its host need not hear of."""
    tx.execute(_CHANGE, {"volume": volume_id, "updated_at": tx.now, **values})


def want(tx: Tx, volume_id: VolumeId, **values: Any) -> None:
    """Change what is wanted of the volume: from now on its host has something to confirm."""
    tx.execute(_WANT, {"volume": volume_id, "updated_at": tx.now, **values})


def raise_versions(tx: Tx, floor: int) -> None:
    """Have every volume's host told anew what is wanted, under a higher number than any it can have seen: the floor."""
    tx.execute(update(volumes).values(version=volumes.c.version + 1).where(volumes.c.version >= floor))
    tx.execute(update(volumes).values(version=floor).where(volumes.c.version < floor))


def swap_status(tx: Tx, volume_id: VolumeId, expected: Sequence[str], wanted: str) -> bool:
    """Set the status if it is one of the expected; False for the loser of a race."""
    changes = {"volume": volume_id, "expected": expected, "status": wanted, "updated_at": tx.now}
    return tx.execute(_SWAP_STATUS, changes).rowcount > 0


def remove(tx: Tx, volume_id: VolumeId) -> None:
    tx.execute(delete(volumes).where(volumes.c.id == volume_id))
