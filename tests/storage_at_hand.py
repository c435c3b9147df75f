"""A storage host without a wire: commands reach the simulated storage at once. For tests of what stands above."""

from collections.abc import AsyncIterator, Callable

from renova.drivers.volume.simulated import FACTS, SimulatedVolumes
from renova.model.clock import Clock
from renova.model.errors import NotNow, Stale
from renova.model.host import HostState, Role
from renova.model.ids import HostId, ImageId, SnapshotId, VolumeId
from renova.partners.image import Images
from renova.store import hosts
from renova.store.database import Database, Tx
from renova.wire.storage import DropVolume, DropVolumeSnapshot, HaveVolume, HaveVolumeSnapshot, StorageAct

HOST = HostId("00000000-0000-4000-8000-000000000051")


class StorageAtHand:
    """The one storage host, `storage1`; `away` has it unreachable."""

    def __init__(self, database: Database, clock: Clock, images: Images) -> None:
        self.on_storage: Callable[[HostId], None] = lambda _host: None
        self.volumes = SimulatedVolumes(clock)
        self.volumes.powered = True
        self.away = False
        self._database = database
        self._images = images
        self._versions: dict[str, int] = {}

    async def enrol(self) -> None:
        def work(tx: Tx) -> None:
            hosts.add(tx, HOST, "storage1", "10.1.0.201", "certificate-storage1")
            hosts.change(tx, HOST, role=Role.STORAGE, state=HostState.UP, storage=FACTS, last_seen=tx.now)

        await self._database.transact(work)

    def up(self, host: HostId) -> bool:
        return host == HOST and not self.away

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        async for piece in self._images.read(image):
            yield piece

    async def store(self, host: HostId, thing: VolumeId | SnapshotId, version: int, act: StorageAct) -> None:
        if not self.up(host):
            raise NotNow("the storage host is not connected")
        if version < self._versions.get(thing, 0):
            raise Stale("a newer version is known")
        self._versions[thing] = version
        match act:
            case HaveVolume():
                await self.volumes.have(act.want, self)
            case DropVolume():
                await self.volumes.drop(VolumeId(thing))
            case HaveVolumeSnapshot():
                await self.volumes.have_snapshot(SnapshotId(thing), act.volume)
            case DropVolumeSnapshot():
                await self.volumes.drop_snapshot(SnapshotId(thing))
