"""What the agent of a storage host needs of its storage. The real and the simulated one pass the same contract tests.

Every method says what should be, so it may run twice, and may meet what a crashed run left. Methods of one volume or
snapshot are never called concurrently (`agent.stores` sees to it); of different ones they are. A cancelled method
ends only when what it began has ended. Errors: `Refused` when it can never work (an image that is not what it claims,
a full disk), `NotNow` when the server of the exports is away.

NBD knows no locks: whoever knows an export's name can write. So the promise is about names: one that is not wanted
is served to nobody, however it came about, and whoever was connected by it has been cut off. And it is about hosts,
which may be in an enemy's hands: one reaches the exports made for it, and does not even see the names of others.
"""

from collections.abc import Callable
from typing import Protocol

from renova.drivers.hypervisor import ImageSource
from renova.model.errors import Refused
from renova.model.ids import SnapshotId, VolumeId
from renova.model.storage import Export, StorageFacts, WantedVolume


class Storage(Protocol):
    """The volumes of one storage host."""

    async def open(self, lost: Callable[[], None]) -> None:
        """Begin, serving nothing. `lost` is called in the event loop whenever all exports for a host were lost at once,
        and must not block: they are to be asked for again, each anew. Those for other hosts are served on.

        `NotNow` while the storage is away: then this may be called again. `BadSetup` when it never will be there."""
        ...

    async def close(self) -> None:
        """End; nothing is served any more."""
        ...

    async def facts(self) -> StorageFacts: ...

    async def have(self, want: WantedVolume, images: ImageSource) -> tuple[Export, ...]:
        """Have the volume as wanted, and return what is served then: just `want.exports`.

        Exports that are not wanted go first, and for certain: whoever was connected has been cut off, and nobody
        connects by that name again, before anything else is done. Never shrinks a volume. A volume whose content is
        of this generation keeps it; else it gets the wanted one, whole or not at all, and only unless it is served.
        A copy of the volume that is under way may be broken off (`NotNow`) when another host is to have it.
        `Refused` when content that was made already is not here, and should be served: a blank volume must not stand
        for one that was lost. To cut it off, or to serve it to nobody, needs no content.
        """
        ...

    async def drop(self, volume: VolumeId) -> None:
        """Have the volume served to nobody and gone. Absent is fine."""
        ...

    async def have_snapshot(self, snapshot: SnapshotId, volume: VolumeId) -> None:
        """Have the snapshot: the volume as it is at one moment of this call, whoever writes it meanwhile. One that is
        there is left as it is."""
        ...

    async def drop_snapshot(self, snapshot: SnapshotId) -> None:
        """Have the snapshot gone. Absent is fine."""
        ...

    async def exports(self, volume: VolumeId) -> tuple[Export, ...]:
        """Return what is really served of the volume, in the order of the names."""
        ...


def serves_one_host(want: WantedVolume) -> None:
    """Raise `Refused` if the volume is wanted for more than one host at a time."""
    if len({(export.host, export.port) for export in want.exports}) > 1:
        raise Refused(f"volume {want.volume} is to be served to more than one host: nobody would have it to itself")
