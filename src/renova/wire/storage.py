"""What storage hosts are told to have and to serve."""

from typing import TypeAlias

import msgspec

from renova.model.guest import Count
from renova.model.ids import SnapshotId, VolumeId
from renova.model.storage import WantedVolume
from renova.wire.acts import Act
from renova.wire.message import Mark, Message


class StorageOrder(msgspec.Struct, frozen=True):
    """Where a storage command stands. The agent refuses it if any member is below what it has seen for this thing or
    host."""

    era: Count
    host_epoch: Count
    session: Mark
    thing: VolumeId | SnapshotId
    version: Count  # of what is wanted of the thing; only rises


class HaveVolume(Act, frozen=True, tag="have-volume"):
    """Have the volume, served under exactly the names it says and none else. Result: Stored."""

    want: WantedVolume


class DropVolume(Act, frozen=True, tag="drop-volume"):
    """Have the volume served to nobody and gone. Result: Stored."""


class HaveVolumeSnapshot(Act, frozen=True, tag="have-volume-snapshot"):
    """Have a snapshot of the volume as it is at one moment of this act, served or not. Result: Stored."""

    volume: VolumeId


class DropVolumeSnapshot(Act, frozen=True, tag="drop-volume-snapshot"):
    """Have the snapshot gone. Result: Stored."""


StorageAct: TypeAlias = HaveVolume | DropVolume | HaveVolumeSnapshot | DropVolumeSnapshot


class StorageCommand(Message, frozen=True, kw_only=True, tag="storage-command"):
    """Have a volume or a snapshot as the act says."""

    id: int
    order: StorageOrder
    act: StorageAct
