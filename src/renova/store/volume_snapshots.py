"""Snapshots of volumes. Called by `partners.volume` and `api.volume`.

Of a snapshot two things can be wanted, each once: first to have it, later to have it gone. So its status says which,
and numbers it (`VERSIONS`).
"""

from typing import Any

import msgspec
from sqlalchemy import Column, String, Table, Text, delete, func, insert, select, update

from renova.model.ids import HostId, ProjectId, SnapshotId, UserId, VolumeId
from renova.store.database import Tx
from renova.store.schema import Document, Number, Stamp, metadata

VERSIONS = {"creating": 1, "deleting": 2}  # what its host still has to confirm in this status

snapshots = Table(
    "volume_snapshots",
    metadata,
    Column("serial", Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("volume", String(36), nullable=False, index=True),
    Column("project", String(36), nullable=False, index=True),
    Column("user", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", String(255)),
    Column("size_gb", Number, nullable=False),
    Column("status", String(32), nullable=False),
    Column("host", String(36), nullable=False),
    Column("metadata", Document(dict[str, str]), nullable=False),
    Column("image_properties", Document(dict[str, str]), nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)


class StoredSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot's row."""

    id: SnapshotId
    volume: VolumeId
    project: ProjectId
    user: UserId
    name: str
    description: str | None = None
    size_gb: int
    status: str = "creating"  # Cinder's: creating, available, deleting, error, error_deleting
    host: HostId
    metadata: dict[str, str] = {}
    image_properties: dict[str, str] = {}  # of the volume, for those made from this
    error: str = ""
    created_at: str
    updated_at: str


_COLUMNS = [snapshots.c[name] for name in StoredSnapshot.__struct_fields__]
_ALL = select(*_COLUMNS).order_by(snapshots.c.serial.desc())
# Made once: making a statement costs five times as much as running it.
_UNCONFIRMED = select(snapshots.c.id).where(snapshots.c.status.in_(list(VERSIONS))).order_by(snapshots.c.serial)


def _found(tx: Tx, *conditions: Any) -> list[StoredSnapshot]:
    return [StoredSnapshot(**row._mapping) for row in tx.execute(_ALL.where(*conditions))]


def snapshot(tx: Tx, snapshot_id: str) -> StoredSnapshot | None:
    found = _found(tx, snapshots.c.id == snapshot_id)
    return found[0] if found else None


def every(tx: Tx, project: ProjectId | None) -> list[StoredSnapshot]:
    """List the snapshots of a project (None: all), newest first."""
    return _found(tx) if project is None else _found(tx, snapshots.c.project == project)


def of_volume(tx: Tx, volume: VolumeId) -> list[StoredSnapshot]:
    return _found(tx, snapshots.c.volume == volume)


def on_host(tx: Tx, host: HostId) -> list[StoredSnapshot]:
    return _found(tx, snapshots.c.host == host)


def unconfirmed(tx: Tx) -> list[SnapshotId]:
    """List the snapshots of which something is wanted that their hosts have not confirmed."""
    return [SnapshotId(each) for each in tx.execute(_UNCONFIRMED).scalars()]


def usage(tx: Tx, project: ProjectId) -> tuple[int, int]:
    """Return how many snapshots a project has, and of how many GiB."""
    counted = select(func.count(), func.coalesce(func.sum(snapshots.c.size_gb), 0))
    count, size = tx.execute(counted.where(snapshots.c.project == project)).one()
    return int(count), int(size)


def add(tx: Tx, new: StoredSnapshot) -> None:
    tx.execute(insert(snapshots).values(msgspec.structs.asdict(new)))


def change(tx: Tx, snapshot_id: SnapshotId, **values: Any) -> None:
    tx.execute(update(snapshots).where(snapshots.c.id == snapshot_id).values(updated_at=tx.now, **values))


def remove(tx: Tx, snapshot_id: SnapshotId) -> None:
    tx.execute(delete(snapshots).where(snapshots.c.id == snapshot_id))
