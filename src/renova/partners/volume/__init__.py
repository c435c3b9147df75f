"""Where volumes come from."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from renova.model.ids import AttachmentId, HostId, ImageId, ProjectId, ServerId, SnapshotId, UserId, VolumeId
from renova.model.volume import Attachment, Connection, Volume
from renova.wire.storage import StorageAct


class NewVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is to be made for a server; at most one of the sources is given."""

    id: VolumeId
    project: ProjectId
    user: UserId
    name: str
    size_gb: int
    image: ImageId | None = None
    snapshot: str | None = None
    source: VolumeId | None = None
    type: str | None = None
    zone: str | None = None


class Volumes(Protocol):
    """Knows volumes, and which servers they are attached to.

    Every change says what should be and may be repeated. `NotNow` while the service is away, `StorageAway` while the
    host that holds the volume is, or does not cut it off; `Refused` or `Conflict` when a volume's status does not allow
    it; `NotFound`.
    """

    async def volume(self, volume: VolumeId, project: ProjectId | None) -> Volume | None:
        """Return the volume, if the project may use it (None: the cloud itself)."""
        ...

    async def snapshot_size_gb(self, snapshot: str, project: ProjectId | None) -> int | None:
        """Return the size of the volume that an available snapshot was taken of; None where there is none."""
        ...

    async def attachments(self, server: ServerId) -> list[Attachment]:
        """List every attachment of the server, connected or not."""
        ...

    async def reserve(self, attachment: AttachmentId, volume: VolumeId, server: ServerId) -> None:
        """Have the attachment: the volume is this server's, and reaches no host yet.

        The volume must be available, or attached to this very server (one that is being moved gets its new attachment
        before the old one goes, so that nobody else can take it in between).
        """
        ...

    async def connect(self, attachment: AttachmentId, host: str, address: str) -> Connection:
        """Have the volume reachable, for writing, from this host for this attachment; the same way when repeated.

        Refused while any other attachment of the volume is connected: that one must be gone first.
        """
        ...

    async def complete(self, attachment: AttachmentId, device: str) -> None:
        """Note that the guest has the volume as this device: it is in use."""
        ...

    async def detach(self, attachment: AttachmentId) -> None:
        """Have the attachment gone. Its export is cut off first, for certain: no write comes through it any more.

        A volume without attachments is available again. An attachment that is unknown is gone already.
        """
        ...

    async def begin_detaching(self, volume: VolumeId) -> None:
        """Show that the volume is being detached. Only one that is in use can be."""
        ...

    async def roll_detaching(self, volume: VolumeId) -> None:
        """Show that it stays attached after all."""
        ...

    async def create(self, new: NewVolume) -> Volume:
        """Have the volume, and return it once it is available.

        `NotNow` while it is being made; `Refused` if it failed.
        """
        ...

    async def delete(self, volume: VolumeId) -> None:
        """Have the volume deleted, though it be only on its way; one that is unknown is gone already.

        `StorageAway` where it goes as soon as its storage host is back, whether or not that is asked for again.
        """
        ...

    async def reimage(self, attachment: AttachmentId, image: ImageId) -> None:
        """Have the volume of this attachment, which is connected nowhere, hold the image's content afresh.

        Its size is kept. `NotNow` while that goes on. Repeated for the same attachment it does nothing more.
        """
        ...

    async def serve(self) -> None:
        """Do what nobody waits for, until cancelled."""
        ...


class StorageHosts(Protocol):
    """Knows the hosts that hold volumes; `hosts.registry` does."""

    on_storage: Callable[[HostId], None]  # called when a storage host is here: it serves nothing it was not told since

    def up(self, host: HostId) -> bool: ...


class StorageAgents(Protocol):
    """Commands the hosts that hold volumes; `hosts.agents` does. Errors as `Agents.store` has them."""

    async def store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        """Have the host hold the volume or snapshot as the act says; of the same `thing`, versions only rise.

        `Stale` when a newer version is known there.
        """
        ...
